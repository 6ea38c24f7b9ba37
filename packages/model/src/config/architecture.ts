/**
 * A model as data. The tower and the decoder are built from these records alone; a new family of the same kind adds a
 * reader of its `config.json` (`families.ts`), and a member to the kinds below with its implementation in
 * `network/layers.ts` or `positions/` for what is truly new.
 */

/** Normalisation of a block. `rms`: x·rsqrt(mean(x²)+ε)·w. `layer`: (x − mean)·rsqrt(var+ε)·w + b. */
export type NormKind = 'rms' | 'layer'

export type ActivationKind = 'silu' | 'quick-gelu' | 'tanh-gelu' | 'erf-gelu'

/**
 * A feed-forward layer and what checkpoints call its parts. With `gate`: down(act(gate(x)) · up(x)); without:
 * down(act(up(x))).
 */
export interface FeedForward {
  readonly activation: ActivationKind
  readonly gate?: string
  readonly up: string
  readonly down: string
}

/** How the frequencies of M-RoPE are dealt to (t, h, w). `chunked`: first t, then h, then w. `interleaved`: thw thw … t. */
export type MropeLayout = 'chunked' | 'interleaved'

/** The residual structure of a decoder layer; see `decoderLayers` in `network/layers.ts`. */
export type DecoderLayerKind = 'pre-norm'

export interface TextArchitecture {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly layer: DecoderLayerKind
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
  readonly mlp: FeedForward
  /** Biases on q, k and v. */
  readonly attentionBias: boolean
  /** RMSNorm over the dimensions of each query and key head before they are rotated. */
  readonly queryKeyNorm: boolean
  readonly tiedHead: boolean
}

/** Joins mergeSize² rows into one visual token: norm, linear, erf-GELU, linear. */
export interface Merger {
  /** Name under `visual.`. */
  readonly name: string
  readonly norm: string
  /** Whether the norm sees the joined rows (4·E wide) or each row by itself. */
  readonly normAfterJoin: boolean
  readonly first: string
  readonly second: string
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
  readonly patchBias: boolean
  /** Side of the learned table of positions, which is stretched over an image bilinearly; `null`: there is none. */
  readonly positionTableSide: number | null
  /** Windows most blocks attend inside; `null`: every block sees its whole frame. */
  readonly windows: {
    /** Side of a window in pixels. */
    readonly size: number
    /** Blocks that attend over the whole frame instead. */
    readonly fullAttentionBlocks: readonly number[]
  } | null
  /** Width of a visual token, equal to the text width. */
  readonly outputSize: number
  readonly ropeTheta: number
  readonly normEpsilon: number
  readonly norm: NormKind
  readonly mlp: FeedForward
  readonly merger: Merger
  /**
   * DeepStack (arXiv 2406.04334): after block `block`, its own merger makes visual tokens that are added to the output of
   * decoder layer k, for the k-th entry.
   */
  readonly deepStack: readonly { readonly block: number; readonly merger: Merger }[]
}

/** Ids of tokens the model's own code must know. */
interface TokenIds {
  readonly image: number
  readonly video: number
  readonly visionStart: number
  readonly visionEnd: number
}

/**
 * How time reaches the model. `frames`: the t position counts temporal patches. `seconds`: it runs at `tokensPerSecond`.
 * `timestamps`: every temporal patch is an image of its own, preceded by its time as text.
 */
export type VideoTime =
  | { readonly kind: 'frames' }
  | { readonly kind: 'seconds'; readonly tokensPerSecond: number }
  | { readonly kind: 'timestamps' }

export type ModelType = 'qwen2_vl' | 'qwen2_5_vl' | 'qwen3_vl'

export interface Architecture {
  readonly modelType: ModelType
  readonly text: TextArchitecture
  readonly vision: VisionArchitecture
  readonly tokens: TokenIds
  readonly videoTime: VideoTime
  /** Standard deviation of fresh weights. */
  readonly initializerRange: number
  /** Prefixes of tower and decoder in files; in the code they are always `visual.` and `model.`. */
  readonly filePrefixes: { readonly vision: string; readonly text: string }
  /**
   * `bf16`: rotary frequencies are rounded to bf16, as in a reference whose whole module was cast. Only for comparing with
   * such a reference; no checkpoint says so.
   */
  readonly rotaryFrequencies?: 'exact' | 'bf16'
}

/** A parsed `config.json`: what the code uses, and the file as it was, so that unknown keys survive a round trip. */
export interface ModelConfig {
  readonly architecture: Architecture
  readonly json: { readonly [key: string]: unknown }
}
