import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PreparedImage } from '../images/processor.js'
import type { ModelPrompt } from '../prompt.js'
import { layOutTokens } from './batch.js'
import { noRow } from './rows.js'
import { paddingSegment } from './segments.js'

const image = (h: number, w: number): PreparedImage => ({ grid: [1, h, w], pixelValues: new Float32Array() })
const pad = 9

function prompt(ids: readonly number[], images: readonly PreparedImage[] = []): ModelPrompt {
  const t = ids.map((_, index) => index)
  return { text: '', ids, images, positions: Int32Array.from([...t, ...t, ...t]), nextPosition: ids.length }
}

const options = { visualTokenIds: [pad], mergeSize: 2 }

describe('layOutTokens', () => {
  it('places every token once, in one run of one segment, for rows and packed rows', () => {
    const sequence = fc.record({ known: fc.integer({ min: 1, max: 12 }), more: fc.integer({ min: 0, max: 8 }) })
    const sizes = fc.array(sequence, { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(sizes, fc.constantFrom('packed', 'rows'), (sizes, kind) => {
        const fed = sizes.map(({ known, more }, index) => ({
          prompt: prompt(Array.from({ length: known }, (_, k) => 1000 * index + 10 + k)),
          continuation: Array.from({ length: more }, (_, k) => 1000 * index + 500 + k),
        }))
        const { ids, positions, attention, lastPromptPlace, continuationPlace } = layOutTokens(fed, options, kind)
        if (attention.kind !== 'rows') throw new Error('another plan was expected')
        const { rows, length, segments } = attention
        const used = new Set<number>()
        fed.forEach(({ prompt: { ids: known }, continuation }, index) => {
          const start = (lastPromptPlace[index] as number) + 1 - known.length
          const all = [...known, ...continuation]
          expect([...ids.slice(start, start + all.length)]).toEqual(all)
          expect(continuationPlace[index]).toBe(start + known.length)
          expect(Math.floor(start / length)).toBe(Math.floor((start + all.length - 1) / length))
          if (kind === 'rows') expect(start).toBe(index * length)
          all.forEach((_, k) => {
            expect(positions[2 * rows * length + start + k]).toBe(k)
            if (segments) expect(segments[start + k]).toBe(index)
            used.add(start + k)
          })
        })
        expect(used.size).toBe(fed.reduce((sum, f) => sum + f.prompt.ids.length + f.continuation.length, 0))
        for (let place = 0; place < rows * length; place++) {
          if (!used.has(place)) expect([ids[place], segments?.[place]]).toEqual([noRow, paddingSegment])
        }
        expect(rows).toBeLessThanOrEqual(fed.length)
      }),
    )
  })

  it('feeds a shared prompt once and lets each continuation see it and itself', () => {
    const [a, b] = [prompt([11, 12, 13]), prompt([21])]
    const fed = [
      { prompt: a, continuation: [14, 15] },
      { prompt: b, continuation: [22] },
      { prompt: a, continuation: [] },
      { prompt: a, continuation: [16] },
    ]
    const { ids, positions, attention, lastPromptPlace, continuationPlace } = layOutTokens(fed, options, 'shared')
    expect([...ids]).toEqual([11, 12, 13, 21, 14, 15, 22, 16])
    expect([...positions.slice(0, 8)]).toEqual([0, 1, 2, 0, 3, 4, 1, 3])
    expect(lastPromptPlace).toEqual([2, 3, 2, 2])
    expect([continuationPlace[0], continuationPlace[1], continuationPlace[3]]).toEqual([4, 6, 7])
    if (attention.kind !== 'shared') throw new Error('another plan was expected')
    const { rows, queries, prefix, queryPlaces, keyPlaces, keySegments, back } = attention
    expect([rows, queries, prefix]).toEqual([5, 3, 3])
    const row = (values: Uint32Array, width: number, index: number) => [
      ...values.slice(index * width, (index + 1) * width),
    ]
    expect(row(queryPlaces, 3, 0)).toEqual([0, 1, 2])
    expect(row(keyPlaces, 6, 0)).toEqual([noRow, noRow, noRow, 0, 1, 2])
    expect(row(queryPlaces, 3, 2)).toEqual([4, 5, noRow])
    expect(row(keyPlaces, 6, 2)).toEqual([0, 1, 2, 4, 5, noRow])
    expect(row(keyPlaces, 6, 3)).toEqual([3, noRow, noRow, 6, noRow, noRow])
    expect(row(keySegments, 6, 3)).toEqual([0, paddingSegment, paddingSegment, 0, paddingSegment, paddingSegment])
    back.forEach((query, place) => expect(queryPlaces[query]).toBe(place))
  })

  it.each(['rows', 'shared'] as const)('runs an image that several prompts hold once (%s)', (kind) => {
    const [a, b] = [image(2, 4), image(4, 4)]
    const one = prompt([1, pad, pad, 2], [a])
    const two = prompt([1, pad, pad, pad, pad, pad, pad], [b, a])
    const fed = [one, one, two].map((prompt) => ({ prompt, continuation: [3] }))
    const { images, cells, lastPromptPlace } = layOutTokens(fed, options, kind)
    expect(images).toEqual([a, b])
    const at = (index: number, size: number) => {
      const end = (lastPromptPlace[index] as number) + 1
      return [...cells.slice(end - size, end)]
    }
    expect(at(0, 4)).toEqual([noRow, 0, 1, noRow])
    expect(at(1, 4)).toEqual(at(0, 4))
    expect(at(2, 7)).toEqual([noRow, 2, 3, 4, 5, 0, 1])
  })
})
