/**
 * A run as data: a list of stage records. The recipe of ReVisual-R1 is one such list (cold start, multimodal RL, textual
 * RL), its ablations are others.
 */
import type { Aggregation } from '../losses/aggregation.js'
import type { ClipSettings } from '../losses/objectives.js'
import type { EntropySettings, KlSettings } from '../losses/policy.js'
import type { PaperPad, ReleasedPad } from '../pad.js'
import type { RewardScorer } from '../rewards/scorer.js'
import type { EntropySchedule, Schedule, TemperatureSchedule } from '../schedules.js'
import type { DataSource, RlExample, SampleOptions, SftExample } from '../types.js'

/** Ends a stage before its steps are used up. Watches a metric of training, or of evaluations as `eval/<metric>`. */
export type StopRule = {
  readonly metric: string
  /** The rule looks at the mean of the last this many values. Default 1. */
  readonly window?: number
} & (
  | { readonly kind: 'threshold'; readonly above: number }
  | { readonly kind: 'threshold'; readonly below: number }
  | {
      readonly kind: 'patience'
      readonly mode: 'max' | 'min'
      /** Values in a row without a new best. */
      readonly patience: number
      /** A new best is better by more than this. Default 0. */
      readonly minDelta?: number
    }
)

export interface StageSettings {
  /** Unique; metrics and random draws are labelled with it. */
  readonly name: string
  /** Steps of the stage: optimizer steps (sft) or rollout batches (rl). */
  readonly steps: number
  /** By step of the stage. */
  readonly learningRate: Schedule
  /** Default 0. */
  readonly weightDecay?: number
  /** Gradients are scaled to this global L2 norm when longer. Absent: no clipping. */
  readonly maxGradNorm?: number
  /** Parameter groups that learn in this stage. Absent: as they were. */
  readonly trainable?: readonly string[]
  /** Most tokens, padding included, of one forward and backward pass. The gradient does not depend on it. Default 16 384. */
  readonly tokensPerMicroBatch?: number
  /** Clears the optimizer's moments at the start of the stage. Default true. */
  readonly resetOptimizer?: boolean
  readonly stop?: StopRule
}

export interface SftStage<Prompt> extends StageSettings {
  readonly kind: 'sft'
  readonly data: DataSource<SftExample<Prompt>>
  /** Sequences per optimizer step. */
  readonly batchSize: number
  /** Default `token-mean`. */
  readonly aggregation?: Aggregation
}

/** PAD as a stage has it: τ may follow the steps of the stage. Default of the paper's variant: 1.0 → 0.3. */
export type StagePad =
  (Omit<PaperPad, 'temperature'> & { readonly temperature?: number | TemperatureSchedule }) | ReleasedPad

export interface RlStage<Prompt> extends StageSettings {
  readonly kind: 'rl'
  readonly data: DataSource<RlExample<Prompt>>
  readonly promptsPerStep: number
  /** Completions per prompt, ≥ 2. */
  readonly groupSize: number
  /** Optimizer steps one rollout batch is cut into. Default 1. */
  readonly updatesPerStep?: number
  /** Temperature > 0; the loss divides logits by the same. */
  readonly sampling: Omit<SampleOptions, 'signal'>
  readonly rewards: RewardScorer
  /** ε of the advantages. Default 1e-6. */
  readonly advantageEpsilon?: number
  readonly pad?: StagePad
  /** Default { low: 0.2, high: 0.2 }. */
  readonly clip?: ClipSettings
  /** Default `token-mean`. */
  readonly aggregation?: Aggregation
  /** Needs a policy with a reference; it is taken from the weights at the start of the stage. */
  readonly kl?: KlSettings
  readonly entropy?: EntropySchedule & { readonly kind?: EntropySettings['kind'] }
  /** Completions that hit `maxTokens` count in their group's statistics but are not learnt from. Default false. */
  readonly maskTruncated?: boolean
}

export type Stage<Prompt> = SftStage<Prompt> | RlStage<Prompt>

export const DEFAULT_TOKENS_PER_MICRO_BATCH = 16_384
export const DEFAULT_PAD_TEMPERATURE: TemperatureSchedule = { from: 1, to: 0.3 }
export const DEFAULT_CLIP: ClipSettings = { low: 0.2, high: 0.2 }
