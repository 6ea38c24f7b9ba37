/**
 * The text decoder: pre-norm blocks of grouped-query attention with M-RoPE and a gated feed-forward, over a flat list of
 * tokens. Which of them see each other is the business of the attention it is given.
 * Source: transformers `models/qwen2_5_vl/modeling_qwen2_5_vl.py`.
 */
import { rotary, type Tensor } from '@revisual/tensor'
import type { TextArchitecture } from '../config/architecture.js'
import { mlps, norms, project, type Weights } from './layers.js'
import type { TokenAttention } from './token-attention.js'

/** Tokens as the decoder sees them. */
export interface DecoderInput {
  /** Embedded tokens with visual tokens in place, [N, H]. */
  readonly embedded: Tensor
  /** [N, headSize / 2]. */
  readonly cos: Tensor
  readonly sin: Tensor
  readonly attention: TokenAttention
}

/** Keys (rotated) and values of one layer, [N, keyValueHeads, headSize]. */
interface LayerKeyValues {
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
  const { attention, cos, sin } = input
  const norm = norms[text.norm]
  const mlp = mlps[text.mlp]
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
    x = x.add(project(weights, `${at}.self_attn.o_proj`, attention(queries, keys, values), false))
    x = x.add(mlp(weights, `${at}.mlp`, norm(weights, `${at}.post_attention_layernorm`, x, normEpsilon), false))
  }
  return { hidden: norm(weights, 'model.norm', x, normEpsilon), keyValues }
}

/** The output matrix [V, H]: the head's own, or the embedding when tied. */
export function headWeight(weights: Weights, text: TextArchitecture): Tensor {
  return weights(text.tiedHead ? 'model.embed_tokens.weight' : 'lm_head.weight')
}
