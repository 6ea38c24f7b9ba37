/**
 * The order in which the vision tower sees its rows. Merged cells (merge × merge patches) are visited window by window, so
 * that every attention window is a run of neighbouring rows; frames stay runs too, because windows never leave their
 * frame. Source: transformers `models/qwen2_5_vl`, `get_window_index`.
 */
import type { VisionArchitecture } from '../config/architecture.js'
import type { GridThw } from '../images/processor.js'

export interface WindowOrder {
  /** Cell (raster order, images concatenated) visited at each place. */
  readonly cells: Uint32Array
  /** Rows (patches) in each window, in order. */
  readonly windowLengths: readonly number[]
  /** Rows in each frame, in order. */
  readonly frameLengths: readonly number[]
}

type WindowGeometry = Pick<VisionArchitecture, 'patchSize' | 'mergeSize'> & {
  readonly windows: { readonly size: number } | null
}

/**
 * Visits (t, window row, window column, row in window, column in window) of every image. Without windows a frame is one, and
 * the order is raster order.
 */
export function windowOrder(grids: readonly GridThw[], vision: WindowGeometry): WindowOrder {
  const side = vision.windows ? Math.floor(vision.windows.size / vision.mergeSize / vision.patchSize) : Infinity
  const cellRows = vision.mergeSize ** 2
  const cells: number[] = []
  const windowLengths: number[] = []
  const frameLengths: number[] = []
  let base = 0
  for (const [t, h, w] of grids) {
    const rows = h / vision.mergeSize
    const columns = w / vision.mergeSize
    for (let frame = 0; frame < t; frame++, base += rows * columns) {
      frameLengths.push(h * w)
      for (let top = 0; top < rows; top += side) {
        for (let left = 0; left < columns; left += side) {
          const start = cells.length
          for (let row = top; row < Math.min(top + side, rows); row++) {
            for (let column = left; column < Math.min(left + side, columns); column++) {
              cells.push(base + row * columns + column)
            }
          }
          windowLengths.push((cells.length - start) * cellRows)
        }
      }
    }
  }
  return { cells: Uint32Array.from(cells), windowLengths, frameLengths }
}

/** Patch coordinates (y, x), [N, 2], of the rows of images in merge-block order. */
export function patchCoordinates(grids: readonly GridThw[], mergeSize: number): Int32Array {
  const coordinates: number[] = []
  for (const [t, h, w] of grids) {
    for (let frame = 0; frame < t; frame++) {
      for (let blockRow = 0; blockRow < h; blockRow += mergeSize) {
        for (let blockColumn = 0; blockColumn < w; blockColumn += mergeSize) {
          for (let cell = 0; cell < mergeSize * mergeSize; cell++) {
            coordinates.push(blockRow + Math.floor(cell / mergeSize), blockColumn + (cell % mergeSize))
          }
        }
      }
    }
  }
  return Int32Array.from(coordinates)
}
