/**
 * Choosing tokens from logits on the GPU. Top-k and top-p find their threshold by bisection over the ordered bit
 * patterns of the logits, so no sort is needed and the result does not depend on the adapter's lane count; logits equal
 * to a threshold are all kept, as Hugging Face's warpers do for top-k.
 */
import { ShapeError } from '../device/errors.js'
import type { Tensor } from '../graph/tensor.js'
import { add } from './elementwise.js'
import { kernel } from './kernel.js'
import { philoxSource } from './random.js'

/** One value for all rows, or one for each of the B rows. */
export type PerRow = number | readonly number[]

export interface SampleTokensOptions {
  /** 0 picks the most likely token; its log-prob is then that at temperature 1. */
  readonly temperature: PerRow
  /** 0 or absent: off. */
  readonly topK?: PerRow
  /** 1 or absent: off. */
  readonly topP?: PerRow
  /** Drops tokens less likely than this share of the likeliest one's probability. 0 or absent: off. */
  readonly minP?: PerRow
  /** u32 `[B, 2]`: the seed of each row, low and high word. */
  readonly seeds: Tensor
  /** Counter of the draw: a row's n-th token uses step n. */
  readonly step: PerRow
  /** f32 `[V]` added to the logits; −1e30 removes a token. */
  readonly mask?: Tensor
}

export interface SampledTokens {
  /** u32 `[B]` */
  readonly ids: Tensor
  /** f32 `[B]`: log-probs at the temperature, before top-k, top-p and min-p. */
  readonly logProbs: Tensor
}

const LANES = 64

