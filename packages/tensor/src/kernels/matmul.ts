/**
 * Chooses a matmul kernel and its uniform words for one product. Two families: register tiles in workgroup memory for
 * GPUs (or fragments of matrix units, where asked for), rows in registers for CPU rasterisers. The text of a kernel depends on the tile and on how the operands lie in
 * memory, never on shapes, so few pipelines serve a whole model; this module decides which, after bringing the product
 * to a better form where an equal one exists (a batch folded into rows, operands exchanged for narrow outputs).
 */
import {
  packWords,
  type MatmulLimits,
  type MatmulOperand,
  type MatmulShape,
  type MatmulTemplate,
} from './matmul-plan.js'
import { lanesTemplate, type LaneLoad } from './matmul-lanes.js'
import {
  defaultTile,
  fitsDevice,
  gpuTiles,
  laneRows,
  matmulClass,
  panelsOfTile,
  tileCandidates,
  type GpuKernel,
  type MatmulKernel,
} from './matmul-choice.js'
import { panelsTemplate, planPanelCopy, type PanelCopy, type PanelLoad } from './matmul-panels.js'
import { rowsTemplate } from './matmul-rows.js'
import { vectorTemplate } from './matmul-vector.js'
import { tileTemplate, type StageOrder } from './matmul-tile.js'
import { unitFits, unitsTemplate, type MatrixUnit } from './matmul-units.js'

export type { MatmulLimits, MatmulOperand, MatmulShape }

export interface MatmulPlan {
  /** Identity of `code`: equal keys mean equal text. Free of shapes. */
  readonly key: string
  /**
   * WGSL from the workgroup variables to the entry point `main`. It reads `params.mm`, gets operands by `mm_a(i)` and
   * `mm_b(i)` (element i as f32) or `mm_a4(i)` and `mm_b4(i)` (four elements from i, a multiple of four), and calls
   * `store_out(i, v)` or, when `vectorStore`, `store_out4(i, v)` exactly once for each element of the contiguous output.
   */
  readonly code: string
  readonly workgroups: readonly [number, number, number]
  readonly workgroupSize: readonly [number, number, number]
  /** u32 words of `params.mm`, a multiple of four of them. */
  readonly params: readonly number[]
  readonly vectorStore: boolean
  /** The code calls `mm_a4`, else `mm_a`; likewise `vectorB`. */
  readonly vectorA: boolean
  readonly vectorB: boolean
  /** `code` needs `enable subgroups;` at the head of the module. */
  readonly subgroups: boolean
  /** WGSL extensions `code` needs besides. */
  readonly extensions?: readonly string[]
}

export interface MatmulOptions {
  /** The adapter is a CPU rasteriser. */
  readonly software?: boolean
  /** Exact subgroup size (adapter's minimum = maximum), when the device has the feature `subgroups`. */
  readonly subgroupSize?: number
  /** The adapter's vendor, which picks a column of the table of defaults. */
  readonly vendor?: string
  /** The tile configuration, instead of the default for the shape; ignored where the device cannot run it. */
  readonly kernel?: MatmulKernel
  /** Matrix units to use for large products, where no configuration is asked for. */
  readonly unit?: MatrixUnit
  /** f16 units are used for f32 operands too, which are then rounded. */
  readonly unitRounds?: boolean
}

/** A product in the form the kernels see; `exchanged` when it computes Cᵀ = Bᵀ Aᵀ. */
interface Product {
  readonly shape: MatmulShape
  readonly a: MatmulOperand
  readonly b: MatmulOperand
  readonly exchanged: boolean
}

/** Folds batch dimensions into rows where all matrices of the batch meet one B and A's rows are evenly spaced. */
function foldBatch(product: Product): Product {
  const { shape, a, b } = product
  const { batch } = shape
  if (batch.every((size) => size === 1)) return product
  let rows = shape.m
  // With one row a matrix, the innermost batch dimension that has a stride sets the spacing.
  let spacing = shape.m === 1 ? null : a.rowStride
  for (const axis of [2, 1, 0] as const) {
    if (batch[axis] === 1) continue
    if (b.batchStrides[axis] !== 0) return product
    spacing ??= a.batchStrides[axis] / rows
    if (a.batchStrides[axis] !== spacing * rows) return product
    rows *= batch[axis]
  }
  return {
    ...product,
    shape: { ...shape, batch: [1, 1, 1], m: rows },
    a: { ...a, batchStrides: [0, 0, 0], rowStride: spacing ?? 0 },
  }
}

