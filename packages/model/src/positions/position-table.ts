/**
 * A square table of learned positions stretched over the patches of an image: bilinear, corners on corners. Which four
 * rows each patch reads, and with which weights, follows from its coordinates, so it is computed on the host.
 * Source: transformers `models/qwen3_vl/modeling_qwen3_vl.py`, `fast_pos_embed_interpolate`.
 */
import type { GridThw } from '../images/processor.js'

/** For each of four corners: the table row of every patch, and its weight. */
export interface PositionTaps {
  readonly rows: readonly Uint32Array[]
  readonly weights: readonly Float32Array[]
}

/** Where on a side of `table` points the `index`-th of `count` points lies. */
function stretch(index: number, count: number, table: number): { low: number; high: number; rest: number } {
  const place = count > 1 ? (index * (table - 1)) / (count - 1) : 0
  const low = Math.floor(place)
  return { low, high: Math.min(low + 1, table - 1), rest: place - low }
}

/**
 * @param grids patch grids, in the order of `coordinates`.
 * @param coordinates [N, 2] patch coordinates (y, x) of all grids end to end.
 * @param side points per side of the table; row y·side + x holds point (y, x).
 */
export function positionTaps(grids: readonly GridThw[], coordinates: Int32Array, side: number): PositionTaps {
  const patches = coordinates.length / 2
  const rows = Array.from({ length: 4 }, () => new Uint32Array(patches))
  const weights = Array.from({ length: 4 }, () => new Float32Array(patches))
  let patch = 0
  for (const [t, h, w] of grids) {
    for (const end = patch + t * h * w; patch < end; patch++) {
      const y = stretch(coordinates[patch * 2] as number, h, side)
      const x = stretch(coordinates[patch * 2 + 1] as number, w, side)
      const corners = [
        [y.low, x.low, (1 - y.rest) * (1 - x.rest)],
        [y.low, x.high, (1 - y.rest) * x.rest],
        [y.high, x.low, y.rest * (1 - x.rest)],
        [y.high, x.high, y.rest * x.rest],
      ] as const
      corners.forEach(([row, column, weight], corner) => {
        ;(rows[corner] as Uint32Array)[patch] = row * side + column
        ;(weights[corner] as Float32Array)[patch] = weight
      })
    }
  }
  return { rows, weights }
}
