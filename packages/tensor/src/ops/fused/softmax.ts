/**
 * Softmax over the last axis in one kernel, plain or with the masks attention needs, and its gradient
 * dx = s · y ∘ (dy − Σ dy∘y) for scores scaled by s.
 */
import { customGrad } from '../../autograd/grad.js'
import { ShapeError } from '../../device/errors.js'
import type { Tensor } from '../../graph/tensor.js'
import { exp, log, sub } from '../elementwise.js'
import { kernel } from '../kernel.js'
import { max, sum } from '../reduce.js'
import { rowGrid, rowLaunch, rowReductions } from './rows.js'

/** Segment id of a key nobody may attend to. */
export const NO_SEGMENT = 0xffffffff

export interface MaskOptions {
  /** Scores are multiplied by this first. Default 1. */
  readonly scale?: number
  /** Key j is visible to query i only when j ≤ i + queryOffset. */
  readonly causal?: boolean
  /** Index of query 0 among the keys. Default 0. */
  readonly queryOffset?: number
  /** u32 `[B, Lq]`: a query sees keys of its own segment only. Both or neither of the two. */
  readonly querySegments?: Tensor
  /** u32 `[B, Lk]`; {@link NO_SEGMENT} hides a key from everyone. */
  readonly keySegments?: Tensor
}

const body = (reductions: string, masked: boolean) => /* wgsl */ `
${reductions}
fn visible(row: u32, key: u32) -> bool {
  ${
    masked
      ? `let query = row % params.queries;
  let batch = row / (params.queries * params.heads);
  if (params.causal != 0u && i32(key) > i32(query) + params.offset) { return false; }
  let segment = load_keySegments(batch * params.length + key);
  return segment != 0xffffffffu && segment == load_querySegments(batch * params.queries + query);`
      : 'if (params.causal != 0u && i32(key) > i32(row % params.queries) + params.offset) { return false; }\n  return true;'
  }
}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = row_of(wid, lidx);
  let lane = lane_of(lidx);
  let valid = row < params.rows;
  let length = select(0u, params.length, valid);
  let base = row * params.length;
  var top = -3.0e38;
  for (var i = lane; i < length; i += LANES) {
    if (visible(row, i)) { top = max(top, load_x(base + i) * params.scale); }
  }
  top = row_max(top, lidx);
  var total = 0.0;
  for (var i = lane; i < length; i += LANES) {
    if (visible(row, i)) { total += exp(load_x(base + i) * params.scale - top); }
  }
  total = row_sum(total, lidx);
  let norm = select(0.0, 1.0 / total, total > 0.0);
  for (var i = lane; i < length; i += LANES) {
    var value = 0.0;
    if (visible(row, i)) { value = exp(load_x(base + i) * params.scale - top) * norm; }
    store_y(base + i, value);
  }
}`

function forward(x: Tensor, options: MaskOptions): Tensor {
  const length = x.shape.at(-1) ?? 1
  const queries = x.shape.at(-2) ?? 1
  const rows = length === 0 ? 0 : x.size / length
  const batch = x.rank > 2 ? (x.shape[0] ?? 1) : 1
  const grid = rowGrid(x.device, rows, length)
  const { querySegments, keySegments } = options
  const masked = querySegments !== undefined && keySegments !== undefined
  const { y } = kernel({
    name: 'softmax',
    inputs: { x, ...(masked ? { querySegments, keySegments } : {}) },
    outputs: { y: { shape: x.shape, dtype: 'f32' } },
    params: {
      rows: ['u32', rows],
      length: ['u32', length],
      queries: ['u32', queries],
      heads: ['u32', rows / (queries * batch) || 1],
      causal: ['u32', options.causal ? 1 : 0],
      offset: ['i32', options.queryOffset ?? 0],
      scale: ['f32', options.scale ?? 1],
    },
    ...rowLaunch(grid),
    body: body(rowReductions(grid, ['sum', 'max']), masked),
  })
  return y
}

function backward(y: Tensor, gradient: Tensor, scale: number): Tensor {
  const length = y.shape.at(-1) ?? 1
  const rows = length === 0 ? 0 : y.size / length
  const grid = rowGrid(y.device, rows, length)
  const { dx } = kernel({
    name: 'softmax-backward',
    inputs: { y, dy: gradient },
    outputs: { dx: { shape: y.shape, dtype: 'f32' } },
    params: { rows: ['u32', rows], length: ['u32', length], scale: ['f32', scale] },
    ...rowLaunch(grid),
    body: /* wgsl */ `
${rowReductions(grid, ['sum'])}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = row_of(wid, lidx);
  let length = select(0u, params.length, row < params.rows);
  let base = row * params.length;
  var dot = 0.0;
  for (var i = lane_of(lidx); i < length; i += LANES) { dot += load_y(base + i) * load_dy(base + i); }
  dot = row_sum(dot, lidx);
  for (var i = lane_of(lidx); i < length; i += LANES) {
    store_dx(base + i, params.scale * load_y(base + i) * (load_dy(base + i) - dot));
  }
}`,
  })
  return dx
}

/** Softmax over the last axis. */
export function softmax(x: Tensor): Tensor {
  return maskedSoftmax(x, {})
}

/** Fails when the segments of a mask are not u32 `[B, Lq]` and `[B, Lk]`. */
export function checkSegments(options: MaskOptions, batch: number, queries: number, keys: number, what: string): void {
  const { querySegments, keySegments } = options
  if ((querySegments === undefined) !== (keySegments === undefined)) {
    throw new ShapeError(`${what}: give both querySegments and keySegments, or neither.`)
  }
  const fits = (segments: Tensor | undefined, length: number) =>
    !segments || (segments.dtype === 'u32' && segments.shape[0] === batch && segments.shape[1] === length)
  if (!fits(querySegments, queries) || !fits(keySegments, keys)) {
    throw new ShapeError(
      `${what}: for scores [${batch}, …, ${queries}, ${keys}] querySegments must be u32 [${batch}, ${queries}] and ` +
        `keySegments u32 [${batch}, ${keys}].`,
    )
  }
}

/**
 * Softmax over the last axis of scaled scores `[B, …, Lq, Lk]`, restricted to visible keys. A row without visible keys
 * is all zeros.
 */
export function maskedSoftmax(scores: Tensor, options: MaskOptions): Tensor {
  const [queries = 1, keys = 1] = scores.shape.slice(-2)
  checkSegments(options, scores.shape[0] ?? 1, queries, keys, 'maskedSoftmax()')
  return customGrad((x) => {
    if (!x) throw new ShapeError('maskedSoftmax(): no scores.')
    const y = forward(x, options)
    return { value: y, vjp: (gradient) => [gradient && backward(y, gradient, options.scale ?? 1)] }
  })(scores)
}

/** log softmax over the last axis. */
export function logSoftmax(x: Tensor): Tensor {
  const shifted = sub(x, max(x.detached(), -1, true))
  return sub(shifted, log(sum(exp(shifted), -1, true)))
}