const body = /* wgsl */ `
${philoxSource}
var<workgroup> floats: array<f32, ${LANES}>;
var<workgroup> counts: array<u32, ${LANES}>;
fn total_of(value: f32, lane: u32) -> f32 {
  workgroupBarrier();
  floats[lane] = value;
  for (var half = ${LANES / 2}u; half > 0u; half = half / 2u) {
    workgroupBarrier();
    if (lane < half) { floats[lane] += floats[lane + half]; }
  }
  workgroupBarrier();
  return workgroupUniformLoad(&floats[0]);
}
fn largest_of(value: f32, lane: u32) -> f32 {
  workgroupBarrier();
  floats[lane] = value;
  for (var half = ${LANES / 2}u; half > 0u; half = half / 2u) {
    workgroupBarrier();
    if (lane < half) { floats[lane] = max(floats[lane], floats[lane + half]); }
  }
  workgroupBarrier();
  return workgroupUniformLoad(&floats[0]);
}
fn count_of(value: u32, lane: u32) -> u32 {
  workgroupBarrier();
  counts[lane] = value;
  for (var half = ${LANES / 2}u; half > 0u; half = half / 2u) {
    workgroupBarrier();
    if (lane < half) { counts[lane] += counts[lane + half]; }
  }
  workgroupBarrier();
  return workgroupUniformLoad(&counts[0]);
}
fn smallest_of(value: u32, lane: u32) -> u32 {
  workgroupBarrier();
  counts[lane] = value;
  for (var half = ${LANES / 2}u; half > 0u; half = half / 2u) {
    workgroupBarrier();
    if (lane < half) { counts[lane] = min(counts[lane], counts[lane + half]); }
  }
  workgroupBarrier();
  return workgroupUniformLoad(&counts[0]);
}
/* Bit pattern that orders as the float does. */
fn order(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lane: u32) {
  let row = wid.x;
  if (row >= params.rows) { return; }
  let base = row * params.length;
  let scale = load_numbers(row * 3u);
  let top_p = load_numbers(row * 3u + 1u);
  let min_p = load_numbers(row * 3u + 2u);
  let top_k = load_whole(row * 3u + 1u);
  var top = -3.0e38;
  for (var i = lane; i < params.length; i += ${LANES}u) { top = max(top, load_logits(base + i)); }
  top = largest_of(top, lane);
  var partial = 0.0;
  for (var i = lane; i < params.length; i += ${LANES}u) { partial += exp((load_logits(base + i) - top) * scale); }
  let total = total_of(partial, lane);

  if (load_whole(row * 3u) != 0u) {
    var first = 0xffffffffu;
    for (var i = lane; i < params.length; i += ${LANES}u) {
      if (load_logits(base + i) == top) { first = min(first, i); }
    }
    first = smallest_of(first, lane);
    if (lane == 0u) {
      store_ids(row, first);
      store_logProbs(row, -log(total));
    }
    return;
  }

  var threshold = 0u;
  if (top_k != 0u && top_k < params.length) {
    for (var bit = 0u; bit < 32u; bit++) {
      let trial = threshold | (0x80000000u >> bit);
      var count = 0u;
      for (var i = lane; i < params.length; i += ${LANES}u) { count += select(0u, 1u, order(load_logits(base + i)) >= trial); }
      if (count_of(count, lane) >= top_k) { threshold = trial; }
    }
  }
  var kept = 0.0;
  for (var i = lane; i < params.length; i += ${LANES}u) {
    let x = load_logits(base + i);
    if (order(x) >= threshold) { kept += exp((x - top) * scale); }
  }
  var mass = total_of(kept, lane);
  if (top_p < 1.0) {
    let wanted = top_p * mass;
    var nucleus = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
      let trial = nucleus | (0x80000000u >> bit);
      var part = 0.0;
      for (var i = lane; i < params.length; i += ${LANES}u) {
        let x = load_logits(base + i);
        if (order(x) >= max(trial, threshold)) { part += exp((x - top) * scale); }
      }
      if (total_of(part, lane) >= wanted) { nucleus = trial; }
    }
    threshold = max(threshold, nucleus);
  }

  /* Each lane owns a run of neighbouring entries; the draw falls into one lane's run. */
  let run = (params.length + ${LANES - 1}u) / ${LANES}u;
  let start = min(lane * run, params.length);
  let end = min(start + run, params.length);
  var own = 0.0;
  for (var i = start; i < end; i++) {
    let x = load_logits(base + i);
    let weight = exp((x - top) * scale);
    if (order(x) >= threshold && weight >= min_p) { own += weight; }
  }
  workgroupBarrier();
  floats[lane] = own;
  workgroupBarrier();
  var before = 0.0;
  mass = 0.0;
  for (var l = 0u; l < ${LANES}u; l++) {
    if (l == lane) { before = mass; }
    mass += floats[l];
  }
  let bits = philox(vec4<u32>(load_whole(row * 3u + 2u), 0u, 0x5au, 0u), vec2<u32>(load_seeds(row * 2u), load_seeds(row * 2u + 1u)));
  let draw = unit_float(bits.x) * mass;
  var chosen = 0xffffffffu;
  var last = 0xffffffffu;
  var sum = before;
  for (var i = start; i < end; i++) {
    let x = load_logits(base + i);
    let weight = exp((x - top) * scale);
    if (order(x) < threshold || weight < min_p) { continue; }
    if (weight > 0.0) { last = i; }
    sum += weight;
    if (chosen == 0xffffffffu && draw < sum && weight > 0.0) { chosen = i; }
  }
  if (draw < before) { chosen = 0xffffffffu; }
  let first = smallest_of(chosen, lane);
  /* Rounding may leave the draw beyond the last sum: then the last kept entry is meant. */
  let fallback = 0xffffffffu - smallest_of(select(0xffffffffu, 0xffffffffu - last, last != 0xffffffffu), lane);
  let id = select(first, fallback, first == 0xffffffffu);
  if (lane == 0u) {
    store_ids(row, id);
    store_logProbs(row, (load_logits(base + id) - top) * scale - log(total));
  }
}`

/** The value of each row. */
function perRow(
  name: string,
  value: PerRow,
  rows: number,
  allowed: string,
  isAllowed: (x: number) => boolean,
): number[] {
  const values = typeof value === 'number' ? new Array<number>(rows).fill(value) : [...value]
  if (values.length !== rows) {
    throw new ShapeError(
      `sampleTokens(): ${name} has ${values.length} values for ${rows} rows; give one, or one a row.`,
    )
  }
  const wrong = values.find((x) => !isAllowed(x))
  if (wrong !== undefined) throw new ShapeError(`sampleTokens(): ${name} ${wrong} must be ${allowed}.`)
  return values
}

/** Temperatures below this are greedy: checkpoints ship 1e-6, and its inverse would overflow. */
const coldest = 1e-5

/**
 * One token per row of logits `[B, V]`. Row b depends on its logits, its seed and its options only. The order is
 * transformers': temperature, top-k, top-p, min-p.
 *
 * @throws {ShapeError} shapes do not fit, or an option is out of range.
 */
