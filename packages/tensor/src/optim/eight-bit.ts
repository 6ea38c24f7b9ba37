/**
 * Moments of AdamW in eight bits (block-wise optimizer states, arXiv 2110.02861): 256 neighbours share a scale, their
 * largest magnitude M, and an element is stored as a code c. Codes are spaced by powers, so that small moments keep a
 * relative precision: m = M·c·|c| / 127² for the first moment, v = M·(c / 255)⁴ for the second, whose root divides. A
 * moment between two codes becomes one of them with the probability that makes it right on average: decayed by 0.1 % a
 * step, rounding to nearest would never move it. The dice are a hash of element and step, the same in every run.
 */
import type { KernelParameter } from '../graph/node.js'
import type { Tensor } from '../graph/tensor.js'
import { kernel } from '../ops/kernel.js'
import { BLOCK } from './arena.js'

/** Codes of some blocks, four to a word, and the scales of both moments, f32 `[blocks, 2]`. */
export interface Codes {
  readonly first: Tensor
  readonly second: Tensor
  readonly scales: Tensor
}

export interface EightBitUpdate {
  readonly value: Tensor
  readonly gradient: Tensor
  /** f32 `[blocks, 2]`: learns, decays. */
  readonly flags: Tensor
  readonly codes: Codes
  /** Elements; those of the last block beyond them are padding. */
  readonly size: number
  /** Place of the first element in its arena. */
  readonly start: number
  readonly params: Readonly<Record<string, KernelParameter>>
  readonly step: number
}

const body = /* wgsl */ `
var<workgroup> tops: array<vec2<f32>, ${BLOCK}>;
var<workgroup> codes: array<vec2<u32>, ${BLOCK}>;
/* Permuted congruential generator, RXS-M-XS. */
fn dice(seed: u32) -> f32 {
  let state = seed * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return f32(((word >> 22u) ^ word) >> 8u) * 5.9604644775390625e-8;
}
/* One of the two codes around y whose values enclose r. */
fn between(r: f32, y: f32, low: f32, high: f32, chance: f32) -> f32 {
  return floor(y) + select(0.0, 1.0, chance * (high - low) < r - low);
}
fn first_code(r: f32, chance: f32) -> u32 {
  let y = min(sqrt(r) * 127.0, 127.0);
  let a = floor(y) / 127.0;
  let b = (floor(y) + 1.0) / 127.0;
  return u32(min(between(r, y, a * a, b * b, chance), 127.0));
}
fn second_code(r: f32, chance: f32) -> u32 {
  let y = min(sqrt(sqrt(r)) * 255.0, 255.0);
  let a = floor(y) / 255.0;
  let b = (floor(y) + 1.0) / 255.0;
  return u32(clamp(between(r, y, a * a * a * a, b * b * b * b, chance), 0.0, 255.0));
}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  if (wid.x >= params.blocks || load_flags(wid.x * 2u) == 0.0) { return; }
  let i = wid.x * ${BLOCK}u + lidx;
  let valid = i < params.size;
  let shift = (lidx & 3u) * 8u;
  let oldFirst = f32(extractBits(bitcast<i32>(load_first(i >> 2u)), shift, 8u)) / 127.0;
  let oldSecond = f32(extractBits(load_second(i >> 2u), shift, 8u)) / 255.0;
  var g = 0.0;
  if (valid) { g = load_gradient(i) * params.gradScale; }
  let m = params.beta1 * load_scales(wid.x * 2u) * oldFirst * abs(oldFirst) + params.rest1 * g;
  let v = params.beta2 * load_scales(wid.x * 2u + 1u) * (oldSecond * oldSecond) * (oldSecond * oldSecond) + params.rest2 * g * g;
  if (valid) {
    let w = load_value(i) * (1.0 - params.decay * load_flags(wid.x * 2u + 1u));
    store_value(i, w - params.stepSize * m / (sqrt(v) * params.scale2 + params.eps));
  }
  tops[lidx] = vec2<f32>(abs(m), v);
  for (var half = ${BLOCK / 2}u; half > 0u; half = half / 2u) {
    workgroupBarrier();
    if (lidx < half) { tops[lidx] = max(tops[lidx], tops[lidx + half]); }
  }
  workgroupBarrier();
  let top = tops[0];
  let seed = (params.start + i) ^ (params.step * 2654435769u);
  var code = vec2<u32>();
  if (top.x > 0.0) { code.x = first_code(abs(m) / top.x, dice(seed)); }
  /* A second moment of zero would divide by epsilon: what is not zero keeps the smallest code. */
  if (v > 0.0) { code.y = max(1u, second_code(v / top.y, dice(seed ^ 0x5bd1e995u))); }
  codes[lidx] = vec2<u32>(select(code.x, 256u - code.x, m < 0.0) & 255u, code.y);
  workgroupBarrier();
  if (lidx < ${BLOCK / 4}u) {
    var word = vec2<u32>();
    for (var j = 0u; j < 4u; j++) { word |= codes[lidx * 4u + j] << vec2<u32>(j * 8u); }
    store_first(wid.x * ${BLOCK / 4}u + lidx, word.x);
    store_second(wid.x * ${BLOCK / 4}u + lidx, word.y);
  }
  if (lidx == 0u) {
    store_scales(wid.x * 2u, top.x);
    store_scales(wid.x * 2u + 1u, top.y);
  }
}`

