/**
 * What servers report as log-probs: those of the model itself, at temperature 1, before bias and penalties, of the token
 * drawn and of the likeliest ones. Tokens that can never be sampled are left out of the softmax.
 */
import { kernel, topK, type Tensor } from '@revisual/tensor'

export interface ModelLogProbs {
  /** [B] of the given ids. */
  readonly chosen: Tensor
  /** [B, k] logits of the likeliest tokens, u32 [B, k] their ids, [B] log of the sum of all exponentials. */
  readonly values: Tensor
  readonly indices: Tensor
  readonly logSums: Tensor
}

const lanes = 64

/** @param logits [B, V] masked; ids u32 [B]; k ≥ 1. */
export function modelLogProbs(logits: Tensor, ids: Tensor, k: number): ModelLogProbs {
  const [rows, length] = logits.shape as readonly [number, number]
  const { chosen, logSums } = kernel({
    name: 'token_log_probs',
    inputs: { logits, ids },
    outputs: { chosen: { shape: [rows], dtype: 'f32' }, logSums: { shape: [rows], dtype: 'f32' } },
    params: { rows: ['u32', rows], length: ['u32', length] },
    workgroupSize: [lanes, 1, 1],
    dispatch: [rows, 1, 1],
    body: /* wgsl */ `
var<workgroup> parts: array<f32, ${lanes}>;
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lane: u32) {
  let row = wid.x;
  if (row >= params.rows) { return; }
  let base = row * params.length;
  var top = -3.0e38;
  for (var i = lane; i < params.length; i += ${lanes}u) { top = max(top, load_logits(base + i)); }
  parts[lane] = top;
  workgroupBarrier();
  for (var l = 0u; l < ${lanes}u; l++) { top = max(top, parts[l]); }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = lane; i < params.length; i += ${lanes}u) { sum += exp(load_logits(base + i) - top); }
  parts[lane] = sum;
  workgroupBarrier();
  if (lane == 0u) {
    var total = 0.0;
    for (var l = 0u; l < ${lanes}u; l++) { total += parts[l]; }
    let log_sum = top + log(total);
    store_logSums(row, log_sum);
    store_chosen(row, load_logits(base + load_ids(row)) - log_sum);
  }
}`,
  })
  return { chosen, logSums, ...topK(logits, Math.min(k, length)) }
}