export function sampleTokens(logits: Tensor, options: SampleTokensOptions): SampledTokens {
  const [rows = 0, length = 0] = logits.shape
  const { seeds, mask } = options
  if (logits.rank !== 2 || seeds.dtype !== 'u32' || seeds.shape[0] !== rows || seeds.shape[1] !== 2) {
    throw new ShapeError(
      `sampleTokens(): logits [${logits.shape.join(', ')}] must be [B, V] and seeds u32 [B, 2], got ${seeds.dtype}[${seeds.shape.join(', ')}].`,
    )
  }
  const whole = (x: number) => Number.isInteger(x) && x >= 0
  const temperature = perRow('temperature', options.temperature, rows, '≥ 0', (x) => x >= 0)
  const topK = perRow('topK', options.topK ?? 0, rows, 'an integer ≥ 0', whole)
  const topP = perRow('topP', options.topP ?? 1, rows, 'in (0, 1]', (x) => x > 0 && x <= 1)
  const minP = perRow('minP', options.minP ?? 0, rows, 'in [0, 1]', (x) => x >= 0 && x <= 1)
  const step = perRow('step', options.step, rows, 'an integer ≥ 0', whole)
  const { device } = logits
  const greedy = temperature.map((t) => t < coldest)
  const numbers = temperature.flatMap((t, row) => [greedy[row] ? 1 : 1 / t, topP[row] as number, minP[row] as number])
  const wholes = topK.flatMap((k, row) => [greedy[row] ? 1 : 0, k, step[row] as number])
  const { ids, logProbs } = kernel({
    name: 'sample-tokens',
    inputs: {
      logits: mask ? add(logits, mask) : logits,
      seeds,
      numbers: device.tensor(Float32Array.from(numbers), [rows, 3]),
      whole: device.tensor(Uint32Array.from(wholes), [rows, 3]),
    },
    outputs: { ids: { shape: [rows], dtype: 'u32' }, logProbs: { shape: [rows], dtype: 'f32' } },
    params: { rows: ['u32', rows], length: ['u32', length] },
    workgroupSize: [LANES, 1, 1],
    dispatch: [rows, 1, 1],
    body,
  })
  return { ids, logProbs }
}

/** The k largest entries of each row of `[B, V]`, largest first, equal ones by index. Not differentiable. */
export function topK(x: Tensor, k: number): { values: Tensor; indices: Tensor } {
  const [rows = 0, length = 0] = x.shape
  if (x.rank !== 2 || !Number.isInteger(k) || k < 1 || k > length) {
    throw new ShapeError(`topK(): x [${x.shape.join(', ')}] must be [B, V] and k = ${k} an integer in 1..${length}.`)
  }
  return kernel({
    name: 'top-k',
    inputs: { x: x.detached() },
    outputs: { values: { shape: [rows, k], dtype: 'f32' }, indices: { shape: [rows, k], dtype: 'u32' } },
    params: { rows: ['u32', rows], length: ['u32', length], k: ['u32', k] },
    workgroupSize: [LANES, 1, 1],
    dispatch: [rows, 1, 1],
    body: /* wgsl */ `
var<workgroup> best: array<f32, ${LANES}>;
var<workgroup> place: array<u32, ${LANES}>;
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lane: u32) {
  let row = wid.x;
  if (row >= params.rows) { return; }
  let base = row * params.length;
  var previous = 0.0;
  var at = 0xffffffffu;
  for (var rank = 0u; rank < params.k; rank++) {
    var value = 0.0;
    var index = 0xffffffffu;
    for (var i = lane; i < params.length; i += ${LANES}u) {
      let x = load_x(base + i);
      let after = rank == 0u || x < previous || (x == previous && i > at);
      if (after && (index == 0xffffffffu || x > value)) { value = x; index = i; }
    }
    workgroupBarrier();
    best[lane] = value;
    place[lane] = index;
    for (var half = ${LANES / 2}u; half > 0u; half = half / 2u) {
      workgroupBarrier();
      if (lane < half) {
        let other = lane + half;
        if (place[other] != 0xffffffffu &&
            (place[lane] == 0xffffffffu || best[other] > best[lane] || (best[other] == best[lane] && place[other] < place[lane]))) {
          best[lane] = best[other];
          place[lane] = place[other];
        }
      }
    }
    workgroupBarrier();
    previous = best[0];
    at = place[0];
    if (lane == 0u) {
      store_values(row * params.k + rank, previous);
      store_indices(row * params.k + rank, at);
    }
  }
}`,
  })
}
