/**
 * The text decoder: pre-norm blocks of grouped-query attention with M-RoPE and a gated feed-forward. It works on rows of
 * packed tokens: [R, L] places, several sequences to a row told apart by segment ids, so that little is padding.
 * Source: transformers `models/qwen2_5_vl/modeling_qwen2_5_vl.py`.
 */
import { attention, rotary, type Tensor } from '@revisual/tensor'
import type { TextArchitecture } from '../config/architecture.js'
import { mlps, norms, project, type Weights } from './layers.js'

/** Tokens as the decoder sees them; N = rows·length places. */
export interface DecoderInput {
  /** Embedded tokens with visual tokens in place, [N, H]. */
  readonly embedded: Tensor
  /** [N, headSize / 2]. */
  readonly cos: Tensor
  readonly sin: Tensor
  readonly rows: number
  readonly length: number
  /** u32 [R, L], equal for places of one sequence; absent when every row is one whole sequence. */
  readonly segments?: Tensor
}

/** Keys (rotated) and values of one layer, [N, keyValueHeads, headSize]. */
export interface LayerKeyValues {
  readonly keys: Tensor
  readonly values: Tensor
}

/** Hidden states after the final norm, [N, H], and each layer's keys and values. */
export interface DecoderOutput {
  readonly hidden: Tensor
  readonly keyValues: readonly LayerKeyValues[]
}

export function decoder(weights: Weights, text: TextArchitecture, input: DecoderInput): DecoderOutput {
  const { heads, keyValueHeads, headSize, normEpsilon } = text
  const { rows, length, cos, sin, segments } = input
  const norm = norms[text.norm]
  const mlp = mlps[text.mlp]
  const mask = segments ? { querySegments: segments, keySegments: segments } : {}
  const perHead = (x: Tensor) => x.reshape([rows, length, -1, headSize]).permute([0, 2, 1, 3])
  const keyValues: LayerKeyValues[] = []
  let x = input.embedded
  for (let layer = 0; layer < text.layers; layer++) {
    const at = `model.layers.${layer}`
    const normed = norm(weights, `${at}.input_layernorm`, x, normEpsilon)
    const projected = (name: string, count: number) =>
      project(weights, `${at}.self_attn.${name}`, normed, text.attentionBias).reshape([-1, count, headSize])
    const queries = rotary(projected('q_proj', heads), cos, sin)
    const keys = rotary(projected('k_proj', keyValueHeads), cos, sin)
    const values = projected('v_proj', keyValueHeads)
    keyValues.push({ keys, values })
    const mixed = attention(perHead(queries), perHead(keys), perHead(values), { causal: true, ...mask })
    const flat = mixed.permute([0, 2, 1, 3]).reshape([-1, heads * headSize])
    x = x.add(project(weights, `${at}.self_attn.o_proj`, flat, false))
    x = x.add(mlp(weights, `${at}.mlp`, norm(weights, `${at}.post_attention_layernorm`, x, normEpsilon), false))
  }
  return { hidden: norm(weights, 'model.norm', x, normEpsilon), keyValues }
}

/** The output matrix [V, H]: the head's own, or the embedding when tied. */
export function headWeight(weights: Weights, text: TextArchitecture): Tensor {
  return weights(text.tiedHead ? 'model.embed_tokens.weight' : 'lm_head.weight')
}
