/**
 * RMSNorm (arXiv 1910.07467) and LayerNorm (arXiv 1607.06450) over the last axis, statistics in f32, one kernel forward
 * and one for the gradient of the input; those of weight and bias are ordinary reductions. Rows of a multiple of four are
 * read and written four elements at once.
 */
import { customGrad } from '../../autograd/grad.js'
import { ShapeError } from '../../device/errors.js'
import type { Tensor } from '../../graph/tensor.js'
import { mul, sub } from '../elementwise.js'
import { kernel, type KernelOptions } from '../kernel.js'
import { sum } from '../reduce.js'
import { reshape } from '../view.js'
import { rowGrid, rowLaunch, rowReductions } from './rows.js'

/** How a kernel over the rows is written: everything of its options but names, inputs, outputs and body. */
interface RowPlan {
  readonly rows: number
  readonly length: number
  /** Launch, sizes and which of the named tensors are read by vectors. */
  readonly launch: (
    vectors: readonly string[],
  ) => Pick<KernelOptions<string>, 'workgroupSize' | 'dispatch' | 'subgroups' | 'vectors'>
  /** `params.rows`, and `params.units`: values of a row, of type `Value`. */
  readonly sizes: Readonly<Record<'rows' | 'length' | 'units', readonly ['u32', number]>>
  /** WGSL of the reductions, of `Value`, and of `total_of(v)`, the sum of a value's elements. */
  readonly head: string
}

export interface NormOptions {
  /** @internal Reads by single elements and uses no subgroups: the twin the fast kernels are compared with. */
  readonly plain?: boolean
}

function planRows(x: Tensor, weight: Tensor, what: string, { plain = false }: NormOptions): RowPlan {
  const length = x.shape.at(-1) ?? 1
  if (weight.rank !== 1 || weight.shape[0] !== length) {
    throw new ShapeError(
      `${what}(): weight [${weight.shape.join(', ')}] must be [${length}], the last dimension of x [${x.shape.join(', ')}].`,
    )
  }
  const rows = length === 0 ? 0 : x.size / length
  const grid = rowGrid(x.device, rows, length, { subgroups: !plain })
  const isVector = length % 4 === 0 && !plain
  return {
    rows,
    length,
    launch: (vectors) => ({ ...rowLaunch(grid), vectors: isVector ? vectors : [] }),
    sizes: { rows: ['u32', rows], length: ['u32', length], units: ['u32', isVector ? length / 4 : length] },
    head: `
${rowReductions(grid, ['sum'])}
alias Value = ${isVector ? 'vec4<f32>' : 'f32'};
fn total_of(v: Value) -> f32 { return ${isVector ? '(v.x + v.y) + (v.z + v.w)' : 'v'}; }`,
  }
}

/** x · rsqrt(mean(x²) + eps) · weight over the last axis of `[…, C]`. */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number, options: NormOptions = {}): Tensor {
  const { rows, length, launch, sizes, head } = planRows(x, weight, 'rmsNorm', options)
  return customGrad((input, scale) => {
    if (!input || !scale) throw new ShapeError('rmsNorm(): missing operand.')
    const { y, rstd } = kernel({
      name: 'rms-norm',
      inputs: { x: input, weight: scale },
      outputs: { y: { shape: x.shape, dtype: 'f32' }, rstd: { shape: [rows, 1], dtype: 'f32' } },
      params: { ...sizes, eps: ['f32', eps] },
      ...launch(['x', 'weight', 'y']),
      body: /* wgsl */ `
${head}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = row_of(wid, lidx);
  let units = select(0u, params.units, row < params.rows);
  let base = row * params.units;
  var squares = Value();
  for (var i = lane_of(lidx); i < units; i += LANES) { let v = load_x(base + i); squares += v * v; }
  let scale = inverseSqrt(row_sum(total_of(squares), lidx) / f32(params.length) + params.eps);
  for (var i = lane_of(lidx); i < units; i += LANES) { store_y(base + i, load_x(base + i) * scale * load_weight(i)); }
  if (lane_of(lidx) == 0u && row < params.rows) { store_rstd(row, scale); }
}`,
    })
    return {
      value: y,
      vjp: (gradient) => {
        if (!gradient) return [null, null]
        const { dx } = kernel({
          name: 'rms-norm-backward',
          inputs: { x: input, weight: scale, dy: gradient, rstd },
          outputs: { dx: { shape: x.shape, dtype: 'f32' } },
          params: sizes,
          ...launch(['x', 'weight', 'dy', 'dx']),
          body: /* wgsl */ `
${head}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = row_of(wid, lidx);
  let valid = row < params.rows;
  let units = select(0u, params.units, valid);
  let base = row * params.units;
  var products = Value();
  for (var i = lane_of(lidx); i < units; i += LANES) { products += load_dy(base + i) * load_weight(i) * load_x(base + i); }
  let dot = row_sum(total_of(products), lidx);
  let r = load_rstd(select(0u, row, valid));
  let c = dot * r * r / f32(params.length);
  for (var i = lane_of(lidx); i < units; i += LANES) {
    store_dx(base + i, r * (load_dy(base + i) * load_weight(i) - load_x(base + i) * c));
  }
}`,
        })
        const flatX = reshape(input, [rows, length])
        const flatDy = reshape(gradient, [rows, length])
        return [dx, weight.requiresGrad ? sum(mul(flatDy, mul(flatX, rstd)), 0) : null]
      },
    }
  })(x, weight)
}

