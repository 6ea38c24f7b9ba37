import { describe, expect, it } from 'vitest'
import type { GridThw } from '../images/processor.js'
import { ropeIndex, type RopeIndexOptions, type VisualItem } from './rope-index.js'
import { positionTaps } from './position-table.js'
import { TextRotary, visionRotary } from './rotary.js'
import { patchCoordinates, windowOrder } from './windows.js'

const [S, E, I, V] = [101, 102, 103, 104]
const image = (count: number) => new Array<number>(count).fill(I)
const options = { imageTokenId: I, videoTokenId: V, mergeSize: 2, videoTime: { kind: 'frames' } } as const

function rows(ids: number[], items: (GridThw | VisualItem)[], other: Partial<RopeIndexOptions> = {}) {
  const visual = items.map((item) => ('grid' in item ? item : { grid: item }))
  const { positions, nextPosition } = ropeIndex(ids, visual, { ...options, ...other })
  const T = ids.length
  return {
    t: [...positions.slice(0, T)],
    h: [...positions.slice(T, 2 * T)],
    w: [...positions.slice(2 * T)],
    delta: nextPosition - T,
  }
}

describe('ropeIndex', () => {
  it('places one image', () => {
    expect(rows([1, 2, S, ...image(6), E, 3, 4], [[1, 4, 6]])).toEqual({
      t: [0, 1, 2, 3, 3, 3, 3, 3, 3, 6, 7, 8],
      h: [0, 1, 2, 3, 3, 3, 4, 4, 4, 6, 7, 8],
      w: [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8],
      delta: -3,
    })
  })

  it('places two images', () => {
    expect(
      rows(
        [1, S, ...image(4), E, 2, S, ...image(2), E, 3],
        [
          [1, 4, 4],
          [1, 2, 4],
        ],
      ),
    ).toEqual({
      t: [0, 1, 2, 2, 2, 2, 4, 5, 6, 7, 7, 9, 10],
      h: [0, 1, 2, 2, 3, 3, 4, 5, 6, 7, 7, 9, 10],
      w: [0, 1, 2, 3, 2, 3, 4, 5, 6, 7, 8, 9, 10],
      delta: -2,
    })
  })

  describe('of a video', () => {
    const ids = [1, S, ...new Array<number>(12).fill(V), E, 5]
    const video = (secondsPerPatch: number): VisualItem => ({
      grid: [3, 4, 4],
      video: { secondsPerPatch, timestamps: [] },
    })
    const seconds = { videoTime: { kind: 'seconds', tokensPerSecond: 2 } } as const
    const fours = (...times: number[]) => times.flatMap((time) => [time, time, time, time])

    it('runs t by seconds, and text goes on after all of it', () => {
      const whole = rows(ids, [video(1)], seconds)
      expect(whole.t).toEqual([0, 1, ...fours(2, 4, 6), 7, 8])
      expect(whole.h.slice(2, 14)).toEqual([2, 2, 3, 3, 2, 2, 3, 3, 2, 2, 3, 3])
      expect(whole.delta).toBe(-7)
      expect(rows(ids, [video(0.5)], seconds).t).toEqual([0, 1, ...fours(2, 3, 4), 5, 6])
      // Fractions are cut per patch, not accumulated.
      expect(rows(ids, [video(0.75)], seconds).t).toEqual([0, 1, ...fours(2, 3, 5), 6, 7])
    })

    it('can go on as transformers 5.18 does', () => {
      const other = { ...seconds, afterVideo: 'after-extent' } as const
      expect(rows(ids, [video(1)], other)).toMatchObject({ t: [0, 1, ...fours(2, 4, 6), 4, 5], delta: -9 })
    })

    it('counts temporal patches where time is not known', () => {
      expect(rows(ids, [video(9)]).t).toEqual([0, 1, ...fours(2, 3, 4), 5, 6])
    })

    it('places every frame as an image where timestamps stand in the text', () => {
      const frames = [1, S, V, V, E, 9, S, V, V, E]
      const item = { grid: [2, 2, 4], video: { secondsPerPatch: 1, timestamps: [] } } as const
      expect(rows(frames, [item], { videoTime: { kind: 'timestamps' } })).toEqual({
        t: [0, 1, 2, 2, 4, 5, 6, 7, 7, 9],
        h: [0, 1, 2, 2, 4, 5, 6, 7, 7, 9],
        w: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        delta: 0,
      })
    })

    it('refuses a video where an image should be', () => {
      const item = { grid: [1, 2, 2], video: { secondsPerPatch: 1, timestamps: [] } } as const
      expect(() => rows([V, I], [[1, 2, 2], item])).toThrow(/Token 0 should belong to an image.*order of their tokens/s)
    })
  })

  it('says how many tokens and features there are when they differ', () => {
    expect(() => rows([1, ...image(5)], [[1, 4, 6]])).toThrow('tokens: 5, features: 6')
    expect(() => rows([1, V], [])).toThrow('Video features and video tokens do not match: tokens: 1, features: 0')
  })
})

