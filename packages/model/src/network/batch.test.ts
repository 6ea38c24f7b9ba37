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

describe('layOutTokens', () => {
  it('packs every sequence once, in one run of one segment', () => {
    const sequence = fc.record({ known: fc.integer({ min: 1, max: 12 }), more: fc.integer({ min: 0, max: 8 }) })
    fc.assert(
      fc.property(fc.array(sequence, { minLength: 1, maxLength: 12 }), fc.boolean(), (sizes, packed) => {
        const fed = sizes.map(({ known, more }, index) => ({
          prompt: prompt(Array.from({ length: known }, (_, k) => 1000 * index + 10 + k)),
          continuation: Array.from({ length: more }, (_, k) => 1000 * index + 500 + k),
        }))
        const { rows, length, ids, positions, segments, starts } = layOutTokens(fed, pad, 2, packed)
        const used = new Set<number>()
        fed.forEach(({ prompt: { ids: known }, continuation }, index) => {
          const start = starts[index] as number
          const all = [...known, ...continuation]
          expect([...ids.slice(start, start + all.length)]).toEqual(all)
          expect(Math.floor(start / length)).toBe(Math.floor((start + all.length - 1) / length))
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
        if (packed) expect(rows).toBeLessThanOrEqual(fed.length)
        else expect(starts).toEqual(fed.map((_, row) => row * length))
      }),
    )
  })

  it('runs an image that several sequences hold once', () => {
    const [a, b] = [image(2, 4), image(4, 4)]
    const first = { prompt: prompt([1, pad, pad, 2], [a]), continuation: [3] }
    const second = { prompt: prompt([1, pad, pad, pad, pad, pad, pad], [b, a]), continuation: [] }
    const { images, cells, starts, length } = layOutTokens([first, first, second], pad, 2, false)
    expect(images).toEqual([a, b])
    expect(length).toBe(7)
    const at = (index: number) => [...cells.slice(starts[index], (starts[index] as number) + 7)]
    expect(at(0)).toEqual([noRow, 0, 1, noRow, noRow, noRow, noRow])
    expect(at(1)).toEqual(at(0))
    expect(at(2)).toEqual([noRow, 2, 3, 4, 5, 0, 1])
  })
})