/** (x − mean) · rsqrt(var + eps) · weight + bias over the last axis of `[…, C]`, population variance. */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number, options: NormOptions = {}): Tensor {
  const { rows, length, launch, sizes, head } = planRows(x, weight, 'layerNorm', options)
  return customGrad((input, scale, shift) => {
    if (!input || !scale || !shift) throw new ShapeError('layerNorm(): missing operand.')
    const { y, mean, rstd } = kernel({
      name: 'layer-norm',
      inputs: { x: input, weight: scale, bias: shift },
      outputs: {
        y: { shape: x.shape, dtype: 'f32' },
        mean: { shape: [rows, 1], dtype: 'f32' },
        rstd: { shape: [rows, 1], dtype: 'f32' },
      },
      params: { ...sizes, eps: ['f32', eps] },
      ...launch(['x', 'weight', 'bias', 'y']),
      body: /* wgsl */ `
${head}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = row_of(wid, lidx);
  let units = select(0u, params.units, row < params.rows);
  let base = row * params.units;
  var total = Value();
  for (var i = lane_of(lidx); i < units; i += LANES) { total += load_x(base + i); }
  let centre = row_sum(total_of(total), lidx) / f32(params.length);
  var squares = Value();
  for (var i = lane_of(lidx); i < units; i += LANES) { let v = load_x(base + i) - centre; squares += v * v; }
  let scale = inverseSqrt(row_sum(total_of(squares), lidx) / f32(params.length) + params.eps);
  for (var i = lane_of(lidx); i < units; i += LANES) {
    store_y(base + i, (load_x(base + i) - centre) * scale * load_weight(i) + load_bias(i));
  }
  if (lane_of(lidx) == 0u && row < params.rows) { store_mean(row, centre); store_rstd(row, scale); }
}`,
    })
    return {
      value: y,
      vjp: (gradient) => {
        if (!gradient) return [null, null, null]
        const { dx } = kernel({
          name: 'layer-norm-backward',
          inputs: { x: input, weight: scale, dy: gradient, mean, rstd },
          outputs: { dx: { shape: x.shape, dtype: 'f32' } },
          params: sizes,
          ...launch(['x', 'weight', 'dy', 'dx']),
          body: /* wgsl */ `
${head}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = row_of(wid, lidx);
  let valid = row < params.rows;
  let units = select(0u, params.units, valid);
  let base = row * params.units;
  let at = select(0u, row, valid);
  let centre = load_mean(at);
  let r = load_rstd(at);
  var gradients = Value();
  var products = Value();
  for (var i = lane_of(lidx); i < units; i += LANES) {
    let g = load_dy(base + i) * load_weight(i);
    gradients += g;
    products += g * (load_x(base + i) - centre) * r;
  }
  let plain = row_sum(total_of(gradients), lidx) / f32(params.length);
  let dot = row_sum(total_of(products), lidx) / f32(params.length);
  for (var i = lane_of(lidx); i < units; i += LANES) {
    let g = load_dy(base + i) * load_weight(i);
    store_dx(base + i, r * (g - plain - (load_x(base + i) - centre) * r * dot));
  }
}`,
        })
        const flatX = reshape(input, [rows, length])
        const flatDy = reshape(gradient, [rows, length])
        return [
          dx,
          weight.requiresGrad ? sum(mul(flatDy, mul(sub(flatX, mean), rstd)), 0) : null,
          bias.requiresGrad ? sum(flatDy, 0) : null,
        ]
      },
    }
  })(x, weight, bias)
}
