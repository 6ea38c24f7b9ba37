/**
 * The vision tower of the Qwen families: patches → blocks with 2D rotary, inside windows or over the frame → merger. Rows are
 * put in window order on the host before they are uploaded, so a window is a run of rows and nothing is moved on the GPU;
 * the last step of the reference (back to raster order) is folded into the gather that places visual tokens in the text.
 * Source: transformers `models/{qwen2_vl,qwen2_5_vl,qwen3_vl}/modeling_*.py`.
 */
import { gelu, linear, rotary, type Device, type Tensor } from '@revisual/tensor'
import type { Architecture, Merger, VisionArchitecture } from '../config/architecture.js'
import type { PreparedImage } from '../images/processor.js'
import { positionTaps, type PositionTaps } from '../positions/position-table.js'
import { visionRotary, type RotaryTable } from '../positions/rotary.js'
import { patchCoordinates, windowOrder } from '../positions/windows.js'
import { feedForward, norms, project, weightsUnder, type Weights } from './layers.js'
import { pickRows } from './rows.js'
import { neighbouringRuns, tokenAttention, type TokenAttention } from './token-attention.js'

/** Images as host arrays in window order. */
export interface VisionBatch {
  /** [N, channels·temporalPatch·patch²]. */
  readonly pixelValues: Float32Array
  readonly rows: number
  readonly rotary: RotaryTable
  /** Where the learned position table is read, if there is one. */
  readonly positions: PositionTaps | null
  /** Rows in each window and in each frame, in order. */
  readonly windowLengths: readonly number[]
  readonly frameLengths: readonly number[]
  /** [cells] output row of each merged cell; cells in raster order, images concatenated. */
  readonly rowOfCell: Uint32Array
}

/** Lays images out for one run of the tower. */
export function visionBatch(
  images: readonly PreparedImage[],
  { vision, rotaryFrequencies }: Pick<Architecture, 'vision' | 'rotaryFrequencies'>,
): VisionBatch {
  const grids = images.map((image) => image.grid)
  const { cells, windowLengths, frameLengths } = windowOrder(grids, vision)
  const perCell = vision.mergeSize ** 2
  const rows = cells.length * perCell
  const sizes = images.map((image) => image.pixelValues.length)
  const pixelValues = new Float32Array(sizes.reduce((sum, size) => sum + size, 0))
  const cellSize = pixelValues.length / cells.length
  const coordinates = patchCoordinates(grids, vision.mergeSize)
  const taps = vision.positionTableSide === null ? null : positionTaps(grids, coordinates, vision.positionTableSide)
  const ordered = new Int32Array(coordinates.length)
  const rowOfCell = new Uint32Array(cells.length)
  const rowOrder = new Uint32Array(rows)
  cells.forEach((cell, place) => {
    rowOfCell[cell] = place
    for (let k = 0; k < perCell; k++) {
      const [from, to] = [cell * perCell + k, place * perCell + k]
      rowOrder[to] = from
      ordered[2 * to] = coordinates[2 * from] as number
      ordered[2 * to + 1] = coordinates[2 * from + 1] as number
    }
  })
  let first = 0
  for (const image of images) {
    const count = image.pixelValues.length / cellSize
    for (let cell = 0; cell < count; cell++) {
      const pixels = image.pixelValues.subarray(cell * cellSize, (cell + 1) * cellSize)
      pixelValues.set(pixels, (rowOfCell[first + cell] as number) * cellSize)
    }
    first += count
  }
  return {
    pixelValues,
    rows,
    rotary: visionRotary(ordered, vision.headSize, vision.ropeTheta, rotaryFrequencies),
    positions: taps && {
      rows: taps.rows.map((values) => rowOrder.map((row) => values[row] as number)),
      weights: taps.weights.map((values) => Float32Array.from(rowOrder, (row) => values[row] as number)),
    },
    windowLengths,
    frameLengths,
    rowOfCell,
  }
}