function transposed(operand: MatmulOperand): MatmulOperand {
  return { ...operand, rowStride: operand.colStride, colStride: operand.rowStride }
}

function exchange({ shape, a, b }: Product): Product {
  return { shape: { ...shape, m: shape.n, n: shape.m }, a: transposed(b), b: transposed(a), exchanged: true }
}

/** Texts by template in which the kernel's A is the caller's B, and the other way round. */
const exchangedTexts = new WeakMap<MatmulTemplate, string>()

function exchangeNames(template: MatmulTemplate): string {
  const known = exchangedTexts.get(template)
  if (known !== undefined) return known
  const code = template.code.replaceAll(
    /\bmm_([ab])(4?)\b/g,
    (_, name, width) => `mm_${name === 'a' ? 'b' : 'a'}${width}`,
  )
  exchangedTexts.set(template, code)
  return code
}

/** The operand with the meaningless strides of batch dimensions of size 1 set to 0. */
function cleared(operand: MatmulOperand, { batch }: MatmulShape): MatmulOperand {
  const [s0, s1, s2] = operand.batchStrides
  return { ...operand, batchStrides: [batch[0] === 1 ? 0 : s0, batch[1] === 1 ? 0 : s1, batch[2] === 1 ? 0 : s2] }
}

/** Whether `operand` can be read in vec4 along the dimension of stride `fast` and extent `extent`. */
function vectorisable(operand: MatmulOperand, fast: number, extent: number, slow: number, slowExtent: number): boolean {
  return (
    fast === 1 &&
    extent % 4 === 0 &&
    operand.offset % 4 === 0 &&
    (slowExtent === 1 || slow % 4 === 0) &&
    operand.batchStrides.every((stride) => stride % 4 === 0)
  )
}

function count(total: number, size: number): number {
  return Math.ceil(total / size)
}

function matrices({ batch }: MatmulShape): number {
  return batch[0] * batch[1] * batch[2]
}

/** Tiles below which a small machine's cores are taken to be short of work. */
const busyCores = 4

/** Multiply-adds from which a product repays compiling the text of so many rows. */
const worthRows = new Map([
  [16, 2 ** 18],
  [32, 2 ** 22],
])

/** Rows of a tile: the most that wastes few, while all cores of a small machine still get tiles. */
function rowsOfTile(shape: MatmulShape, tileColumns: number, most: 8 | 32): number {
  const columns = count(shape.n, tileColumns) * matrices(shape)
  const work = shape.m * shape.n * shape.k * matrices(shape)
  const padded = (rows: number) => count(shape.m, rows) * rows
  let rows = 1
  for (const more of [4, 8, 16, 32]) {
    const fits =
      more <= most &&
      work >= (worthRows.get(more) ?? 0) &&
      shape.m > rows &&
      padded(more) <= 1.25 * padded(Math.min(8, more))
    if (fits && (more <= 8 || count(shape.m, more) * columns >= busyCores)) rows = more
  }
  return rows
}

/** Strips of columns of a workgroup where one row meets a wide matrix: the most that leave work for all cores. */
function stripsOf(shape: MatmulShape, lanes: number): number {
  const groups = (strips: number) => count(shape.n, strips * lanes * 4) * matrices(shape)
  return [16, 8, 4].find((strips) => groups(strips) >= busyCores) ?? 1
}

/** Exact subgroup size for which the lanes kernel is written; undefined where there is none. */
function usableLanes({ subgroupSize }: MatmulOptions): number | undefined {
  return subgroupSize !== undefined && subgroupSize >= 4 && subgroupSize <= 16 ? subgroupSize : undefined
}

