/**
 * One reader per family: its `config.json` into an {@link Architecture}. All accept every form transformers has written:
 * flat text fields (hub) or nested `text_config` (≥ 4.52, which wins), `rope_scaling` or v5's `rope_parameters`, `in_chans`
 * or `in_channels`, tied flag at the root or inside. Absent fields are errors, not class defaults: the defaults of the
 * reference (4 tokens per second, vision width 3584) belong to no published checkpoint.
 * Source: transformers 5.18 `models/{qwen2_vl,qwen2_5_vl,qwen3_vl}/configuration_*.py`.
 */
import type {
  Architecture,
  FeedForward,
  Merger,
  ModelType,
  TextArchitecture,
  VideoTime,
  VisionArchitecture,
} from './architecture.js'
import { JsonReader } from './json.js'

const gatedSilu: FeedForward = { activation: 'silu', gate: 'gate_proj', up: 'up_proj', down: 'down_proj' }

/** The merger of Qwen2-VL and Qwen2.5-VL. */
const sequentialMerger: Merger = {
  name: 'merger',
  norm: 'ln_q',
  normAfterJoin: false,
  first: 'mlp.0',
  second: 'mlp.2',
}

/** Prefixes in files of the hub. Qwen3-VL came after transformers had renamed its modules. */
const oldPrefixes = { vision: 'visual.', text: 'model.' }
const newPrefixes = { vision: 'model.visual.', text: 'model.language_model.' }

/** Qwen2-VL: LayerNorm and QuickGELU in a tower without windows. */
export function qwen2(root: JsonReader): Architecture {
  const text = textReader(root)
  const vision = root.child('vision_config')
  vision.oneOf('hidden_act', ['quick_gelu'], 'quick_gelu')
  const hiddenSize = vision.positiveInteger('embed_dim')
  return {
    ...commonParts(root, text, 'qwen2_vl'),
    text: {
      ...textParts(root, text),
      ...ropeParts(text, 'chunked'),
      attentionBias: true,
      queryKeyNorm: false,
    },
    vision: {
      ...visionParts(vision, hiddenSize),
      intermediateSize: Math.floor(hiddenSize * vision.positiveNumber('mlp_ratio')),
      // In this family the vision hidden_size is the width of the decoder.
      outputSize: vision.positiveInteger('hidden_size'),
      norm: 'layer',
      mlp: { activation: 'quick-gelu', up: 'fc1', down: 'fc2' },
      merger: sequentialMerger,
    },
    videoTime: { kind: 'frames' },
    filePrefixes: oldPrefixes,
  }
}

/** Qwen2.5-VL: RMSNorm and SwiGLU in a tower most of whose blocks attend inside windows. */
export function qwen25(root: JsonReader): Architecture {
  const text = textReader(root)
  const vision = root.child('vision_config')
  vision.oneOf('hidden_act', ['silu'], 'silu')
  const parts = visionParts(vision, vision.positiveInteger('hidden_size'))
  const windowSize = vision.positiveInteger('window_size')
  const cell = parts.patchSize * parts.mergeSize
  if (windowSize < cell) vision.fail('window_size', `at least patch_size·spatial_merge_size = ${cell}`)
  return {
    ...commonParts(root, text, 'qwen2_5_vl'),
    text: {
      ...textParts(root, text),
      ...ropeParts(text, 'chunked'),
      attentionBias: true,
      queryKeyNorm: false,
    },
    vision: {
      ...parts,
      intermediateSize: vision.positiveInteger('intermediate_size'),
      outputSize: vision.positiveInteger('out_hidden_size'),
      norm: 'rms',
      mlp: gatedSilu,
      merger: sequentialMerger,
      windows: { size: windowSize, fullAttentionBlocks: vision.integerList('fullatt_block_indexes') },
    },
    videoTime: secondsTime(vision),
    filePrefixes: oldPrefixes,
  }
}

