import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { fileName, parameterCount } from '../network/parameters.js'
import type { JsonObject } from './json.js'
import { nanoConfig } from './nano.js'
import { parseConfig } from './parse.js'

/** Qwen2.5-VL-3B as on the hub: flat text fields, mrope under `rope_scaling`. */
const hub: JsonObject = {
  architectures: ['Qwen2_5_VLForConditionalGeneration'],
  model_type: 'qwen2_5_vl',
  attention_dropout: 0,
  bos_token_id: 151643,
  eos_token_id: 151645,
  vision_start_token_id: 151652,
  vision_end_token_id: 151653,
  vision_token_id: 151654,
  image_token_id: 151655,
  video_token_id: 151656,
  hidden_act: 'silu',
  hidden_size: 2048,
  initializer_range: 0.02,
  intermediate_size: 11008,
  max_position_embeddings: 128000,
  max_window_layers: 70,
  num_attention_heads: 16,
  num_hidden_layers: 36,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000,
  sliding_window: 32768,
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
  use_cache: true,
  use_sliding_window: false,
  vision_config: {
    depth: 32,
    hidden_act: 'silu',
    hidden_size: 1280,
    intermediate_size: 3420,
    num_heads: 16,
    in_chans: 3,
    out_hidden_size: 2048,
    patch_size: 14,
    spatial_merge_size: 2,
    spatial_patch_size: 14,
    window_size: 112,
    fullatt_block_indexes: [7, 15, 23, 31],
    tokens_per_second: 2,
    temporal_patch_size: 2,
  },
  rope_scaling: { type: 'mrope', mrope_section: [16, 24, 24] },
  vocab_size: 151936,
}

/** Qwen2-VL-2B as on the hub. */
const qwen2: JsonObject = {
  ...hub,
  model_type: 'qwen2_vl',
  hidden_size: 1536,
  intermediate_size: 8960,
  num_attention_heads: 12,
  num_hidden_layers: 28,
  vision_config: {
    depth: 32,
    embed_dim: 1280,
    mlp_ratio: 4,
    num_heads: 16,
    in_chans: 3,
    hidden_size: 1536,
    patch_size: 14,
    spatial_merge_size: 2,
    spatial_patch_size: 14,
    temporal_patch_size: 2,
  },
}

/** Qwen3-VL-4B as on the hub: nested, with a head size that does not divide the width. */
const qwen3: JsonObject = {
  architectures: ['Qwen3VLForConditionalGeneration'],
  model_type: 'qwen3_vl',
  image_token_id: 151655,
  video_token_id: 151656,
  vision_start_token_id: 151652,
  vision_end_token_id: 151653,
  tie_word_embeddings: true,
  text_config: {
    attention_bias: false,
    attention_dropout: 0,
    dtype: 'bfloat16',
    head_dim: 128,
    hidden_act: 'silu',
    hidden_size: 2560,
    intermediate_size: 9728,
    max_position_embeddings: 262144,
    model_type: 'qwen3_vl_text',
    num_attention_heads: 32,
    num_hidden_layers: 36,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-6,
    rope_scaling: { mrope_interleaved: true, mrope_section: [24, 20, 20], rope_type: 'default' },
    rope_theta: 5000000,
    vocab_size: 151936,
  },
  vision_config: {
    deepstack_visual_indexes: [5, 11, 17],
    depth: 24,
    hidden_act: 'gelu_pytorch_tanh',
    hidden_size: 1024,
    in_channels: 3,
    intermediate_size: 4096,
    model_type: 'qwen3_vl',
    num_heads: 16,
    num_position_embeddings: 2304,
    out_hidden_size: 2560,
    patch_size: 16,
    spatial_merge_size: 2,
    temporal_patch_size: 2,
  },
}

const withText = (config: JsonObject, changes: object): JsonObject => ({
  ...config,
  text_config: { ...(config['text_config'] as object), ...changes },
})
const withVision = (config: JsonObject, changes: object): JsonObject => ({
  ...config,
  vision_config: { ...(config['vision_config'] as object), ...changes },
})

