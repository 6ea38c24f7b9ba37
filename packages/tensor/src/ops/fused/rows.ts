/**
 * What all kernels over rows share: how many lanes work on a row, and reductions across them. Short rows get one lane
 * each, so no barrier is needed; long ones get up to 256. A CPU rasteriser gives a row to one subgroup where it has them:
 * its lanes are one vector register, neighbours read neighbouring elements, and what they found is merged by shuffles.
 */
import type { Device } from '../../device/device.js'

export interface RowGrid {
  readonly lanes: number
  readonly rowsPerGroup: number
  readonly workgroupSize: readonly [number, number, number]
  readonly dispatch: readonly [number, number, number]
  /** The lanes of a row are one subgroup. */
  readonly subgroups: boolean
}

/** Elements of each lane below which a workgroup costs more to start than it gains. */
const SUBGROUP_TURNS = 16

/** Size of the subgroup a row is given to on a CPU rasteriser; null where there is none, or the row is too short for it. */
function subgroupFor({ info, features }: Device, length: number): number | null {
  const { isSoftware, subgroupSize: size } = info
  if (!isSoftware || !features.has('subgroups') || size === undefined || (size & (size - 1)) !== 0) return null
  return size >= 4 && size <= 16 && length >= SUBGROUP_TURNS * size ? size : null
}

/**
 * Lanes and workgroups for `rows` rows of `length` elements.
 *
 * @param options.subgroups `false`: the plain twin without them.
 */
export function rowGrid(
  device: Device,
  rows: number,
  length: number,
  options: { readonly subgroups?: boolean } = {},
): RowGrid {
  const size = options.subgroups === false ? null : subgroupFor(device, length)
  if (size !== null) {
    return { lanes: size, rowsPerGroup: 1, workgroupSize: [size, 1, 1], dispatch: [rows, 1, 1], subgroups: true }
  }
  // A CPU rasteriser pays for every barrier.
  const lanes = device.info.isSoftware ? (length <= 1024 ? 1 : 64) : length <= 8 ? 1 : length <= 512 ? 32 : 256
  const threads = Math.max(64, lanes)
  const rowsPerGroup = threads / lanes
  return {
    lanes,
    rowsPerGroup,
    workgroupSize: [threads, 1, 1],
    dispatch: [Math.ceil(rows / rowsPerGroup), 1, 1],
    subgroups: false,
  }
}

/** How a kernel over such rows is launched. */
export function rowLaunch({ workgroupSize, dispatch, subgroups }: RowGrid) {
  return { workgroupSize, dispatch, subgroups }
}

/** WGSL of a reduction within a subgroup: every lane ends with the same bits, for each step adds the same two numbers. */
function subgroupReduction(operation: 'sum' | 'max', lanes: number): string {
  const steps = Array.from({ length: Math.log2(lanes) }, (_, step) => {
    const other = `subgroupShuffleXor(v, ${2 ** step}u)`
    return `  v = ${operation === 'sum' ? `v + ${other}` : `max(v, ${other})`};`
  })
  return `fn row_${operation}(value: f32, lidx: u32) -> f32 {\n  var v = value;\n${steps.join('\n')}\n  return v;\n}`
}

/** Texts written before, by what decides them. */
const written = new Map<string, string>()

/**
 * WGSL of `row_<op>(value, lidx) -> f32` for the given operations, and of ROW/LANE helpers. Every thread of a workgroup
 * must call them, also those whose row lies beyond the last.
 */
export function rowReductions(grid: RowGrid, operations: readonly ('sum' | 'max')[]): string {
  const key = `${grid.lanes}:${grid.rowsPerGroup}:${grid.subgroups}:${operations.join()}`
  const known = written.get(key)
  if (known !== undefined) return known
  const text = writeReductions(grid, operations)
  written.set(key, text)
  return text
}

function writeReductions(grid: RowGrid, operations: readonly ('sum' | 'max')[]): string {
  const { lanes, rowsPerGroup, subgroups } = grid
  const lines = [
    `const LANES = ${lanes}u;`,
    `fn row_of(wid: vec3<u32>, lidx: u32) -> u32 { return wid.x * ${rowsPerGroup}u + lidx / LANES; }`,
    `fn lane_of(lidx: u32) -> u32 { return lidx % LANES; }`,
  ]
  if (subgroups) return [...lines, ...operations.map((operation) => subgroupReduction(operation, lanes))].join('\n')
  if (lanes > 1) lines.push(`var<workgroup> row_shared: array<f32, ${lanes * rowsPerGroup}>;`)
  for (const operation of operations) {
    if (lanes === 1) {
      lines.push(`fn row_${operation}(value: f32, lidx: u32) -> f32 { return value; }`)
      continue
    }
    const merge =
      operation === 'sum'
        ? 'row_shared[lidx] + row_shared[lidx + half]'
        : 'max(row_shared[lidx], row_shared[lidx + half])'
    lines.push(`
fn row_${operation}(value: f32, lidx: u32) -> f32 {
  workgroupBarrier();
  row_shared[lidx] = value;
  for (var half = ${lanes / 2}u; half > 0u; half = half / 2u) {
    workgroupBarrier();
    if (lidx % LANES < half) { row_shared[lidx] = ${merge}; }
  }
  workgroupBarrier();
  return row_shared[lidx - lidx % LANES];
}`)
  }
  return lines.join('\n')
}
