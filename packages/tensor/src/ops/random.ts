/**
 * Counter-based random numbers: Philox 4x32-10 (Salmon et al., SC 2011). Element i is word i mod 4 of the block with
 * counter (⌊i/4⌋, 0, stream, 0) under the key (seed mod 2³², ⌊seed/2³²⌋): a pure function of seed, stream and i. Bits and
 * uniforms are the same on every adapter; normals go through log and cos, which drivers round differently in the last
 * place.
 */
import type { Device } from '../device/device.js'
import { sizeOf, type Shape } from '../graph/shape.js'
import type { Tensor } from '../graph/tensor.js'
import { kernel } from './kernel.js'

export interface RandomOptions {
  /** Integer 0 ≤ seed < 2⁵³. */
  readonly seed: number
  /** Independent sequence under the same seed. Default 0. */
  readonly stream?: number
}

/** `fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32>`. */
export const philoxSource = /* wgsl */ `
fn multiply_high(a: u32, b: u32) -> u32 {
  let a0 = a & 0xffffu; let a1 = a >> 16u;
  let b0 = b & 0xffffu; let b1 = b >> 16u;
  let low = a0 * b0;
  let middle = a1 * b0 + (low >> 16u);
  let other = a0 * b1 + (middle & 0xffffu);
  return a1 * b1 + (middle >> 16u) + (other >> 16u);
}
fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
  var c = counter;
  var k = seed;
  for (var round = 0u; round < 10u; round++) {
    let high0 = multiply_high(0xD2511F53u, c.x);
    let high1 = multiply_high(0xCD9E8D57u, c.z);
    c = vec4<u32>(high1 ^ c.y ^ k.x, 0xCD9E8D57u * c.z, high0 ^ c.w ^ k.y, 0xD2511F53u * c.x);
    k = k + vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
  }
  return c;
}
fn unit_float(bits: u32) -> f32 { return f32(bits >> 8u) * 5.9604644775390625e-8; }
`

function seedWords(seed: number): [number, number] {
  return [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0]
}

function random(device: Device, shape: Shape, { seed, stream = 0 }: RandomOptions, kind: 'uniform' | 'normal'): Tensor {
  const size = sizeOf(shape)
  const blocks = Math.ceil(size / 4)
  const [low, high] = seedWords(seed)
  const value =
    kind === 'uniform'
      ? 'unit_float(bits[j])'
      : // Box–Muller on pairs (0, 1) and (2, 3); 1 − u lies in (0, 1].
        'sqrt(-2.0 * log(1.0 - unit_float(bits[j & 2u]))) * select(cos(6.283185307179586 * unit_float(bits[(j & 2u) + 1u])), sin(6.283185307179586 * unit_float(bits[(j & 2u) + 1u])), (j & 1u) == 1u)'
  const { y } = kernel({
    name: `random-${kind}`,
    inputs: { shapeOf: device.zeros([1]) },
    outputs: { y: { shape, dtype: 'f32' } },
    params: { size: ['u32', size], low: ['u32', low], high: ['u32', high], stream: ['u32', stream] },
    workgroupSize: [64, 1, 1],
    dispatch: [Math.ceil(blocks / 64), 1, 1],
    body: /* wgsl */ `
${philoxSource}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let block = wid.x * 64u + lidx;
  var bits = philox(vec4<u32>(block, 0u, params.stream, 0u), vec2<u32>(params.low, params.high));
  for (var j = 0u; j < 4u; j++) {
    let i = block * 4u + j;
    if (i < params.size) { store_y(i, ${value}); }
  }
}`,
  })
  return y
}

/** Uniform numbers in [0, 1), multiples of 2⁻²⁴. */
export function randomUniform(device: Device, shape: Shape, options: RandomOptions): Tensor {
  return random(device, shape, options, 'uniform')
}

/** Standard normal numbers. */
export function randomNormal(device: Device, shape: Shape, options: RandomOptions): Tensor {
  return random(device, shape, options, 'normal')
}