const golden = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../test/fixtures/models/qwen2_5_vl/config.json', import.meta.url)), 'utf8'),
) as JsonObject

describe('parseConfig', () => {
  it('reads the flat hub form', () => {
    const { architecture, json } = parseConfig({ ...hub, a_key_of_the_future: [1] })
    expect(architecture.text).toMatchObject({
      hiddenSize: 2048,
      headSize: 128,
      keyValueHeads: 2,
      mropeSections: [16, 24, 24],
      ropeTheta: 1e6,
      tiedHead: true,
    })
    expect(architecture.vision).toMatchObject({
      headSize: 80,
      outputSize: 2048,
      windows: { size: 112, fullAttentionBlocks: [7, 15, 23, 31] },
    })
    expect(architecture.videoTime).toEqual({ kind: 'seconds', tokensPerSecond: 2 })
    expect(architecture.tokens).toEqual({ image: 151655, video: 151656, visionStart: 151652, visionEnd: 151653 })
    expect(json['a_key_of_the_future']).toEqual([1])
  })

  it('reads the nested form of transformers 5', () => {
    const { architecture } = parseConfig(golden)
    expect(architecture.text).toMatchObject({
      hiddenSize: 64,
      headSize: 16,
      ropeTheta: 1e6,
      mropeSections: [2, 3, 3],
      tiedHead: false,
    })
    expect(architecture.vision).toMatchObject({
      patchSize: 4,
      windows: { size: 16, fullAttentionBlocks: [1, 3] },
      channels: 3,
      outputSize: 64,
      ropeTheta: 10000,
    })
  })

  it('counts the parameters of the published sizes', () => {
    // Counted by transformers on its meta device.
    expect(parameterCount(parseConfig(hub).architecture)).toBe(3_754_622_976)
    expect(parameterCount(parseConfig(qwen2).architecture)).toBe(2_208_985_600)
    expect(parameterCount(parseConfig(qwen3).architecture)).toBe(4_437_815_808)
  })

  it('reads Qwen2-VL, whose tower calls its width embed_dim', () => {
    const { vision, videoTime } = parseConfig(qwen2).architecture
    expect(vision).toMatchObject({
      hiddenSize: 1280,
      intermediateSize: 5120,
      outputSize: 1536,
      norm: 'layer',
      mlp: { activation: 'quick-gelu' },
      windows: null,
    })
    expect(videoTime).toEqual({ kind: 'frames' })
  })

  it('reads Qwen3-VL with its head size, position table and DeepStack', () => {
    const { text, vision, videoTime, filePrefixes } = parseConfig(qwen3).architecture
    expect(text).toMatchObject({
      headSize: 128,
      attentionBias: false,
      queryKeyNorm: true,
      mropeLayout: 'interleaved',
      mropeSections: [24, 20, 20],
      tiedHead: true,
    })
    expect(vision).toMatchObject({ positionTableSide: 48, patchBias: true, headSize: 64 })
    expect(vision.deepStack.map(({ block }) => block)).toEqual([5, 11, 17])
    expect(videoTime).toEqual({ kind: 'timestamps' })
    expect(fileName({ filePrefixes }, 'visual.pos_embed.weight')).toBe('model.visual.pos_embed.weight')
    expect(fileName({ filePrefixes }, 'model.norm.weight')).toBe('model.language_model.norm.weight')
    expect(fileName({ filePrefixes }, 'lm_head.weight')).toBe('lm_head.weight')
  })

  it('lets text_config win over flat fields', () => {
    const both = { ...golden, hidden_size: 999, num_hidden_layers: 77 }
    expect(parseConfig(both).architecture.text).toMatchObject({ hiddenSize: 64, layers: 2 })
  })

  it('finds the tied flag at the root or inside', () => {
    const text = golden['text_config'] as JsonObject
    expect(
      parseConfig({ ...golden, text_config: { ...text, tie_word_embeddings: true } }).architecture.text.tiedHead,
    ).toBe(true)
    expect(parseConfig({ ...golden, tie_word_embeddings: true }).architecture.text.tiedHead).toBe(true)
  })

  it('accepts rope_type instead of type', () => {
    const scaled = { ...hub, rope_scaling: { rope_type: 'default', mrope_section: [16, 24, 24] } }
    expect(parseConfig(scaled).architecture.text.mropeSections).toEqual([16, 24, 24])
  })

  it.each([
    ['an unknown model type', { ...hub, model_type: 'llava' }, /model_type.*"llava".*qwen2_5_vl/],
    ['YaRN', { ...hub, rope_scaling: { type: 'yarn', factor: 4, mrope_section: [16, 24, 24] } }, /"yarn".*mrope/],
    ['wrong sections', { ...hub, rope_scaling: { type: 'mrope', mrope_section: [16, 24] } }, /half the head size, 64/],
    ['another activation', { ...hub, hidden_act: 'gelu' }, /hidden_act.*"gelu".*silu/],
    ['a sliding window', { ...hub, use_sliding_window: true }, /use_sliding_window/],
    ['dropout', { ...hub, attention_dropout: 0.1 }, /attention_dropout/],
    ['a missing field', { ...hub, rms_norm_eps: undefined }, /rms_norm_eps.*absent/],
    ['a merger of another width', withVision(hub, { out_hidden_size: 1024 }), /1024 wide.*2048/],
    ['no object', [], /JSON object/],
    ['weights quantised elsewhere', { ...hub, quantization_config: { quant_method: 'awq' } }, /"awq".*original/],
    ['another rope of Qwen3-VL', withText(qwen3, { rope_scaling: { rope_type: 'linear' } }), /"linear".*default/],
    [
      'sections laid out the other way',
      { ...hub, rope_scaling: { type: 'mrope', mrope_section: [16, 24, 24], mrope_interleaved: true } },
      /mrope_interleaved/,
    ],
    ['partial rotary', withText(qwen3, { partial_rotary_factor: 0.25 }), /partial_rotary_factor/],
    ['linear attention layers', withText(qwen3, { layer_types: ['linear_attention'] }), /layer_types.*full_attention/],
    ['biases of Qwen3-VL', withText(qwen3, { attention_bias: true }), /attention_bias/],
    ['a table that is no square', withVision(qwen3, { num_position_embeddings: 2305 }), /num_position_embeddings/],
    ['DeepStack behind the tower', withVision(qwen3, { deepstack_visual_indexes: [24] }), /below depth 24/],
    ['another activation of a tower', withVision(qwen2, { hidden_act: 'silu' }), /vision_config.*quick_gelu/],
    ['a tower of another family', withVision(qwen3, { model_type: 'qwen2_vl' }), /vision_config.*model_type/],
    ['a window below a cell', withVision(hub, { window_size: 27 }), /at least .* 28/],
    ['a model of the prototype chain', { ...hub, model_type: 'toString' }, /model_type/],
  ])('rejects %s loudly', (_, json, message) => {
    expect(() => parseConfig(json)).toThrow(message)
  })
})

describe('nanoConfig', () => {
  it('is about a million parameters of the same architecture', () => {
    const { text, vision } = nanoConfig().architecture
    expect(text).toMatchObject({ hiddenSize: 128, headSize: 32, layers: 4, mropeSections: [4, 6, 6], tiedHead: true })
    expect(vision).toMatchObject({ hiddenSize: 64, patchSize: 7, windows: { size: 28, fullAttentionBlocks: [2] } })
    expect(nanoConfig({ vocabularySize: 80, intermediateSize: 256 }).architecture.text).toMatchObject({
      vocabularySize: 80,
      intermediateSize: 256,
    })
  })
})