function softwareTemplate(product: Product, options: MatmulOptions): MatmulTemplate {
  const { shape, a, b, exchanged } = product
  const vectorStore = !exchanged && shape.n % 4 === 0
  const columnsOfB = vectorisable(b, b.colStride, shape.n, b.rowStride, shape.k)
  const lanes = usableLanes(options)
  if (lanes === undefined) {
    const few = rowsOfTile(shape, 32, 8)
    // Every value of A is a load of its own; a second group of columns shares it.
    const columnGroups = few === 8 && shape.n > 32 ? 2 : 1
    return rowsTemplate({ rows: few, columnGroups, lanes: 8, vectorB: columnsOfB, vectorStore })
  }
  const alongK = (operand: MatmulOperand, strideK: number, stride: number, extent: number) =>
    vectorisable(operand, strideK, shape.k, stride, extent)
  const loadA = alongK(a, a.colStride, a.rowStride, shape.m) ? 'alongK' : 'single'
  const loadB: LaneLoad = columnsOfB ? 'columns' : alongK(b, b.rowStride, b.colStride, shape.n) ? 'alongK' : 'single'
  const strips = stripsOf(shape, lanes)
  if (shape.m === 1 && strips > 1 && loadA === 'alongK' && loadB === 'columns') {
    return vectorTemplate({ lanes, strips, vectorStore })
  }
  return lanesTemplate({
    rows: laneRows.find((rows) => options.kernel === `rows${rows}`) ?? rowsOfTile(shape, lanes * 4, 32),
    lanes,
    loadA,
    loadB,
    ragged: shape.k % 4 !== 0,
    // Sums of neighbouring columns lie in one lane only where B is read that way.
    vectorStore: vectorStore && loadB === 'columns',
  })
}

const isGpuKernel = (name: MatmulKernel | undefined): name is GpuKernel => name !== undefined && name in gpuTiles

function gpuTemplate(
  { shape, a, b, exchanged }: Product,
  limits: MatmulLimits,
  { kernel, vendor, unit, unitRounds = false }: MatmulOptions,
): MatmulTemplate {
  const { m, n, k } = shape
  const order = (operand: MatmulOperand, strideK: number, stride: number, extent: number): StageOrder => {
    if (vectorisable(operand, strideK, k, stride, extent)) return { alongK: true, vector: true }
    if (vectorisable(operand, stride, extent, strideK, k)) return { alongK: false, vector: true }
    return { alongK: strideK <= stride, vector: false }
  }
  const orders = [order(a, a.colStride, a.rowStride, m), order(b, b.rowStride, b.colStride, n)] as const
  const vectorStore = !exchanged && n % 4 === 0
  const exact = unit?.component === 'f32' || [a, b].every(({ dtype }) => dtype === 'f16')
  const isWorth = Math.min(m, n) > 32 && k >= 16
  if (unit && kernel === undefined && (exact || unitRounds) && isWorth && unitFits(unit, limits)) {
    return unitsTemplate(unit, ...orders, vectorStore)
  }
  const chosen = isGpuKernel(kernel) && fitsDevice(kernel, limits) ? kernel : defaultTile(shape, limits, vendor)
  return tileTemplate(gpuTiles[chosen], ...orders, vectorStore)
}

/** An equal product that kernels do better: batches folded into rows, narrow outputs computed on their side. */
function betterForm(shape: MatmulShape, a: MatmulOperand, b: MatmulOperand): Product {
  const folded = foldBatch({ shape, a: cleared(a, shape), b: cleared(b, shape), exchanged: false })
  const narrow = folded.shape.n <= 8 && folded.shape.m > folded.shape.n
  return narrow ? exchange(folded) : folded
}

/**
 * The kernels worth trying for a product, and the kind it belongs to: its class, the powers of two about its extents, how
 * its operands lie in memory. Products of a kind are taken to have the same fastest kernel.
 */
export function matmulCandidates(
  shape: MatmulShape,
  a: MatmulOperand,
  b: MatmulOperand,
  limits: MatmulLimits,
  options: MatmulOptions = {},
): { readonly key: string; readonly names: readonly MatmulKernel[] } {
  const product = betterForm(shape, a, b)
  const { m, n, k } = product.shape
  const isUseful = (rows: number) => rows === 1 || rows < 2 * m
  const lanes = options.software ? usableLanes(options) : undefined
  const laneNames = lanes === undefined ? [] : laneRows.filter(isUseful).map((rows) => `rows${rows}` as const)
  const names = options.software ? laneNames : tileCandidates(product.shape, limits)
  const size = [m, n, k, matrices(product.shape)].map((extent) => 2 ** Math.round(Math.log2(Math.max(1, extent))))
  const lies = ({ dtype, rowStride, colStride }: MatmulOperand) =>
    `${colStride === 1 ? 'r' : rowStride === 1 ? 'c' : 's'}-${dtype}`
  const family = options.software ? 'lanes' : 'tiles'
  return {
    key: [family, matmulClass(product.shape), size.join('x'), lies(product.a), lies(product.b)].join(':'),
    names,
  }
}

