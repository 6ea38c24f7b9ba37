/**
 * Rows by index, and the deterministic way back: no float atomics. The first token with an id sums the gradients of
 * all tokens with that id in token order, and writes the row; every other row is zero.
 */
import { customGrad } from '../../autograd/grad.js'
import { ShapeError } from '../../device/errors.js'
import { writable, type DType } from '../../graph/shape.js'
import type { Tensor } from '../../graph/tensor.js'
import { kernel } from '../kernel.js'

function checkIndices(indices: Tensor, what: string): number {
  if (indices.dtype !== 'u32' || indices.rank !== 1) {
    throw new ShapeError(`${what}(): indices must be u32 [N], got ${indices.dtype}[${indices.shape.join(', ')}].`)
  }
  return indices.size
}

const ZERO: Readonly<Partial<Record<DType, string>>> = { i32: '0i', u32: '0u' }

/** @param beyond What an index beyond the last row gives: the last row, or zeros. */
function gatherForward(x: Tensor, indices: Tensor, dtype: DType, beyond: 'last' | 'zeros' = 'last'): Tensor {
  const rows = x.shape[0] ?? 0
  const width = rows === 0 ? 0 : x.size / rows
  const size = indices.size * width
  const { y } = kernel({
    name: 'gather',
    inputs: { x, indices },
    outputs: { y: { shape: [indices.size, ...x.shape.slice(1)], dtype } },
    params: {
      size: ['u32', size],
      width: ['u32', width],
      rows: ['u32', rows],
      readable: ['u32', beyond === 'last' ? 2 ** 32 - 1 : Math.max(0, rows - 1)],
    },
    workgroupSize: [256, 1, 1],
    dispatch: [Math.ceil(size / 256), 1, 1],
    body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let i = wid.x * 256u + lidx;
  if (i >= params.size) { return; }
  let index = load_indices(i / params.width);
  let row = min(index, params.rows - 1u);
  let value = load_x(row * params.width + i % params.width);
  store_y(i, select(${ZERO[writable(x.dtype)] ?? '0.0'}, value, index <= params.readable));
}`,
  })
  return y
}

/** Sums rows of a gradient into the rows they were read from; as there, indices beyond the last mean the last. */
function scatterAdd(gradient: Tensor, indices: Tensor, shape: readonly number[]): Tensor {
  const rows = shape[0] ?? 0
  const tokens = indices.size
  const width = tokens === 0 ? 0 : gradient.size / tokens
  const columns = 64
  const { dx } = kernel({
    name: 'scatter-add',
    inputs: { dy: gradient, indices },
    outputs: { dx: { shape, dtype: 'f32' } },
    params: {
      tokens: ['u32', tokens],
      width: ['u32', width],
      blocks: ['u32', Math.ceil(width / columns)],
      last: ['u32', Math.max(0, rows - 1)],
    },
    workgroupSize: [columns, 1, 1],
    dispatch: [tokens * Math.ceil(width / columns), 1, 1],
    zeroOutputs: true,
    body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let token = wid.x / params.blocks;
  if (token >= params.tokens) { return; }
  let id = min(load_indices(token), params.last);
  for (var t = 0u; t < token; t++) { if (min(load_indices(t), params.last) == id) { return; } }
  let column = (wid.x % params.blocks) * ${columns}u + lidx;
  if (column >= params.width) { return; }
  var total = 0.0;
  for (var t = token; t < params.tokens; t++) {
    if (min(load_indices(t), params.last) == id) { total += load_dy(t * params.width + column); }
  }
  store_dx(id * params.width + column, total);
}`,
  })
  return dx
}

/** Rows of x `[R, …]` at u32 indices `[N]` → `[N, …]`; indices beyond R−1 read the last row. Quantised rows become f32. */
export function gather(x: Tensor, indices: Tensor): Tensor {
  return gatherAs(x, indices, writable(x.dtype))
}

function gatherAs(x: Tensor, indices: Tensor, dtype: DType): Tensor {
  checkIndices(indices, 'gather')
  if (x.rank < 1) throw new ShapeError('gather(): x must have rank ≥ 1.')
  return customGrad((input) => {
    if (!input) throw new ShapeError('gather(): missing operand.')
    return {
      value: gatherForward(input, indices, dtype),
      vjp: (gradient) => [gradient && scatterAdd(gradient, indices, x.shape)],
    }
  })(x)
}

/** Rows of the weight `[V, H]`, of any float type or quantised, at ids `[T]` → f32 `[T, H]`. */
export function embedding(weight: Tensor, ids: Tensor): Tensor {
  if (weight.rank !== 2) throw new ShapeError(`embedding(): weight must be [V, H], got [${weight.shape.join(', ')}].`)
  return gatherAs(weight, ids, 'f32')
}

function replaceRows(x: Tensor, indices: Tensor, rows: Tensor): Tensor {
  const count = x.shape[0] ?? 0
  const width = count === 0 ? 0 : x.size / count
  const { y } = kernel({
    name: 'index-put',
    inputs: { x, indices, rows },
    outputs: { y: { shape: x.shape, dtype: 'f32' } },
    params: { count: ['u32', count], width: ['u32', width], puts: ['u32', indices.size] },
    workgroupSize: [64, 1, 1],
    dispatch: [count, 1, 1],
    body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = wid.x;
  if (row >= params.count) { return; }
  var origin = 0xffffffffu;
  for (var n = 0u; n < params.puts; n++) { if (load_indices(n) == row) { origin = n; } }
  for (var c = lidx; c < params.width; c += 64u) {
    var value = f32(load_x(row * params.width + c));
    if (origin != 0xffffffffu) { value = f32(load_rows(origin * params.width + c)); }
    store_y(row * params.width + c, value);
  }
}`,
  })
  return y
}

/**
 * A copy of x `[R, …]` whose rows at the (distinct) indices `[N]` are replaced by `rows` `[N, …]`; rows for indices beyond
 * R−1 go nowhere.
 */
export function indexPut(x: Tensor, indices: Tensor, rows: Tensor): Tensor {
  const count = checkIndices(indices, 'indexPut')
  if (rows.shape[0] !== count || rows.size * (x.shape[0] ?? 1) !== x.size * count) {
    throw new ShapeError(
      `indexPut(): rows [${rows.shape.join(', ')}] must be [${count}, ${x.shape.slice(1).join(', ')}].`,
    )
  }
  return customGrad((input, values) => {
    if (!input || !values) throw new ShapeError('indexPut(): missing operand.')
    return {
      value: replaceRows(input, indices, values),
      vjp: (gradient) =>
        gradient
          ? [
              replaceRows(gradient, indices, x.device.zeros(values.shape)),
              gatherForward(gradient, indices, 'f32', 'zeros'),
            ]
          : [null, null],
    }
  })(x, rows)
}
