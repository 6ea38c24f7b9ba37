/**
 * Rotary position embedding (arXiv 2104.09864) in the halves form of GPT-NeoX and Qwen: [u, v] → [u·c − v·s, v·c + u·s].
 * The gradient rotates back.
 */
import { customGrad } from '../../autograd/grad.js'
import { ShapeError } from '../../device/errors.js'
import type { Tensor } from '../../graph/tensor.js'
import { kernel } from '../kernel.js'

function rotate(x: Tensor, cos: Tensor, sin: Tensor, direction: 1 | -1): Tensor {
  const [tokens = 0, heads = 0, dimension = 0] = x.shape
  const pairs = (tokens * heads * dimension) / 2
  const { y } = kernel({
    name: 'rotary',
    inputs: { x, cos, sin },
    outputs: { y: { shape: x.shape, dtype: 'f32' } },
    params: {
      pairs: ['u32', pairs],
      heads: ['u32', heads],
      half: ['u32', dimension / 2],
      direction: ['f32', direction],
    },
    workgroupSize: [256, 1, 1],
    dispatch: [Math.ceil(pairs / 256), 1, 1],
    body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let pair = wid.x * 256u + lidx;
  if (pair >= params.pairs) { return; }
  let j = pair % params.half;
  let row = pair / params.half;
  let at = row * params.half * 2u + j;
  let angle = (row / params.heads) * params.half + j;
  let c = load_cos(angle);
  let s = load_sin(angle) * params.direction;
  let u = load_x(at);
  let v = load_x(at + params.half);
  store_y(at, u * c - v * s);
  store_y(at + params.half, v * c + u * s);
}`,
  })
  return y
}

/**
 * Rotates x `[N, heads, D]` by the angles whose cos and sin are given as `[N, D/2]`.
 *
 * @throws {ShapeError} shapes do not fit.
 */
export function rotary(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const [tokens, , dimension = 0] = x.shape
  for (const table of [cos, sin]) {
    if (x.rank !== 3 || dimension % 2 !== 0 || table.shape[0] !== tokens || table.shape[1] !== dimension / 2) {
      throw new ShapeError(
        `rotary(): x [${x.shape.join(', ')}] must be [N, heads, D] with even D, cos and sin [N, D/2]; got [${table.shape.join(', ')}].`,
      )
    }
  }
  return customGrad((input) => {
    if (!input) throw new ShapeError('rotary(): missing operand.')
    return {
      value: rotate(input, cos, sin, 1),
      vjp: (gradient) => [gradient && rotate(gradient, cos, sin, -1)],
    }
  })(x)
}
