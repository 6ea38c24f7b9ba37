/**
 * The text decoder over a flat list of tokens: grouped-query attention with M-RoPE inside the layers the architecture
 * names. Which tokens see each other is the business of the attention it is given.
 * Source: transformers `models/{qwen2_5_vl,qwen3_vl}/modeling_*.py`.
 */
import { checkpoint, rotary, type Tensor } from '@revisual/tensor'
import type { TextArchitecture } from '../config/architecture.js'
import { decoderLayers, normalizeHeads, norms, project, type Weights } from './layers.js'
import type { TokenAttention } from './token-attention.js'

/** Tokens as the decoder sees them. */
export interface DecoderInput {
  /** Embedded tokens with visual tokens in place, [N, H]. */
  readonly embedded: Tensor
  /** Added to the output of layer k, [N, H] each: DeepStack's visual tokens in place, zeros elsewhere. */
  readonly deepStack: readonly Tensor[]
  /** [N, headSize / 2]. */
  readonly cos: Tensor
  readonly sin: Tensor
  readonly attention: TokenAttention
  /** Keeps only what enters each layer for the backward pass and computes the layer again there. */
  readonly checkpointLayers: boolean
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
  const { heads, keyValueHeads, headSize } = text
  const { attention, cos, sin, deepStack } = input
  const keyValues: LayerKeyValues[] = []
  const run = (layer: number, x: Tensor): [Tensor, Tensor, Tensor] => {
    const at = `model.layers.${layer}`
    const made: Tensor[] = []
    const mixed = decoderLayers[text.layer](weights, text, at, x, (normed) => {
      const projected = (name: string, count: number) =>
        project(weights, `${at}.self_attn.${name}`, normed, text.attentionBias).reshape([-1, count, headSize])
      const plain = normalizeHeads(weights, text, at, projected('q_proj', heads), projected('k_proj', keyValueHeads))
      const keys = rotary(plain.keys, cos, sin)
      const values = projected('v_proj', keyValueHeads)
      made.push(keys, values)
      return attention(rotary(plain.queries, cos, sin), keys, values)
    })
    const added = deepStack[layer]
    return [added ? mixed.add(added) : mixed, ...(made as [Tensor, Tensor])]
  }
  let x = input.embedded
  for (let layer = 0; layer < text.layers; layer++) {
    const [next, keys, values] = input.checkpointLayers ? checkpoint((given) => run(layer, given), x) : run(layer, x)
    keyValues.push({ keys, values })
    x = next
  }
  return { hidden: norms[text.norm](weights, 'model.norm', x, text.normEpsilon), keyValues }
}

/** The output matrix [V, H]: the head's own, or the embedding when tied. */
export function headWeight(weights: Weights, text: TextArchitecture): Tensor {
  return weights(text.tiedHead ? 'model.embed_tokens.weight' : 'lm_head.weight')
}