/** Qwen3-VL: a learned position table and DeepStack in the tower, normalised queries and keys in the decoder. */
export function qwen3(root: JsonReader): Architecture {
  const text = textReader(root)
  const vision = root.child('vision_config')
  vision.oneOf('hidden_act', ['gelu_pytorch_tanh'], 'gelu_pytorch_tanh')
  text.oneOf('attention_bias', [false], false)
  const positions = vision.positiveInteger('num_position_embeddings')
  const side = Math.sqrt(positions)
  if (!Number.isInteger(side)) vision.fail('num_position_embeddings', 'the square of an integer')
  const parts = visionParts(vision, vision.positiveInteger('hidden_size'))
  const blocks = vision.integerList('deepstack_visual_indexes')
  const merger = (name: string, normAfterJoin: boolean): Merger => {
    return { name, norm: 'norm', normAfterJoin, first: 'linear_fc1', second: 'linear_fc2' }
  }
  if (blocks.some((block) => block >= parts.blocks)) {
    vision.fail('deepstack_visual_indexes', `block numbers below depth ${parts.blocks}`)
  }
  return {
    ...commonParts(root, text, 'qwen3_vl'),
    text: {
      ...textParts(root, text),
      ...ropeParts(text, 'interleaved'),
      attentionBias: false,
      queryKeyNorm: true,
    },
    vision: {
      ...parts,
      intermediateSize: vision.positiveInteger('intermediate_size'),
      outputSize: vision.positiveInteger('out_hidden_size'),
      patchBias: true,
      positionTableSide: side,
      norm: 'layer',
      mlp: { activation: 'tanh-gelu', up: 'linear_fc1', down: 'linear_fc2' },
      merger: merger('merger', false),
      deepStack: blocks.map((block, k) => ({ block, merger: merger(`deepstack_merger_list.${k}`, true) })),
    },
    videoTime: { kind: 'timestamps' },
    filePrefixes: newPrefixes,
  }
}

function secondsTime(vision: JsonReader): VideoTime {
  return { kind: 'seconds', tokensPerSecond: vision.positiveNumber('tokens_per_second') }
}

/** Text fields wherever they are: `text_config` wins over flat fields of the same name. */
function textReader(root: JsonReader): JsonReader {
  const nested = root.childOr('text_config')
  return new JsonReader({ ...root.object, ...nested.object }, nested.has('hidden_size') ? nested.where : root.where)
}

function commonParts(
  root: JsonReader,
  text: JsonReader,
  modelType: ModelType,
): Pick<Architecture, 'modelType' | 'tokens' | 'initializerRange'> {
  const nested = root.childOr('text_config')
  if (nested.has('model_type')) nested.oneOf('model_type', [modelType, `${modelType}_text`], modelType)
  root.child('vision_config').oneOf('model_type', [modelType, `${modelType}_vision`], modelType)
  return {
    modelType,
    tokens: {
      image: text.tokenId('image_token_id'),
      video: text.tokenId('video_token_id'),
      visionStart: text.tokenId('vision_start_token_id'),
      visionEnd: text.tokenId('vision_end_token_id'),
    },
    initializerRange: text.positiveNumberOr('initializer_range', 0.02),
  }
}

type TextRope = 'ropeTheta' | 'mropeSections' | 'mropeLayout'

/** What all families read alike. */
function textParts(
  root: JsonReader,
  reader: JsonReader,
): Omit<TextArchitecture, TextRope | 'attentionBias' | 'queryKeyNorm'> {
  reader.oneOf('hidden_act', ['silu'], 'silu')
  reader.oneOf('use_sliding_window', [false], false)
  reader.oneOf('attention_dropout', [0], 0)
  const layers = reader.positiveInteger('num_hidden_layers')
  reader.everyOf('layer_types', ['full_attention'])
  const { hiddenSize, heads, keyValueHeads, headSize } = headParts(reader)
  return {
    hiddenSize,
    intermediateSize: reader.positiveInteger('intermediate_size'),
    layers,
    layer: 'pre-norm',
    heads,
    keyValueHeads,
    headSize,
    vocabularySize: reader.positiveInteger('vocab_size'),
    normEpsilon: reader.positiveNumber('rms_norm_eps'),
    norm: 'rms',
    mlp: gatedSilu,
    tiedHead: [root, root.childOr('text_config')].some((place) =>
      place.oneOf('tie_word_embeddings', [true, false], false),
    ),
  }
}