describe('windowOrder', () => {
  const qwen = { windows: { size: 112 }, patchSize: 14, mergeSize: 2 }
  const boundaries = (lengths: readonly number[]) =>
    lengths.reduce((sums, length) => [...sums, (sums.at(-1) ?? 0) + length], [0])

  it('orders the cells of two images', () => {
    const { cells, windowLengths, frameLengths } = windowOrder(
      [
        [1, 4, 6],
        [1, 8, 10],
      ],
      qwen,
    )
    expect([...cells]).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24, 10, 15, 20, 25,
    ])
    expect(boundaries(windowLengths)).toEqual([0, 24, 88, 104])
    expect(frameLengths).toEqual([24, 80])
  })

  it('cuts ragged grids and several frames', () => {
    const large = windowOrder([[1, 18, 22]], qwen)
    expect(boundaries(large.windowLengths)).toEqual([0, 64, 128, 176, 240, 304, 352, 368, 384, 396])
    expect([...large.cells.slice(0, 20)]).toEqual([
      0, 1, 2, 3, 11, 12, 13, 14, 22, 23, 24, 25, 33, 34, 35, 36, 4, 5, 6, 7,
    ])
    const frames = windowOrder([[2, 10, 12]], qwen)
    expect(boundaries(frames.windowLengths)).toEqual([0, 64, 96, 112, 120, 184, 216, 232, 240])
    expect(frames.frameLengths).toEqual([120, 120])
  })

  it('handles windows of one image that are smaller than a window', () => {
    const { cells, windowLengths } = windowOrder(
      [
        [1, 4, 6],
        [1, 8, 10],
      ],
      { windows: { size: 16 }, patchSize: 4, mergeSize: 2 },
    )
    expect([...cells]).toEqual([
      0, 1, 3, 4, 2, 5, 6, 7, 11, 12, 8, 9, 13, 14, 10, 15, 16, 17, 21, 22, 18, 19, 23, 24, 20, 25,
    ])
    expect(boundaries(windowLengths)).toEqual([0, 16, 24, 40, 56, 64, 80, 96, 104])
  })
})

describe('rotary tables', () => {
  it('walks patches in merge-block order', () => {
    expect([...patchCoordinates([[1, 4, 6]], 2).slice(0, 32)]).toEqual([
      0, 0, 0, 1, 1, 0, 1, 1, 0, 2, 0, 3, 1, 2, 1, 3, 0, 4, 0, 5, 1, 4, 1, 5, 2, 0, 2, 1, 3, 0, 3, 1,
    ])
  })

  it('turns y in the first half and x in the second', () => {
    const { cos } = visionRotary(Int32Array.of(1, 1), 16, 10000)
    const expected = [0.5403, 0.995, 0.99995, 1]
    ;[...expected, ...expected].forEach((value, j) => expect(cos[j]).toBeCloseTo(value, 4))
    const { sin } = visionRotary(Int32Array.of(1, 0), 16, 10000)
    expect([...sin.slice(4)]).toEqual([0, 0, 0, 0])
  })

  it('deals the frequencies to t, h and w in turn, with a tail of t', () => {
    const text = { headSize: 128, ropeTheta: 5e6, mropeSections: [24, 20, 20], mropeLayout: 'interleaved' } as const
    const { cos } = new TextRotary(text).table(Int32Array.of(7, 11, 13))
    const owner = (j: number) => (j < 60 && j % 3 === 1 ? 11 : j < 60 && j % 3 === 2 ? 13 : 7)
    for (let j = 0; j < 64; j++) expect(cos[j]).toBeCloseTo(Math.cos(owner(j) * 5e6 ** (-j / 64)), 6)
  })

  it('stretches a table of positions over a grid, corners on corners', () => {
    const coordinates = patchCoordinates([[2, 4, 2]], 2)
    const { rows, weights } = positionTaps([[2, 4, 2]], coordinates, 3)
    // A table that holds y + 10·x gives the stretched coordinates back.
    const read = (patch: number) =>
      rows.reduce((sum, taps, corner) => {
        const row = taps[patch] as number
        return sum + (Math.floor(row / 3) + 10 * (row % 3)) * (weights[corner]?.[patch] as number)
      }, 0)
    for (let patch = 0; patch < 16; patch++) {
      const [y, x] = [coordinates[patch * 2] as number, coordinates[patch * 2 + 1] as number]
      expect(read(patch)).toBeCloseTo((y * 2) / 3 + 10 * (x * 2), 5)
    }
    // One row of patches reads the table's first.
    expect(positionTaps([[1, 1, 1]], Int32Array.of(0, 0), 3).rows[0]?.[0]).toBe(0)
  })

  it('deals the frequencies to t, h and w in chunks', () => {
    const text = { headSize: 16, ropeTheta: 1e6, mropeSections: [2, 3, 3], mropeLayout: 'chunked' } as const
    const { cos } = new TextRotary(text).table(Int32Array.of(2, 3, 4))
    ;[-0.41615, 0.93742, 0.9955, 0.99986, 1, 1, 1, 1].forEach((value, j) => expect(cos[j]).toBeCloseTo(value, 4))
  })
})