/** The template applied to a product. */
function planOf(product: Product, template: MatmulTemplate, dtypes: string, limits: MatmulLimits): MatmulPlan {
  const { m, n, k, batch } = product.shape
  const tilesM = count(m, template.tileRows)
  const tilesN = count(n, template.tileColumns)
  const total = tilesM * tilesN * matrices(product.shape)
  const gridWidth = Math.min(total, limits.maxComputeWorkgroupsPerDimension)
  const { exchanged } = product
  return {
    key: `${template.key}${exchanged ? ':exchanged' : ''}:${dtypes}`,
    code: exchanged ? exchangeNames(template) : template.code,
    workgroups: [gridWidth, gridWidth === 0 ? 0 : count(total, gridWidth), 1],
    workgroupSize: template.workgroupSize,
    params: packWords({
      m,
      n,
      k,
      tiles: total,
      tilesN,
      tilesM,
      batch1: batch[1],
      batch2: batch[2],
      aOffset: product.a.offset,
      aBatch0: product.a.batchStrides[0],
      aBatch1: product.a.batchStrides[1],
      aBatch2: product.a.batchStrides[2],
      aRow: product.a.rowStride,
      aCol: product.a.colStride,
      bRow: product.b.rowStride,
      bCol: product.b.colStride,
      bOffset: product.b.offset,
      bBatch0: product.b.batchStrides[0],
      bBatch1: product.b.batchStrides[1],
      bBatch2: product.b.batchStrides[2],
      outRow: exchanged ? 1 : n,
      outCol: exchanged ? m : 1,
      gridWidth,
      tileRows: template.tileRows,
      chunk: template.chunk,
    }),
    vectorStore: template.vectorStore,
    vectorA: exchanged ? template.vectorB : template.vectorA,
    vectorB: exchanged ? template.vectorA : template.vectorB,
    subgroups: template.subgroups,
    ...(template.extensions ? { extensions: template.extensions } : {}),
  }
}

/**
 * Plans `C[b] = A[b] · B[b]` with f32 accumulation; C is contiguous `[b0, b1, b2, m, n]`. K = 0 gives zeros.
 *
 * Vector flags hold where the operand's unit-stride dimension, its other strides and its offset are multiples of four.
 */
export function planMatmul(
  shape: MatmulShape,
  a: MatmulOperand,
  b: MatmulOperand,
  limits: MatmulLimits,
  options: MatmulOptions = {},
): MatmulPlan {
  const product = betterForm(shape, a, b)
  const template = options.software ? softwareTemplate(product, options) : gpuTemplate(product, limits, options)
  return planOf(product, template, `${a.dtype}:${b.dtype}`, limits)
}

/** A product whose operands are copied first: what `planMatmul` returns, over the copies. */
export interface PanelPlan {
  readonly a: PanelCopy
  readonly b: PanelCopy
  readonly product: MatmulPlan
}

/**
 * Plans a product over panels (`matmul-panels.ts`); null where it does not repay copying, or the device has no subgroups.
 *
 * @param panelsWanted Panels of A in a tile, instead of what the table says for the shape, which must be one of a single matrix.
 */
export function planPanels(
  shape: MatmulShape,
  a: MatmulOperand,
  b: MatmulOperand,
  limits: MatmulLimits,
  options: MatmulOptions,
  panelsWanted?: 1 | 2,
): PanelPlan | null {
  const lanes = options.software ? usableLanes(options) : undefined
  const product = betterForm(shape, a, b)
  const { m, n, k } = product.shape
  const panels = panelsWanted ?? panelsOfTile(product.shape)
  if (lanes === undefined || panels === 0) return null
  const copy = (operand: MatmulOperand, extent: number, strideX: number, strideK: number) => {
    const isAcross = vectorisable(operand, strideX, extent, strideK, k)
    const isAlongK = vectorisable(operand, strideK, k, strideX, extent)
    const load: PanelLoad = isAlongK ? 'alongK' : isAcross ? 'across' : 'single'
    return planPanelCopy(operand, load, lanes, { extent, k, strideX, strideK })
  }
  const copies = {
    a: copy(product.a, m, product.a.rowStride, product.a.colStride),
    b: copy(product.b, n, product.b.colStride, product.b.rowStride),
  }
  const operand: MatmulOperand = { dtype: 'f32', offset: 0, batchStrides: [0, 0, 0], rowStride: 0, colStride: 0 }
  const copied = { shape: { ...product.shape, k: copies.a.filledK }, a: operand, b: operand, exchanged: false }
  const template = panelsTemplate({ panels, lanes, vectorStore: n % 4 === 0 })
  return { ...copies, product: planOf(copied, template, 'f32:f32', limits) }
}
