/**
 * How runs of rows become the batch of an attention. Runs of equal length are a reshape. Runs of different length are
 * gathered into rows padded to the longest, and gathered back afterwards.
 */

import { noRow } from './rows.js'

/** Segment id of keys nobody may attend to. */
export const paddingSegment = 0xffffffff

export interface SegmentLayout {
  /** Number of runs. */
  readonly count: number
  /** Rows of the longest run. */
  readonly length: number
  /** Absent when all runs have the same length. */
  readonly padded?: {
    /** [count·length] row at each padded place, or none. */
    readonly gather: Uint32Array
    /** [count, length] 0 for rows, {@link paddingSegment} for padding. */
    readonly segments: Uint32Array
    /** [N] padded place of each row. */
    readonly back: Uint32Array
  }
}

/** @param lengths rows of neighbouring runs, covering all rows. */
export function segmentLayout(lengths: readonly number[]): SegmentLayout {
  const count = lengths.length
  const length = Math.max(...lengths)
  if (lengths.every((run) => run === length)) return { count, length }
  const gather = new Uint32Array(count * length).fill(noRow)
  const segments = new Uint32Array(count * length).fill(paddingSegment)
  const back = new Uint32Array(lengths.reduce((sum, run) => sum + run, 0))
  let row = 0
  lengths.forEach((run, index) => {
    for (let place = index * length; place < index * length + run; place++, row++) {
      gather[place] = row
      segments[place] = 0
      back[row] = place
    }
  })
  return { count, length, padded: { gather, segments, back } }
}
