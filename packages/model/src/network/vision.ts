/**
 * The vision tower of Qwen2.5-VL: patches → blocks with 2D rotary and window attention → merger. Rows are put in window
 * order on the host before they are uploaded, so a window is a run of rows and nothing is moved on the GPU; the last step of
 * the reference (back to raster order) is folded into the gather that places visual tokens in the text.
 * Source: transformers `models/qwen2_5_vl/modeling_qwen2_5_vl.py`.
 */
import { attention, gelu, linear, rotary, type Device, type Tensor } from '@revisual/tensor'
import type { VisionArchitecture } from '../config/architecture.js'
import type { PreparedImage } from '../images/processor.js'
import { visionRotary, type RotaryTable } from '../positions/rotary.js'
import { patchCoordinates, windowOrder } from '../positions/windows.js'
import { mlps, norms, project, type Weights } from './layers.js'
import { noRow, pickRows } from './rows.js'
import { segmentLayout, type SegmentLayout } from './segments.js'

/** Images as host arrays in window order. */
export interface VisionBatch {
  /** [N, channels·temporalPatch·patch²]. */
  readonly pixelValues: Float32Array
  readonly rows: number
  readonly rotary: RotaryTable
  readonly windows: SegmentLayout
  readonly frames: SegmentLayout
  /** [cells] output row of each merged cell; cells in raster order, images concatenated. */
  readonly rowOfCell: Uint32Array
}

/** Lays images out for one run of the tower. */
export function visionBatch(images: readonly PreparedImage[], vision: VisionArchitecture): VisionBatch {
  const grids = images.map((image) => image.grid)
  const { cells, windowLengths, frameLengths } = windowOrder(grids, vision)
  const perCell = vision.mergeSize ** 2
  const rows = cells.length * perCell
  const source = concatenate(images.map((image) => image.pixelValues))
  const rowSize = source.length / rows
  const coordinates = patchCoordinates(grids, vision.mergeSize)
  const pixelValues = new Float32Array(source.length)
  const ordered = new Int32Array(coordinates.length)
  const rowOfCell = new Uint32Array(cells.length)
  cells.forEach((cell, place) => {
    rowOfCell[cell] = place
    const from = cell * perCell
    pixelValues.set(source.subarray(from * rowSize, (from + perCell) * rowSize), place * perCell * rowSize)
    ordered.set(coordinates.subarray(from * 2, (from + perCell) * 2), place * perCell * 2)
  })
  return {
    pixelValues,
    rows,
    rotary: visionRotary(ordered, vision.headSize, vision.ropeTheta),
    windows: segmentLayout(windowLengths),
    frames: segmentLayout(frameLengths),
    rowOfCell,
  }
}

function concatenate(arrays: readonly Float32Array[]): Float32Array {
  const result = new Float32Array(arrays.reduce((sum, array) => sum + array.length, 0))
  let offset = 0
  for (const array of arrays) {
    result.set(array, offset)
    offset += array.length
  }
  return result
}

/** Uploaded tables of one segment layout. */
interface Segments {
  readonly layout: SegmentLayout
  readonly cos: Tensor
  readonly sin: Tensor
  /** u32 [count, length], where runs are padded. */
  readonly mask?: Tensor
}

function uploadSegments(device: Device, layout: SegmentLayout, table: RotaryTable, half: number): Segments {
  const { count, length, padded } = layout
  const tensor = (values: Float32Array) => device.tensor(values, [values.length / half, half])
  if (!padded) return { layout, cos: tensor(table.cos), sin: tensor(table.sin) }
  const spread = (values: Float32Array) => {
    const result = new Float32Array(count * length * half)
    padded.gather.forEach((row, place) => {
      if (row !== noRow) result.set(values.subarray(row * half, (row + 1) * half), place * half)
    })
    return tensor(result)
  }
  return {
    layout,
    cos: spread(table.cos),
    sin: spread(table.sin),
    mask: device.tensor(padded.segments, [count, length]),
  }
}

/**
 * Runs the tower.
 * @returns merged visual tokens [cells, outputSize] in window order; row `rowOfCell[c]` belongs to cell c.
 */
export function visionTower(device: Device, weights: Weights, vision: VisionArchitecture, batch: VisionBatch): Tensor {
  const { hiddenSize, headSize, normEpsilon } = vision
  const visual: Weights = (name) => weights(`visual.${name}`)
  const norm = norms[vision.norm]
  const mlp = mlps[vision.mlp]
  const half = headSize / 2
  const windows = uploadSegments(device, batch.windows, batch.rotary, half)
  const frames = uploadSegments(device, batch.frames, batch.rotary, half)

  const pixels = device.tensor(batch.pixelValues, [batch.rows, batch.pixelValues.length / batch.rows])
  // The convolution's stride is its kernel, so it is a matmul.
  let x = linear(pixels, visual('patch_embed.proj.weight').reshape([hiddenSize, -1]))
  for (let block = 0; block < vision.blocks; block++) {
    const at = `blocks.${block}`
    const segments = vision.fullAttentionBlocks.includes(block) ? frames : windows
    const qkv = project(visual, `${at}.attn.qkv`, norm(visual, `${at}.norm1`, x, normEpsilon), true)
    x = x.add(project(visual, `${at}.attn.proj`, segmentAttention(qkv, segments, vision), true))
    x = x.add(mlp(visual, `${at}.mlp`, norm(visual, `${at}.norm2`, x, normEpsilon), true))
  }
  const merged = norm(visual, 'merger.ln_q', x, normEpsilon).reshape([-1, hiddenSize * vision.mergeSize ** 2])
  return project(visual, 'merger.mlp.2', gelu(project(visual, 'merger.mlp.0', merged, true), 'erf'), true)
}

/** Bidirectional attention inside each segment. qkv [N, 3E] → [N, E]. */
function segmentAttention(qkv: Tensor, { layout, cos, sin, mask }: Segments, vision: VisionArchitecture): Tensor {
  const { heads, headSize, hiddenSize } = vision
  const { count, length, padded } = layout
  const rows = padded ? pickRows(qkv, padded.gather) : qkv
  const split = rows.reshape([-1, 3 * heads, headSize])
  const turned = rotary(split.slice(1, 0, 2 * heads), cos, sin)
  const part = (x: Tensor, index: number) =>
    x
      .slice(1, index * heads, (index + 1) * heads)
      .reshape([count, length, heads, headSize])
      .permute([0, 2, 1, 3])
  const options = mask ? { querySegments: mask, keySegments: mask } : {}
  const mixed = attention(part(turned, 0), part(turned, 1), part(split, 2), options)
  const flat = mixed.permute([0, 2, 1, 3]).reshape([-1, hiddenSize])
  return padded ? pickRows(flat, padded.back) : flat
}
