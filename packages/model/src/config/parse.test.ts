import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
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
    expect(architecture.vision).toMatchObject({ headSize: 80, outputSize: 2048, fullAttentionBlocks: [7, 15, 23, 31] })
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
      windowSize: 16,
      channels: 3,
      outputSize: 64,
      ropeTheta: 10000,
    })
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
    ['a merger of another width', { ...hub, hidden_size: 1024 }, /half the head size|out_hidden_size/],
    ['no object', [], /JSON object/],
  ])('rejects %s loudly', (_, json, message) => {
    expect(() => parseConfig(json)).toThrow(message)
  })
})

describe('nanoConfig', () => {
  it('is about a million parameters of the same architecture', () => {
    const { text, vision } = nanoConfig().architecture
    expect(text).toMatchObject({ hiddenSize: 128, headSize: 32, layers: 4, mropeSections: [4, 6, 6], tiedHead: true })
    expect(vision).toMatchObject({ hiddenSize: 64, patchSize: 7, windowSize: 28, fullAttentionBlocks: [2] })
    expect(nanoConfig({ vocabularySize: 80, intermediateSize: 256 }).architecture.text).toMatchObject({
      vocabularySize: 80,
      intermediateSize: 256,
    })
  })
})
