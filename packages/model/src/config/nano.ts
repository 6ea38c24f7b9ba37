/**
 * The nano preset: Qwen2.5-VL at about a million parameters (959,680 with the defaults), the same code paths as the real
 * sizes. A 28 × 28 digit is 4 × 4 patches, one attention window, 4 visual tokens. Weights start at a standard deviation of
 * 0.06, about the inverse root of the widths: with the 0.02 of the large models it takes three times as long to begin to
 * read.
 */
import type { ModelConfig } from './architecture.js'
import { parseConfig } from './parse.js'

export interface NanoOptions {
  /** Rows of the embedding; at least the tokens of the tokenizer. Default 64. */
  readonly vocabularySize?: number
  /** Width of the decoder's feed-forward. Default 320. */
  readonly intermediateSize?: number
  /** Decoder layers. Default 4. */
  readonly layers?: number
}

/** Ids of the control tokens in the nano tokenizer; see `text/nano-tokenizer.ts`. */
export const nanoTokens = [
  '<|endoftext|>',
  '<|im_start|>',
  '<|im_end|>',
  '<|vision_start|>',
  '<|vision_end|>',
  '<|image_pad|>',
  '<|video_pad|>',
] as const

const tokenId = (token: (typeof nanoTokens)[number]) => nanoTokens.indexOf(token)

/** Config of the nano model, in the form transformers 4.52 and later write and read. */
export function nanoConfig({ vocabularySize = 64, intermediateSize = 320, layers = 4 }: NanoOptions = {}): ModelConfig {
  return parseConfig({
    architectures: ['Qwen2_5_VLForConditionalGeneration'],
    model_type: 'qwen2_5_vl',
    dtype: 'float32',
    image_token_id: tokenId('<|image_pad|>'),
    video_token_id: tokenId('<|video_pad|>'),
    vision_start_token_id: tokenId('<|vision_start|>'),
    vision_end_token_id: tokenId('<|vision_end|>'),
    tie_word_embeddings: true,
    text_config: {
      model_type: 'qwen2_5_vl_text',
      attention_dropout: 0,
      bos_token_id: tokenId('<|endoftext|>'),
      eos_token_id: tokenId('<|im_end|>'),
      pad_token_id: tokenId('<|endoftext|>'),
      hidden_act: 'silu',
      hidden_size: 128,
      initializer_range: 0.06,
      intermediate_size: intermediateSize,
      max_position_embeddings: 4096,
      num_attention_heads: 4,
      num_hidden_layers: layers,
      num_key_value_heads: 2,
      rms_norm_eps: 1e-6,
      rope_theta: 10000,
      rope_scaling: { type: 'mrope', rope_type: 'default', mrope_section: [4, 6, 6] },
      tie_word_embeddings: true,
      use_cache: true,
      use_sliding_window: false,
      vocab_size: vocabularySize,
    },
    vision_config: {
      model_type: 'qwen2_5_vl',
      depth: 3,
      fullatt_block_indexes: [2],
      hidden_act: 'silu',
      hidden_size: 64,
      in_channels: 3,
      in_chans: 3,
      initializer_range: 0.06,
      intermediate_size: 160,
      num_heads: 4,
      out_hidden_size: 128,
      patch_size: 7,
      spatial_merge_size: 2,
      temporal_patch_size: 2,
      tokens_per_second: 2,
      window_size: 28,
    },
  })
}
