/**
 * M-RoPE positions of a token sequence. Text advances (t, h, w) together; the cells of an image share t and spread over h and
 * w; the text after it continues from the largest of them. Sections 1.6 of the Qwen2-VL paper (arXiv 2409.12191);
 * `get_rope_index` of transformers, whose versions agree on still images.
 */
import type { GridThw } from '../images/processor.js'

export interface RopeIndex {
  /** [3, T]: the t positions of all tokens, then h, then w. */
  readonly positions: Int32Array
  /** Position (t = h = w) of the first generated token. */
  readonly nextPosition: number
}

export interface RopeIndexOptions {
  readonly imageTokenId: number
  readonly mergeSize: number
}

/**
 * @param ids token ids with image pads expanded, one per merged cell.
 * @param grids patch grids of the images in order.
 * @throws {RangeError} when image tokens and grids do not match.
 */
export function ropeIndex(ids: readonly number[], grids: readonly GridThw[], options: RopeIndexOptions): RopeIndex {
  const { imageTokenId, mergeSize } = options
  const length = ids.length
  const cells = grids.reduce((sum, [t, h, w]) => sum + (t * h * w) / mergeSize ** 2, 0)
  const pads = ids.reduce((count, id) => count + (id === imageTokenId ? 1 : 0), 0)
  if (cells !== pads) {
    throw new RangeError(`Image features and image tokens do not match: tokens: ${pads}, features: ${cells}.`)
  }
  const positions = new Int32Array(3 * length)
  let current = 0
  let image = 0
  for (let token = 0; token < length;) {
    if (ids[token] !== imageTokenId) {
      for (let component = 0; component < 3; component++) positions[component * length + token] = current
      current++
      token++
      continue
    }
    const [, h, w] = grids[image++] as GridThw
    const columns = w / mergeSize
    const rows = h / mergeSize
    for (let cell = 0; cell < rows * columns; cell++, token++) {
      positions[token] = current
      positions[length + token] = current + Math.floor(cell / columns)
      positions[2 * length + token] = current + (cell % columns)
    }
    current += Math.max(rows, columns)
  }
  return { positions, nextPosition: current }
}
