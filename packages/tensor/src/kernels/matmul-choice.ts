/**
 * Which kernel computes which product: the names of all tile configurations, and the table used where nothing was measured.
 * The table goes by class of product and by the adapter's vendor. Only lavapipe's column was measured; the others follow
 * published experience (few registers on Intel: smaller tiles), and the autotuner is there to replace them. `wide` and `tall`
 * are nobody's default: they are right, which a software GPU can show, and whether they are fast only a GPU can.
 */
import type { MatmulLimits, MatmulShape } from './matmul-plan.js'
import { tileInvocations, tileStorage, type TileConfig } from './matmul-tile.js'

/** Tiles in workgroup memory, for GPUs. */
export const gpuTiles = {
  wide: { tileRows: 64, tileColumns: 128, depth: 16, rows: 8, columns: 4, groups: 1 },
  tall: { tileRows: 128, tileColumns: 64, depth: 16, rows: 8, columns: 4, groups: 1 },
  large: { tileRows: 64, tileColumns: 64, depth: 16, rows: 4, columns: 4, groups: 1 },
  medium: { tileRows: 32, tileColumns: 32, depth: 16, rows: 4, columns: 4, groups: 1 },
  deep: { tileRows: 32, tileColumns: 32, depth: 8, rows: 4, columns: 4, groups: 4 },
  fewRows: { tileRows: 8, tileColumns: 32, depth: 8, rows: 2, columns: 4, groups: 4 },
  oneRow: { tileRows: 1, tileColumns: 32, depth: 8, rows: 1, columns: 1, groups: 8 },
  smallest: { tileRows: 16, tileColumns: 16, depth: 8, rows: 2, columns: 4, groups: 1 },
} satisfies Record<string, TileConfig>

export type GpuKernel = keyof typeof gpuTiles

/** Rows of a tile of the lanes kernel, for CPU rasterisers with subgroups. */
export const laneRows = [1, 4, 8, 16, 32] as const

type LaneKernel = `rows${(typeof laneRows)[number]}`

/** Name of a tile configuration. */
export type MatmulKernel = GpuKernel | LaneKernel

/**
 * Whether a CPU rasteriser copies both operands into panels first, and how many panels of A a tile then takes. Measured on
 * lavapipe, 8 lanes: the copy costs some 1.5 ns an element, that is 1.5 (1/m + 1/n) ns a multiply-add, and saves a tenth of
 * 0.07 ns (K = 320, where rows do not collide in the cache) to half (K = 2048). Two panels gain a tenth more and take a
 * second to compile. The autotuner does not choose here: there is no other kernel for it to find.
 */
export function panelsOfTile({ batch, m, n, k }: MatmulShape): 0 | 1 | 2 {
  if (batch.some((size) => size > 1) || k < 32 || 1 / m + 1 / n > 1 / 200) return 0
  return m * n * k >= 2 ** 27 && m > 64 ? 2 : 1
}

export type MatmulClass = 'vector' | 'skinny' | 'batched' | 'deep' | 'large'

const matrices = ({ batch }: MatmulShape) => batch[0] * batch[1] * batch[2]

/** Workgroups below which a GPU is taken to be short of work. */
const busyWorkgroups = 64

function workgroups(shape: MatmulShape, tile: TileConfig): number {
  return Math.ceil(shape.m / tile.tileRows) * Math.ceil(shape.n / tile.tileColumns) * matrices(shape)
}

/** The class of a product; `deep` is one whose sums must be split for there to be work for all. */
export function matmulClass(shape: MatmulShape): MatmulClass {
  const { m, n, k } = shape
  if (m === 1) return 'vector'
  if (m <= 8) return 'skinny'
  if (k >= 512 && workgroups(shape, gpuTiles.medium) < busyWorkgroups) return 'deep'
  if (matrices(shape) > 1 && m * n <= 64 * 64) return 'batched'
  return 'large'
}

/** Preferences where the first that suits and fits is taken; `smallest` fits any device. */
const gpuDefaults: Readonly<Record<MatmulClass, readonly GpuKernel[]>> = {
  vector: ['oneRow'],
  skinny: ['fewRows'],
  deep: ['deep', 'medium'],
  batched: ['large', 'medium'],
  large: ['large', 'medium'],
}

/** Classes in which a vendor's adapters are given another preference. */
const vendorDefaults: Readonly<Record<string, Partial<Record<MatmulClass, readonly GpuKernel[]>>>> = {
  intel: { batched: ['medium'] },
}

export function fitsDevice(name: GpuKernel, limits: MatmulLimits): boolean {
  const tile = gpuTiles[name]
  return (
    tileInvocations(tile) <= limits.maxComputeInvocationsPerWorkgroup &&
    tileStorage(tile) <= limits.maxComputeWorkgroupStorageSize
  )
}

/** True when the tile is not mostly beyond the matrix and leaves enough workgroups. */
function suits(name: GpuKernel, shape: MatmulShape): boolean {
  const tile = gpuTiles[name]
  if (name === 'wide' || name === 'tall' || name === 'large') {
    return Math.min(shape.m, shape.n) > 32 && workgroups(shape, tile) >= busyWorkgroups
  }
  return true
}

/** The tile used where nothing was measured. */
export function defaultTile(shape: MatmulShape, limits: MatmulLimits, vendor = ''): GpuKernel {
  const kind = matmulClass(shape)
  const preferred = vendorDefaults[vendor.toLowerCase()]?.[kind] ?? gpuDefaults[kind]
  return preferred.find((name) => suits(name, shape) && fitsDevice(name, limits)) ?? 'smallest'
}

/** Tiles worth trying for a product. */
export function tileCandidates(shape: MatmulShape, limits: MatmulLimits): GpuKernel[] {
  const wanted: Readonly<Record<MatmulClass, readonly GpuKernel[]>> = {
    vector: ['oneRow', 'fewRows'],
    skinny: ['fewRows', 'smallest', 'medium'],
    deep: ['deep', 'medium', 'smallest'],
    batched: ['medium', 'large', 'smallest', 'deep'],
    large: ['large', 'tall', 'wide', 'medium'],
  }
  return wanted[matmulClass(shape)].filter((name) => fitsDevice(name, limits))
}
