import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PreparedImage } from '../images/processor.js'
import type { ModelPrompt } from '../prompt.js'
import { layOutTokens } from './batch.js'
import { noRow } from './rows.js'

const image = (h: number, w: number): PreparedImage => ({ grid: [1, h, w], pixelValues: new Float32Array() })
const pad = 9

function prompt(ids: readonly number[], images: readonly PreparedImage[] = []): ModelPrompt {
  const t = ids.map((_, index) => index)
  return { text: '', ids, images, positions: Int32Array.from([...t, ...t, ...t]), nextPosition: ids.length }
}

const options = { visualTokenIds: [pad], mergeSize: 2 }

describe('layOutTokens', () => {
  it('places every token once, each sequence as one run that attends to itself, end to end or in rows', () => {
    const sequence = fc.record({ known: fc.integer({ min: 1, max: 12 }), more: fc.integer({ min: 0, max: 8 }) })
    const sizes = fc.array(sequence, { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(sizes, fc.constantFrom('packed', 'rows'), (sizes, kind) => {
        const fed = sizes.map(({ known, more }, index) => ({
          prompt: prompt(Array.from({ length: known }, (_, k) => 1000 * index + 10 + k)),
          continuation: Array.from({ length: more }, (_, k) => 1000 * index + 500 + k),
        }))
        const { ids, positions, attention, lastPromptPlace, continuationPlace } = layOutTokens(fed, options, kind)
        const longest = Math.max(...sizes.map(({ known, more }) => known + more))
        const used = new Set<number>()
        fed.forEach(({ prompt: { ids: known }, continuation }, index) => {
          const start = (lastPromptPlace[index] as number) + 1 - known.length
          const all = [...known, ...continuation]
          const rows = { start, length: all.length }
          expect([...ids.slice(start, start + all.length)]).toEqual(all)
          expect(continuationPlace[index]).toBe(start + known.length)
          expect(attention[index]).toEqual({ queries: rows, keys: rows })
          if (kind === 'rows') expect(start).toBe(index * longest)
          all.forEach((_, k) => {
            expect(positions[2 * ids.length + start + k]).toBe(k)
            used.add(start + k)
          })
        })
        expect(attention.length).toBe(fed.length)
        expect(used.size).toBe(fed.reduce((sum, f) => sum + f.prompt.ids.length + f.continuation.length, 0))
        expect(ids.length).toBe(kind === 'packed' ? used.size : fed.length * longest)
        ids.forEach((id, place) => {
          if (!used.has(place)) expect(id).toBe(noRow)
        })
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
    const alone = (start: number, length: number) => ({ queries: { start, length }, keys: { start, length } })
    expect(attention).toEqual([
      alone(0, 3),
      alone(3, 1),
      { ...alone(4, 2), prefix: { start: 0, length: 3 } },
      { ...alone(6, 1), prefix: { start: 3, length: 1 } },
      { ...alone(7, 1), prefix: { start: 0, length: 3 } },
    ])
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
