/**
 * Attention of one new token per sequence, in one kernel: rotates the query and the new key, appends key and value to the
 * sequence's cache, and attends over the prompt's keys (computed once and shared by all samples of the prompt) followed by
 * the sequence's own. One workgroup serves one sequence and one key-value head; keys are taken in blocks of the workgroup's
 * size with a running maximum and sum (online softmax, Milakov and Gimelshein, arXiv 1805.02867).
 * Generation needs no gradient, so there is none.
 */
import { kernel, type Tensor } from '@revisual/tensor'
import type { TextArchitecture } from '../config/architecture.js'

export interface DecodeAttentionInput {
  /** [B, (heads + 2·keyValueHeads)·headSize]: queries, keys, values of the new tokens before rotation. */
  readonly queryKeyValue: Tensor
  /** [B, headSize]: cosines, then sines. */
  readonly rotary: Tensor
  /** [P, prefixLength, 2·keyValueHeads, headSize]: rotated keys, then values, of the prompts. */
  readonly prefix: Tensor
  /** u32 [B, 2]: prompt of each sequence, and its number of tokens. */
  readonly sequences: Tensor
  /** [capacity, B, 2·keyValueHeads, headSize] from `device.buffer`; slot `step` is written. */
  readonly cache: Tensor
  /** Tokens generated and cached so far. */
  readonly step: number
}

const workgroupSize = 64

/** @returns [B, heads·headSize]. */
export function decodeAttention(text: TextArchitecture, input: DecodeAttentionInput): Tensor {
  const { heads, keyValueHeads, headSize } = text
  const { queryKeyValue, rotary, prefix, sequences, cache, step } = input
  const batch = queryKeyValue.shape[0] as number
  const group = heads / keyValueHeads
  const { mixed } = kernel({
    name: 'decode_attention',
    inputs: { qkv: queryKeyValue, rotary, prefix, sequences },
    writes: { cache },
    outputs: { mixed: { shape: [batch, heads * headSize], dtype: 'f32' } },
    params: {
      batch: ['u32', batch],
      prefix_length: ['u32', prefix.shape[1] as number],
      step: ['u32', step],
      scale: ['f32', headSize ** -0.5],
    },
    constants: {
      D: headSize,
      G: group,
      KV: keyValueHeads,
      WG: workgroupSize,
      OWNED: Math.ceil((group * headSize) / workgroupSize),
    },
    workgroupSize: [workgroupSize, 1, 1],
    dispatch: [batch * keyValueHeads, 1, 1],
    body,
  })
  return mixed
}

const body = /* wgsl */ `
var<workgroup> queries: array<f32, G * D>;
var<workgroup> new_key: array<f32, D>;
var<workgroup> new_value: array<f32, D>;
var<workgroup> scores: array<f32, G * WG>;
var<workgroup> maxima: array<f32, G>;

// Element d of a head starting at \`start\` in qkv, rotated.
fn turned(start: u32, row: u32, d: u32) -> f32 {
  let j = d % (D / 2u);
  let c = load_rotary(row * D + j);
  let s = load_rotary(row * D + D / 2u + j);
  let u = load_qkv(start + j);
  let v = load_qkv(start + D / 2u + j);
  return select(v * c + u * s, u * c - v * s, d < D / 2u);
}

fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = min(wid.x / KV, params.batch - 1u);
  let head = wid.x % KV;
  let prompt = load_sequences(row * 2u);
  let known = load_sequences(row * 2u + 1u);
  let total = known + params.step + 1u;
  let row_start = row * (G + 2u) * KV * D;
  let slot = ((params.step * params.batch + row) * 2u * KV + head) * D;

  for (var i = lidx; i < G * D; i += WG) {
    queries[i] = turned(row_start + (head * G + i / D) * D, row, i % D) * params.scale;
  }
  for (var d = lidx; d < D; d += WG) {
    let key = turned(row_start + (G * KV + head) * D, row, d);
    let value = load_qkv(row_start + ((G + 1u) * KV + head) * D + d);
    new_key[d] = key;
    new_value[d] = value;
    if (wid.x < params.batch * KV) {
      store_cache(slot + d, key);
      store_cache(slot + KV * D + d, value);
    }
  }
  workgroupBarrier();

  var sums: array<f32, OWNED>;
  var totals: array<f32, OWNED>;
  var highest: array<f32, OWNED>;
  for (var o = 0u; o < OWNED; o++) {
    sums[o] = 0.0;
    totals[o] = 0.0;
    highest[o] = -1e30;
  }
  let blocks = (total + WG - 1u) / WG;
  for (var block = 0u; block < blocks; block++) {
    let j = block * WG + lidx;
    for (var g = 0u; g < G; g++) {
      var score = -1e30;
      if (j + 1u == total) {
        score = 0.0;
        for (var d = 0u; d < D; d++) { score += queries[g * D + d] * new_key[d]; }
      } else if (j < known) {
        score = 0.0;
        let start = ((prompt * params.prefix_length + j) * 2u * KV + head) * D;
        for (var d = 0u; d < D; d++) { score += queries[g * D + d] * load_prefix(start + d); }
      } else if (j < total) {
        score = 0.0;
        let start = (((j - known) * params.batch + row) * 2u * KV + head) * D;
        for (var d = 0u; d < D; d++) { score += queries[g * D + d] * load_cache(start + d); }
      }
      scores[g * WG + lidx] = score;
    }
    workgroupBarrier();
    for (var g = lidx; g < G; g += WG) {
      var top = scores[g * WG];
      for (var k = 1u; k < WG; k++) { top = max(top, scores[g * WG + k]); }
      maxima[g] = top;
    }
    workgroupBarrier();
    for (var o = 0u; o < OWNED; o++) {
      let i = lidx + o * WG;
      if (i < G * D) {
        let g = i / D;
        let d = i % D;
        let top = max(highest[o], maxima[g]);
        let shrink = exp(highest[o] - top);
        var sum = sums[o] * shrink;
        var weights = totals[o] * shrink;
        let count = min(WG, total - block * WG);
        for (var k = 0u; k < count; k++) {
          let key = block * WG + k;
          let weight = exp(scores[g * WG + k] - top);
          var value = new_value[d];
          if (key < known) {
            value = load_prefix(((prompt * params.prefix_length + key) * 2u * KV + KV + head) * D + d);
          } else if (key + 1u < total) {
            value = load_cache((((key - known) * params.batch + row) * 2u * KV + KV + head) * D + d);
          }
          sum += weight * value;
          weights += weight;
        }
        sums[o] = sum;
        totals[o] = weights;
        highest[o] = top;
      }
    }
    workgroupBarrier();
  }
  for (var o = 0u; o < OWNED; o++) {
    let i = lidx + o * WG;
    if (i < G * D && wid.x < params.batch * KV) {
      store_mixed((row * KV + head) * G * D + i, sums[o] / totals[o]);
    }
  }
}
`
