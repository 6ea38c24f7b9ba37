import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { digitsStream } from './digits/rows.js'
import { arrayStream, mixStreams, takeRows } from './streams.js'
import type { JsonValue, Row, RowStream } from './types.js'

const row = (id: string): Row => ({ id, question: id, images: [], answer: id, source: 'test', tags: {} })
const rows = (count: number, prefix = '') => Array.from({ length: count }, (_, i) => row(`${prefix}${i}`))
const ids = (list: readonly Row[]) => list.map(({ id }) => id)
const digits = (seed: number) => digitsStream({ split: 'train', modality: 'text', seed })

/** Every kind of stream, and streams of streams. */
const makers: { readonly [name: string]: (seed: number) => RowStream } = {
  array: (seed) => arrayStream(rows(5), { seed }),
  digits,
  take: (seed) => takeRows(digits(seed), 20),
  mix: (seed) =>
    mixStreams(
      [
        { stream: digits(seed), weight: 2 },
        { stream: arrayStream(rows(3), { seed }), weight: 1 },
        { stream: mixStreams([{ stream: arrayStream(rows(4, 'b'), { seed }), weight: 1 }], seed), weight: 0.5 },
      ],
      seed,
    ),
}

describe.each(Object.entries(makers))('%s stream', (_, make) => {
  it('goes on identically from a saved cursor, however the rows are asked for', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer(),
        fc.array(fc.integer({ min: 0, max: 7 }), { maxLength: 5 }),
        fc.array(fc.integer({ min: 0, max: 7 }), { maxLength: 5 }),
        async (seed, before, after) => {
          const original = make(seed)
          for (const count of before) await original.next(count)
          const saved = JSON.parse(JSON.stringify(original.state())) as JsonValue
          const restored = make(seed)
          await restored.next(3)
          restored.restore(saved)
          expect(restored.state()).toEqual(saved)
          const total = after.reduce((sum, count) => sum + count, 0)
          const inPieces: Row[] = []
          for (const count of after) inPieces.push(...(await restored.next(count)))
          expect(inPieces).toEqual(await original.next(total))
          expect(restored.state()).toEqual(original.state())
        },
      ),
      { numRuns: 40 },
    )
  })

  it('refuses what is no cursor and counts that are no counts', async () => {
    for (const bad of [null, 3, {}, { index: -1, taken: 0.5 }])
      expect(() => make(1).restore(bad)).toThrow(/Cannot restore|Give what state/)
    await expect(make(1).next(-1)).rejects.toThrow(/not -1/)
  })
})

describe('arrayStream', () => {
  it('gives each row once per epoch, in another order each epoch and for each seed', async () => {
    const list = rows(20)
    const stream = arrayStream(list, { seed: 3 })
    const epochs = [await stream.next(20), await stream.next(20)]
    for (const epoch of epochs) expect(ids(epoch).sort()).toEqual(ids(list).sort())
    expect(ids(epochs[0]!)).not.toEqual(ids(epochs[1]!))
    expect(ids(await arrayStream(list, { seed: 4 }).next(20))).not.toEqual(ids(epochs[0]!))
    expect(ids(await arrayStream(list, { seed: 3, shuffle: false }).next(22))).toEqual([...ids(list), '0', '1'])
  })

  it('refuses an empty list and the cursor of another list', () => {
    expect(() => arrayStream([], { seed: 0 })).toThrow(/empty/)
    const state = arrayStream(rows(3), { seed: 0 }).state()
    expect(() => arrayStream(rows(4), { seed: 0 }).restore(state)).toThrow(/list of 3 rows, this one has 4/)
  })
})

describe('mixStreams', () => {
  it('mixes by weight', async () => {
    const stream = mixStreams(
      [
        { stream: arrayStream([row('a')], { seed: 0 }), weight: 3 },
        { stream: arrayStream([row('b')], { seed: 0 }), weight: 1 },
      ],
      5,
    )
    const share = ids(await stream.next(4000)).filter((id) => id === 'a').length / 4000
    // Five standard deviations of a binomial share.
    expect(Math.abs(share - 0.75)).toBeLessThan(5 * Math.sqrt((0.75 * 0.25) / 4000))
  })

  it('keeps the order of each part', async () => {
    const stream = mixStreams(
      [
        { stream: arrayStream(rows(50, 'a'), { seed: 0, shuffle: false }), weight: 1 },
        { stream: arrayStream(rows(50, 'b'), { seed: 0, shuffle: false }), weight: 1 },
      ],
      1,
    )
    const mixed = ids(await stream.next(40))
    for (const part of ['a', 'b']) {
      const own = mixed.filter((id) => id.startsWith(part))
      expect(own).toEqual(ids(rows(own.length, part)))
    }
  })

  it('refuses weights that are none, and streams that end', async () => {
    const stream = arrayStream(rows(2), { seed: 0 })
    for (const weight of [0, -1, NaN, Infinity]) expect(() => mixStreams([{ stream, weight }], 0)).toThrow(`${weight}`)
    expect(() => mixStreams([], 0)).toThrow(/nothing to mix/)
    const ending = mixStreams([{ stream: takeRows(stream, 2), weight: 1 }], 0)
    await expect(ending.next(3)).rejects.toThrow(/stream 0 ran out after 2 of 3 rows/)
    const one = mixStreams([{ stream, weight: 1 }], 0)
    expect(() => one.restore({ index: 0, parts: [] })).toThrow(/state of 1 streams, not \[\]/)
  })
})

describe('takeRows', () => {
  it('ends', async () => {
    const stream = takeRows(digits(0), 5)
    expect(await stream.next(3)).toHaveLength(3)
    expect(await stream.next(3)).toHaveLength(2)
    expect(await stream.next(3)).toEqual([])
  })
})