/** Visual tokens [cells, outputSize] in window order; row `rowOfCell[c]` belongs to cell c. */
interface VisionOutput {
  readonly merged: Tensor
  /** One more such tensor for each of the decoder's first layers, where the family has DeepStack. */
  readonly deepStack: readonly Tensor[]
}

/** Runs the tower. */
export function visionTower(
  device: Device,
  weights: Weights,
  vision: VisionArchitecture,
  batch: VisionBatch,
): VisionOutput {
  const { headSize, normEpsilon } = vision
  const visual = weightsUnder(weights, 'visual.')
  const norm = norms[vision.norm]
  const table = (values: Float32Array) => device.tensor(values, [batch.rows, headSize / 2])
  const [cos, sin] = [table(batch.rotary.cos), table(batch.rotary.sin)]
  const inside = (lengths: readonly number[]) => tokenAttention(device, neighbouringRuns(lengths), { causal: false })
  const frames = inside(batch.frameLengths)
  const windows = vision.windows ? inside(batch.windowLengths) : frames
  const deepStack: Tensor[] = []
  let x = embedPatches(device, visual, vision, batch)
  for (let block = 0; block < vision.blocks; block++) {
    const at = `blocks.${block}`
    const attention = vision.windows?.fullAttentionBlocks.includes(block) ? frames : windows
    const qkv = project(visual, `${at}.attn.qkv`, norm(visual, `${at}.norm1`, x, normEpsilon), true)
    x = x.add(project(visual, `${at}.attn.proj`, mix(qkv, cos, sin, attention, vision), true))
    x = x.add(feedForward(visual, vision.mlp, `${at}.mlp`, norm(visual, `${at}.norm2`, x, normEpsilon), true))
    for (const { block: after, merger } of vision.deepStack) {
      if (after === block) deepStack.push(merge(visual, vision, merger, x))
    }
  }
  return { merged: merge(visual, vision, vision.merger, x), deepStack }
}

/** Patches [N, E] with what is known of their places. */
function embedPatches(device: Device, visual: Weights, vision: VisionArchitecture, batch: VisionBatch): Tensor {
  const { pixelValues, rows, positions } = batch
  const pixels = device.tensor(pixelValues, [rows, pixelValues.length / rows])
  // The convolution's stride is its kernel, so it is a matmul.
  const weight = visual('patch_embed.proj.weight').reshape([vision.hiddenSize, -1])
  const patches = vision.patchBias ? linear(pixels, weight, visual('patch_embed.proj.bias')) : linear(pixels, weight)
  if (!positions) return patches
  const table = visual('pos_embed.weight')
  return positions.rows.reduce(
    (sum, taps, corner) =>
      sum.add(pickRows(table, taps).mul(device.tensor(positions.weights[corner] as Float32Array, [rows, 1]))),
    patches,
  )
}

/** Rows [N, E] into visual tokens [N / mergeSize², outputSize]. */
function merge(visual: Weights, vision: VisionArchitecture, merger: Merger, x: Tensor): Tensor {
  const joined = vision.hiddenSize * vision.mergeSize ** 2
  const rows = merger.normAfterJoin ? x.reshape([-1, joined]) : x
  const normed = norms[vision.norm](visual, `${merger.name}.${merger.norm}`, rows, vision.normEpsilon)
  const inner = project(visual, `${merger.name}.${merger.first}`, normed.reshape([-1, joined]), true)
  return project(visual, `${merger.name}.${merger.second}`, gelu(inner, 'erf'), true)
}

/** Rotates queries and keys and lets rows attend. qkv [N, 3E] → [N, E]. */
function mix(
  qkv: Tensor,
  cos: Tensor,
  sin: Tensor,
  attention: TokenAttention,
  { heads, headSize }: VisionArchitecture,
): Tensor {
  const split = qkv.reshape([-1, 3 * heads, headSize])
  const turned = rotary(split.slice(1, 0, 2 * heads), cos, sin)
  return attention(turned.slice(1, 0, heads), turned.slice(1, heads), split.slice(1, 2 * heads))
}
