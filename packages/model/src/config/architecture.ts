/**
 * A model as data. The tower and the decoder are built from these records alone; a new family of the same kind (Qwen2-VL
 * with LayerNorm and QuickGELU, Qwen3-VL with interleaved M-RoPE and DeepStack) adds a parser that fills them in, and a
 * member to the kinds below with its implementation in `network/layers.ts` or `positions/rotary.ts`.
 */

/** Normalisation of a block. `rms`: x·rsqrt(mean(x²)+ε)·w. */
export type NormKind = 'rms'
/** Feed-forward of a block. `swiglu`: down(silu(gate(x))·up(x)). */
export type MlpKind = 'swiglu'
/** How the frequencies of M-RoPE are dealt to (t, h, w). `chunked`: first t, then h, then w. */
export type MropeLayout = 'chunked'

export interface TextArchitecture {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly heads: number
  readonly keyValueHeads: number
  readonly headSize: number
  readonly vocabularySize: number
  readonly normEpsilon: number
  readonly ropeTheta: number
  /** Frequencies owned by t, h and w; they sum to headSize / 2. */
  readonly mropeSections: readonly [number, number, number]
  readonly mropeLayout: MropeLayout
  readonly norm: NormKind
  readonly mlp: MlpKind
  /** Biases on q, k and v. */
  readonly attentionBias: boolean
  readonly tiedHead: boolean
}

export interface VisionArchitecture {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly blocks: number
  readonly heads: number
  readonly headSize: number
  readonly channels: number
  /** Side of a patch in pixels. */
  readonly patchSize: number
  readonly temporalPatchSize: number
  /** Patches per side that become one visual token. */
  readonly mergeSize: number
  /** Side of an attention window in pixels. */
  readonly windowSize: number
  /** Blocks that attend over the whole frame instead of windows. */
  readonly fullAttentionBlocks: readonly number[]
  /** Width of a visual token, equal to the text width. */
  readonly outputSize: number
  readonly ropeTheta: number
  readonly normEpsilon: number
  readonly norm: NormKind
  readonly mlp: MlpKind
}

/** Ids of tokens the model's own code must know. */
interface TokenIds {
  readonly image: number
  readonly video: number
  readonly visionStart: number
  readonly visionEnd: number
}

export interface Architecture {
  readonly modelType: 'qwen2_5_vl'
  readonly text: TextArchitecture
  readonly vision: VisionArchitecture
  readonly tokens: TokenIds
  /** Standard deviation of fresh weights. */
  readonly initializerRange: number
}

/** A parsed `config.json`: what the code uses, and the file as it was, so that unknown keys survive a round trip. */
export interface ModelConfig {
  readonly architecture: Architecture
  readonly json: { readonly [key: string]: unknown }
}