function headParts(reader: JsonReader): {
  hiddenSize: number
  heads: number
  keyValueHeads: number
  headSize: number
} {
  const hiddenSize = reader.positiveInteger('hidden_size')
  const heads = reader.positiveInteger('num_attention_heads')
  const keyValueHeads = reader.positiveInteger('num_key_value_heads')
  const headSize = reader.has('head_dim') ? reader.positiveInteger('head_dim') : hiddenSize / heads
  if (!Number.isInteger(headSize) || headSize % 2 !== 0) {
    reader.fail('num_attention_heads', `a divisor of hidden_size ${hiddenSize} that leaves an even head size`)
  }
  if (heads % keyValueHeads !== 0) reader.fail('num_key_value_heads', `a divisor of num_attention_heads ${heads}`)
  return { hiddenSize, heads, keyValueHeads, headSize }
}

function ropeParts(reader: JsonReader, layout: TextArchitecture['mropeLayout']): Pick<TextArchitecture, TextRope> {
  const { headSize } = headParts(reader)
  const rope = reader.has('rope_parameters') ? reader.child('rope_parameters') : reader.child('rope_scaling')
  // 'mrope' is the first uploads' name for ordinary RoPE with sections; 'yarn' and others would change the maths.
  for (const key of ['type', 'rope_type']) rope.oneOf(key, ['mrope', 'default'], 'default')
  rope.oneOf('mrope_interleaved', [layout === 'interleaved'], layout === 'interleaved')
  for (const at of [rope, reader]) at.oneOf('partial_rotary_factor', [1], 1)
  const [t, h, w, ...rest] = rope.integerList('mrope_section')
  if (t === undefined || h === undefined || w === undefined || rest.length > 0 || t + h + w !== headSize / 2) {
    return rope.fail('mrope_section', `three integers that sum to half the head size, ${headSize / 2}`)
  }
  const ropeTheta = rope.has('rope_theta') ? rope.positiveNumber('rope_theta') : reader.positiveNumber('rope_theta')
  return { ropeTheta, mropeSections: [t, h, w], mropeLayout: layout }
}

/** What all towers read alike; no windows, no position table, no DeepStack unless the family has them. */
function visionParts(
  reader: JsonReader,
  hiddenSize: number,
): Omit<VisionArchitecture, 'intermediateSize' | 'outputSize' | 'norm' | 'mlp' | 'merger'> {
  const rope = reader.childOr('rope_parameters')
  rope.oneOf('rope_type', ['axial', 'default'], 'axial')
  const heads = reader.positiveInteger('num_heads')
  const headSize = hiddenSize / heads
  if (!Number.isInteger(headSize) || headSize % 4 !== 0) {
    reader.fail('num_heads', `a divisor of the width ${hiddenSize} that leaves a head size divisible by 4 (2D rotary)`)
  }
  return {
    hiddenSize,
    blocks: reader.positiveInteger('depth'),
    heads,
    headSize,
    channels: reader.oneOf(reader.has('in_channels') ? 'in_channels' : 'in_chans', [3], 3),
    patchSize: reader.positiveInteger('patch_size'),
    temporalPatchSize: reader.positiveInteger('temporal_patch_size'),
    mergeSize: reader.positiveInteger('spatial_merge_size'),
    patchBias: false,
    positionTableSide: null,
    windows: null,
    ropeTheta: rope.positiveNumberOr('rope_theta', 10000),
    normEpsilon: 1e-6,
    deepStack: [],
  }
}