/** One AdamW step of some blocks of parameters. Runs with the next evaluation. */
export function updateEightBit(update: EightBitUpdate): void {
  const { value, gradient, flags, codes, size, start, params, step } = update
  const blocks = Math.ceil(size / BLOCK)
  kernel({
    name: 'adamw-8-bit',
    inputs: { gradient, flags },
    outputs: {},
    writes: { value, first: codes.first, second: codes.second, scales: codes.scales },
    params: {
      ...params,
      blocks: ['u32', blocks],
      size: ['u32', size],
      start: ['u32', start],
      step: ['u32', step],
    },
    workgroupSize: [BLOCK, 1, 1],
    dispatch: [blocks, 1, 1],
    body,
  })
}

/** The contents of {@link Codes} on the host. */
export interface HostCodes {
  readonly first: Uint32Array
  readonly second: Uint32Array
  readonly scales: Float32Array
}

/** Moments of all elements of the blocks. */
export function decodeMoments({ first, second, scales }: HostCodes): { first: Float32Array; second: Float32Array } {
  const signed = new Int8Array(first.buffer, first.byteOffset, first.byteLength)
  const unsigned = new Uint8Array(second.buffer, second.byteOffset, second.byteLength)
  const scale = (i: number, moment: 0 | 1) => scales[Math.floor(i / BLOCK) * 2 + moment] ?? 0
  return {
    first: Float32Array.from(signed, (c, i) => (scale(i, 0) * c * Math.abs(c)) / 127 ** 2),
    second: Float32Array.from(unsigned, (c, i) => scale(i, 1) * (c / 255) ** 4),
  }
}

/** The codes nearest to moments; those of decoded moments are the codes they came from. */
export function encodeMoments(first: Float32Array, second: Float32Array): HostCodes {
  const blocks = first.length / BLOCK
  const scales = new Float32Array(blocks * 2)
  const signed = new Int8Array(first.length)
  const unsigned = new Uint8Array(second.length)
  for (let i = 0; i < first.length; i++) {
    const at = Math.floor(i / BLOCK) * 2
    scales[at] = Math.max(scales[at] ?? 0, Math.abs(first[i] ?? 0))
    scales[at + 1] = Math.max(scales[at + 1] ?? 0, second[i] ?? 0)
  }
  for (let i = 0; i < first.length; i++) {
    const at = Math.floor(i / BLOCK) * 2
    const [m, v, topM, topV] = [first[i] ?? 0, second[i] ?? 0, scales[at] ?? 0, scales[at + 1] ?? 0]
    if (topM > 0) signed[i] = Math.sign(m) * Math.round(Math.sqrt(Math.abs(m) / topM) * 127)
    if (v > 0) unsigned[i] = Math.max(1, Math.round((v / topV) ** 0.25 * 255))
  }
  return { first: new Uint32Array(signed.buffer), second: new Uint32Array(unsigned.buffer), scales }
}
