/**
 * RMSNorm (arXiv 1910.07467) and LayerNorm (arXiv 1607.06450) over the last axis, statistics in f32, one kernel forward
 * and one for the gradient of the input; those of weight and bias are ordinary reductions.
 */
import { customGrad } from '../../autograd/grad.js'
import { ShapeError } from '../../device/errors.js'
import type { Tensor } from '../../graph/tensor.js'
import { mul, sub } from '../elementwise.js'
import { kernel } from '../kernel.js'
import { sum } from '../reduce.js'
import { reshape } from '../view.js'
import { rowGrid, rowReductions, type RowGrid } from './rows.js'

function checked(x: Tensor, weight: Tensor, what: string): { rows: number; length: number; grid: RowGrid } {
  const length = x.shape.at(-1) ?? 1
  if (weight.rank !== 1 || weight.shape[0] !== length) {
    throw new ShapeError(
      `${what}(): weight [${weight.shape.join(', ')}] must be [${length}], the last dimension of x [${x.shape.join(', ')}].`,
    )
  }
  const rows = x.size / length
  return { rows, length, grid: rowGrid(x.device, rows, length) }
}

/** x · rsqrt(mean(x²) + eps) · weight over the last axis of `[…, C]`. */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  const { rows, length, grid } = checked(x, weight, 'rmsNorm')
  const layout = { workgroupSize: grid.workgroupSize, dispatch: grid.dispatch }
  const reductions = rowReductions(grid, ['sum'])
  return customGrad((input, scale) => {
    if (!input || !scale) throw new ShapeError('rmsNorm(): missing operand.')
    const { y, rstd } = kernel({
      name: 'rms-norm',
      inputs: { x: input, weight: scale },
      outputs: { y: { shape: x.shape, dtype: 'f32' }, rstd: { shape: [rows, 1], dtype: 'f32' } },
      params: { rows: ['u32', rows], length: ['u32', length], eps: ['f32', eps] },
      ...layout,
      body: /* wgsl */ `
${reductions}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = row_of(wid, lidx);
  let length = select(0u, params.length, row < params.rows);
  let base = row * params.length;
  var total = 0.0;
  for (var i = lane_of(lidx); i < length; i += LANES) { let v = load_x(base + i); total += v * v; }
  let scale = inverseSqrt(row_sum(total, lidx) / f32(params.length) + params.eps);
  for (var i = lane_of(lidx); i < length; i += LANES) { store_y(base + i, load_x(base + i) * scale * load_weight(i)); }
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
          params: { rows: ['u32', rows], length: ['u32', length] },
          ...layout,
          body: /* wgsl */ `
${reductions}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = row_of(wid, lidx);
  let valid = row < params.rows;
  let length = select(0u, params.length, valid);
  let base = row * params.length;
  var dot = 0.0;
  for (var i = lane_of(lidx); i < length; i += LANES) { dot += load_dy(base + i) * load_weight(i) * load_x(base + i); }
  dot = row_sum(dot, lidx);
  let r = load_rstd(select(0u, row, valid));
  let c = dot * r * r / f32(params.length);
  for (var i = lane_of(lidx); i < length; i += LANES) {
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
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  const { rows, length, grid } = checked(x, weight, 'layerNorm')
  const layout = { workgroupSize: grid.workgroupSize, dispatch: grid.dispatch }
  const reductions = rowReductions(grid, ['sum'])
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
      params: { rows: ['u32', rows], length: ['u32', length], eps: ['f32', eps] },
      ...layout,
      body: /* wgsl */ `
${reductions}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = row_of(wid, lidx);
  let length = select(0u, params.length, row < params.rows);
  let base = row * params.length;
  var total = 0.0;
  for (var i = lane_of(lidx); i < length; i += LANES) { total += load_x(base + i); }
  let centre = row_sum(total, lidx) / f32(params.length);
  var squares = 0.0;
  for (var i = lane_of(lidx); i < length; i += LANES) { let v = load_x(base + i) - centre; squares += v * v; }
  let scale = inverseSqrt(row_sum(squares, lidx) / f32(params.length) + params.eps);
  for (var i = lane_of(lidx); i < length; i += LANES) {
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
          params: { rows: ['u32', rows], length: ['u32', length] },
          ...layout,
          body: /* wgsl */ `
${reductions}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = row_of(wid, lidx);
  let valid = row < params.rows;
  let length = select(0u, params.length, valid);
  let base = row * params.length;
  let at = select(0u, row, valid);
  let centre = load_mean(at);
  let r = load_rstd(at);
  var plain = 0.0;
  var dot = 0.0;
  for (var i = lane_of(lidx); i < length; i += LANES) {
    let g = load_dy(base + i) * load_weight(i);
    plain += g;
    dot += g * (load_x(base + i) - centre) * r;
  }
  plain = row_sum(plain, lidx) / f32(params.length);
  dot = row_sum(dot, lidx) / f32(params.length);
  for (var i = lane_of(lidx); i < length; i += LANES) {
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
