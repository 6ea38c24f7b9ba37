/**
 * `config.json` of Qwen2.5-VL into an {@link Architecture}. Accepts every form transformers has written: flat text
 * fields (hub) or nested `text_config` (≥ 4.52, which wins), `rope_scaling` or v5's `rope_parameters`, `in_chans` or
 * `in_channels`, tied flag at the root or inside. Absent fields are errors, not class defaults: the defaults of the
 * reference (4 tokens per second, vision width 3584) belong to no published checkpoint.
 * Source: transformers 5.18 `models/qwen2_5_vl/configuration_qwen2_5_vl.py`.
 */
import type { Architecture, ModelConfig, TextArchitecture, VisionArchitecture } from './architecture.js'
import { ConfigError, isJsonObject, JsonReader } from './json.js'

const families = { qwen2_5_vl: parseQwen25 } as const

/**
 * Parses and checks the JSON of a `config.json`.
 * @throws {ConfigError} on an unknown model type, a missing field, or a setting this package does not implement.
 */
export function parseConfig(json: unknown): ModelConfig {
  if (!isJsonObject(json)) throw new ConfigError('config.json: the file must hold a JSON object.')
  const reader = new JsonReader(json, 'config.json')
  const modelType = reader.object['model_type']
  if (typeof modelType !== 'string' || !(modelType in families)) {
    reader.fail('model_type', Object.keys(families).join(', '))
  }
  return { architecture: families[modelType as keyof typeof families](reader), json }
}

function parseQwen25(root: JsonReader): Architecture {
  const nested = root.childOr('text_config')
  // text_config wins over flat fields of the same name.
  const text = new JsonReader(
    { ...root.object, ...nested.object },
    nested.has('hidden_size') ? nested.where : root.where,
  )
  const tiedHead =
    root.oneOf('tie_word_embeddings', [true, false], false) || nested.oneOf('tie_word_embeddings', [true, false], false)
  const architecture: Architecture = {
    modelType: 'qwen2_5_vl',
    text: parseText(text, tiedHead),
    vision: parseVision(root.child('vision_config')),
    tokens: {
      image: text.tokenId('image_token_id'),
      video: text.tokenId('video_token_id'),
      visionStart: text.tokenId('vision_start_token_id'),
      visionEnd: text.tokenId('vision_end_token_id'),
    },
    initializerRange: text.positiveNumberOr('initializer_range', 0.02),
  }
  const { text: decoder, vision } = architecture
  if (vision.outputSize !== decoder.hiddenSize) {
    throw new ConfigError(
      `config.json: vision_config.out_hidden_size ${vision.outputSize} must equal the text hidden_size ${decoder.hiddenSize}.`,
    )
  }
  return architecture
}

function parseText(reader: JsonReader, tiedHead: boolean): TextArchitecture {
  reader.oneOf('hidden_act', ['silu'], 'silu')
  reader.oneOf('use_sliding_window', [false], false)
  reader.oneOf('attention_dropout', [0], 0)
  const hiddenSize = reader.positiveInteger('hidden_size')
  const heads = reader.positiveInteger('num_attention_heads')
  const keyValueHeads = reader.positiveInteger('num_key_value_heads')
  const headSize = reader.has('head_dim') ? reader.positiveInteger('head_dim') : hiddenSize / heads
  if (!Number.isInteger(headSize) || headSize % 2 !== 0) {
    reader.fail('num_attention_heads', `a divisor of hidden_size ${hiddenSize} that leaves an even head size`)
  }
  if (heads % keyValueHeads !== 0) reader.fail('num_key_value_heads', `a divisor of num_attention_heads ${heads}`)
  return {
    hiddenSize,
    intermediateSize: reader.positiveInteger('intermediate_size'),
    layers: reader.positiveInteger('num_hidden_layers'),
    heads,
    keyValueHeads,
    headSize,
    vocabularySize: reader.positiveInteger('vocab_size'),
    normEpsilon: reader.positiveNumber('rms_norm_eps'),
    ...parseRope(reader, headSize),
    mropeLayout: 'chunked',
    norm: 'rms',
    mlp: 'swiglu',
    attentionBias: true,
    tiedHead,
  }
}

function parseRope(reader: JsonReader, headSize: number): Pick<TextArchitecture, 'ropeTheta' | 'mropeSections'> {
  const rope = reader.has('rope_parameters') ? reader.child('rope_parameters') : reader.child('rope_scaling')
  // 'mrope' is the first uploads' name for ordinary RoPE with sections; 'yarn' and others would change the maths.
  for (const key of ['type', 'rope_type']) rope.oneOf(key, ['mrope', 'default'], 'default')
  const [t, h, w, ...rest] = rope.integerList('mrope_section')
  if (t === undefined || h === undefined || w === undefined || rest.length > 0 || t + h + w !== headSize / 2) {
    return rope.fail('mrope_section', `three integers that sum to half the head size, ${headSize / 2}`)
  }
  const ropeTheta = rope.has('rope_theta') ? rope.positiveNumber('rope_theta') : reader.positiveNumber('rope_theta')
  return { ropeTheta, mropeSections: [t, h, w] }
}

function parseVision(reader: JsonReader): VisionArchitecture {
  reader.oneOf('model_type', ['qwen2_5_vl', 'qwen2_5_vl_vision'], 'qwen2_5_vl')
  reader.oneOf('hidden_act', ['silu'], 'silu')
  const rope = reader.childOr('rope_parameters')
  rope.oneOf('rope_type', ['axial', 'default'], 'axial')
  const hiddenSize = reader.positiveInteger('hidden_size')
  const heads = reader.positiveInteger('num_heads')
  const headSize = hiddenSize / heads
  if (!Number.isInteger(headSize) || headSize % 4 !== 0) {
    reader.fail(
      'num_heads',
      `a divisor of hidden_size ${hiddenSize} that leaves a head size divisible by 4 (2D rotary)`,
    )
  }
  const patchSize = reader.positiveInteger('patch_size')
  const mergeSize = reader.positiveInteger('spatial_merge_size')
  const windowSize = reader.positiveInteger('window_size')
  if (windowSize < patchSize * mergeSize)
    reader.fail('window_size', `at least patch_size·merge = ${patchSize * mergeSize}`)
  const blocks = reader.positiveInteger('depth')
  return {
    hiddenSize,
    intermediateSize: reader.positiveInteger('intermediate_size'),
    blocks,
    heads,
    headSize,
    channels: reader.positiveInteger(reader.has('in_channels') ? 'in_channels' : 'in_chans'),
    patchSize,
    temporalPatchSize: reader.positiveInteger('temporal_patch_size'),
    mergeSize,
    windowSize,
    fullAttentionBlocks: reader.integerList('fullatt_block_indexes'),
    outputSize: reader.positiveInteger('out_hidden_size'),
    ropeTheta: rope.positiveNumberOr('rope_theta', 10000),
    normEpsilon: 1e-6,
    norm: 'rms',
    mlp: 'swiglu',
  }
}
