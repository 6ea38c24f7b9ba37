/**
 * Snake, an activation for periodic functions (Ziyin et al., arXiv 2006.08195): y = x + sin²(αx) / α with an α per
 * channel that is learnt. One kernel for the value, one for both gradients:
 *
 *   ∂y/∂x = 1 + sin(2αx)        ∂y/∂α = (αx · sin(2αx) − sin²(αx)) / α²
 */
import { defineKernel, ShapeError } from '@revisual/tensor'

const WORKGROUP = 64
const storage = ['f32', 'f16', 'bf16']

/** One thread an element; sizes are uniform data, so one compiled kernel serves all shapes. */
const perElement = ({ x, alpha }) => {
  const size = x.shape.reduce((product, dimension) => product * dimension, 1)
  return {
    params: { size: ['u32', size], channels: ['u32', alpha.shape[0]] },
    workgroupSize: [WORKGROUP, 1, 1],
    dispatch: [Math.ceil(size / WORKGROUP), 1, 1],
  }
}

const gradients = defineKernel({
  name: 'snake gradients',
  inputs: { x: storage, alpha: storage, dy: storage },
  // The gradient of α is summed over rows afterwards: no float atomics, so that every run gives the same bits.
  outputs: ({ x }) => ({ dx: { shape: x.shape, dtype: 'f32' }, dalpha: { shape: x.shape, dtype: 'f32' } }),
  launch: perElement,
  body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let i = wid.x * ${WORKGROUP}u + lidx;
  if (i >= params.size) { return; }
  let a = load_alpha(i % params.channels);
  let ax = a * load_x(i);
  let s = sin(ax);
  store_dx(i, load_dy(i) * (1.0 + sin(2.0 * ax)));
  store_dalpha(i, load_dy(i) * (ax * sin(2.0 * ax) - s * s) / (a * a));
}`,
})

const operation = defineKernel({
  name: 'snake',
  inputs: { x: storage, alpha: storage },
  outputs({ x, alpha }) {
    if (alpha.shape.length !== 1 || alpha.shape[0] !== x.shape.at(-1)) {
      throw new ShapeError(`snake: alpha [${alpha.shape}] must have one value per channel of x [${x.shape}].`)
    }
    return { y: { shape: x.shape, dtype: 'f32' } }
  },
  launch: perElement,
  body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let i = wid.x * ${WORKGROUP}u + lidx;
  if (i >= params.size) { return; }
  let a = load_alpha(i % params.channels);
  let s = sin(a * load_x(i));
  store_y(i, load_x(i) + s * s / a);
}`,
  vjp({ inputs: { x, alpha }, gradients: { y: dy } }) {
    if (!dy) return {}
    const { dx, dalpha } = gradients({ x, alpha, dy })
    return { x: dx, alpha: dalpha.sum(x.shape.slice(0, -1).map((_, axis) => axis)) }
  },
})

/** x [..., C], alpha [C] → [..., C]. */
export const snake = (x, alpha) => operation({ x, alpha }).y
