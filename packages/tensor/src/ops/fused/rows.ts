/**
 * What all kernels over rows share: how many lanes work on a row, and reductions across them. Short rows get one lane
 * each, so no barrier is needed; long ones get up to 256.
 */
import type { Device } from '../../device/device.js'

export interface RowGrid {
  readonly lanes: number
  readonly rowsPerGroup: number
  readonly workgroupSize: readonly [number, number, number]
  readonly dispatch: readonly [number, number, number]
}

/** Lanes and workgroups for `rows` rows of `length` elements. */
export function rowGrid(device: Device, rows: number, length: number): RowGrid {
  // A CPU rasteriser pays for every barrier and gains nothing from neighbouring lanes reading neighbouring elements.
  const lanes = device.info.isSoftware ? (length <= 1024 ? 1 : 64) : length <= 8 ? 1 : length <= 512 ? 32 : 256
  const threads = Math.max(64, lanes)
  const rowsPerGroup = threads / lanes
  return {
    lanes,
    rowsPerGroup,
    workgroupSize: [threads, 1, 1],
    dispatch: [Math.ceil(rows / rowsPerGroup), 1, 1],
  }
}

/**
 * WGSL of `row_<op>(value, lidx) -> f32` for the given operations, and of ROW/LANE helpers. Every thread of a workgroup
 * must call them, also those whose row lies beyond the last.
 */
export function rowReductions({ lanes, rowsPerGroup }: RowGrid, operations: readonly ('sum' | 'max')[]): string {
  const lines = [
    `const LANES = ${lanes}u;`,
    `fn row_of(wid: vec3<u32>, lidx: u32) -> u32 { return wid.x * ${rowsPerGroup}u + lidx / LANES; }`,
    `fn lane_of(lidx: u32) -> u32 { return lidx % LANES; }`,
  ]
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
