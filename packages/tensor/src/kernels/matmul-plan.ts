/**
 * What the matmul templates share: the words of their uniform, and the WGSL that turns a workgroup into a tile of one
 * matrix of the batch. Every shape and stride is uniform data, so the text depends on the tile and the operand kinds
 * alone. Tiles are numbered along one axis and folded over x and y, so no grid dimension limits M, N or the batch.
 */

/** `[b0, b1, b2, m, k] × [b0, b1, b2, k, n]`. */
export interface MatmulShape {
  readonly batch: readonly [number, number, number]
  readonly m: number
  readonly n: number
  readonly k: number
}

/**
 * One operand: element (b0, b1, b2, row, col) lies at `offset + b0·s0 + b1·s1 + b2·s2 + row·rowStride + col·colStride`,
 * counted in elements. A stride of 0 broadcasts.
 */
export interface MatmulOperand {
  readonly dtype: 'f32' | 'f16'
  readonly offset: number
  readonly batchStrides: readonly [number, number, number]
  readonly rowStride: number
  readonly colStride: number
}

/** A product to plan. */
export interface MatmulProduct {
  readonly shape: MatmulShape
  readonly a: MatmulOperand
  readonly b: MatmulOperand
}

export type MatmulLimits = Pick<
  GPUSupportedLimits,
  'maxComputeInvocationsPerWorkgroup' | 'maxComputeWorkgroupStorageSize' | 'maxComputeWorkgroupsPerDimension'
>

/** How a template covers the product: rows and columns of one workgroup's tile, and the text that computes it. */
export interface MatmulTemplate {
  readonly key: string
  readonly code: string
  readonly tileRows: number
  readonly tileColumns: number
  /** Steps of k between two loads of A; in the uniform for kernels that must keep the driver from unrolling. */
  readonly chunk: number
  readonly workgroupSize: readonly [number, number, number]
  readonly vectorStore: boolean
  readonly vectorA: boolean
  readonly vectorB: boolean
  readonly subgroups: boolean
  /** WGSL extensions the text needs besides. */
  readonly extensions?: readonly string[]
}

/** Keeps the text of every configuration there is: a few dozen, each of which takes longer to write than to run. */
export function keepTemplates<Args extends readonly unknown[]>(
  write: (...args: Args) => MatmulTemplate,
): (...args: Args) => MatmulTemplate {
  const kept = new Map<string, MatmulTemplate>()
  return (...args) => {
    const key = JSON.stringify(args)
    const known = kept.get(key)
    if (known) return known
    const template = write(...args)
    kept.set(key, template)
    return template
  }
}

const words = [
  ...['m', 'n', 'k', 'tiles'],
  ...['tilesN', 'tilesM', 'batch1', 'batch2'],
  ...['aOffset', 'aBatch0', 'aBatch1', 'aBatch2'],
  ...['aRow', 'aCol', 'bRow', 'bCol'],
  ...['bOffset', 'bBatch0', 'bBatch1', 'bBatch2'],
  ...['outRow', 'outCol', 'gridWidth', 'tileRows'],
  ...['chunk'],
] as const

type MatmulWord = (typeof words)[number]

/** WGSL of one word of the uniform. */
export function word(name: MatmulWord): string {
  const index = words.indexOf(name)
  return `params.mm[${index >> 2}][${index & 3}]`
}

export function packWords(values: Readonly<Record<MatmulWord, number>>): number[] {
  const packed: number[] = words.map((name) => values[name])
  while (packed.length % 4 !== 0) packed.push(0)
  return packed
}

/** Lines `from` to `count - 1` of unrolled WGSL. */
export function unroll(count: number, line: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => line(index)).join('\n')
}

/**
 * Opens `main`: leaves the surplus workgroups of a folded grid, then defines `M`, `N`, `K`, the tile's first row and
 * column `row0` and `col0`, the operands' bases `aBase` and `bBase`, and the output's base `outBase`.
 */
export function tilePrologue(tileRows: number, tileColumns: number): string {
  return `
  let tile = wid.x + wid.y * ${word('gridWidth')};
  if (tile >= ${word('tiles')}) { return; }
  let M = ${word('m')};
  let N = ${word('n')};
  let K = ${word('k')};
  let tileRow = tile / ${word('tilesN')};
  let col0 = (tile - tileRow * ${word('tilesN')}) * ${tileColumns}u;
  let matrix = tileRow / ${word('tilesM')};
  let row0 = (tileRow - matrix * ${word('tilesM')}) * ${tileRows}u;
  let batch01 = matrix / ${word('batch2')};
  let batch2 = matrix - batch01 * ${word('batch2')};
  let batch0 = batch01 / ${word('batch1')};
  let batch1 = batch01 - batch0 * ${word('batch1')};
  let aBase = ${word('aOffset')} + batch0 * ${word('aBatch0')} + batch1 * ${word('aBatch1')} + batch2 * ${word('aBatch2')};
  let bBase = ${word('bOffset')} + batch0 * ${word('bBatch0')} + batch1 * ${word('bBatch1')} + batch2 * ${word('bBatch2')};
  let outBase = matrix * M * N;`
}
