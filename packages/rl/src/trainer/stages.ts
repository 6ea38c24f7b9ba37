/**
 * A run as data: a list of stage records. The recipe of ReVisual-R1 is one such list (cold start, multimodal RL, textual
 * RL), its ablations are others.
 */
import type { AlgorithmName } from '../algorithms.js'
import type { AdvantageEstimator } from '../estimators.js'
import type { Aggregation } from '../losses/aggregation.js'
import type { MismatchCorrection } from '../losses/correction.js'
import type { AdaptiveKl } from '../losses/kl.js'
import type { ClipSettings, PolicyObjective } from '../losses/objectives.js'
import type { EntropySettings, KlSettings } from '../losses/policy.js'
import type { OverlongPenalty } from '../overlong.js'
import type { PaperPad, ReleasedPad } from '../pad.js'
import type { RewardScorer } from '../rewards/scorer.js'
import type { AdaptiveEntropy, EntropySchedule, Schedule, TemperatureSchedule } from '../schedules.js'
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

/** The KL term of a stage. */
export type StageKl = KlSettings & {
  /** `loss`: β·KL beside the policy term (GRPO). `reward`: β·KL is taken off the reward (PPO, RLOO, REINFORCE++). Default `loss`. */
  readonly in?: 'loss' | 'reward'
  /**
   * `stage`: the weights at the start of the stage, as a frozen copy. `base`: what the policy itself takes for its reference,
   * such as the model without its adapter; nothing is copied. Default `stage`, where the policy can copy.
   */
  readonly reference?: 'stage' | 'base'
  /** `coefficient` is then its first value. */
  readonly adaptive?: AdaptiveKl
}

/** The entropy bonus of a stage: a schedule in updates, or a controller whose first value is `coefficient`. */
export type StageEntropy = EntropySchedule & {
  readonly kind?: EntropySettings['kind']
  readonly adaptive?: AdaptiveEntropy
}

/**
 * Groups that teach nothing are replaced by groups of further prompts (DAPO, arXiv 2503.14476, section 3.2; verl
 * `filter_groups`, EasyR1 `online_filtering`).
 */
export interface DynamicSampling {
  /** A group teaches when its rewards' standard deviation is above this. Default 0; differences by floating-point noise count as 0. */
  readonly tolerance?: number
  /** A group whose mean is not strictly between these is left out, too (EasyR1 `filter_low`, `filter_high`). Default none. */
  readonly meanAbove?: number
  readonly meanBelow?: number
  /** Reward function whose scores are looked at. Default: the reward itself. */
  readonly metric?: string
  /** Rounds of sampling in a step, the first included. Default 10. */
  readonly maxRounds?: number
  /** When the rounds are used up: learn from the groups there are, or end the run. Default `train`. */
  readonly onExhausted?: 'train' | 'raise'
}

/**
 * Groups that taught something are kept, and take the place of groups without spread in later steps. They are off-policy:
 * the log-probs they were sampled with are their old ones.
 */
export interface Replay {
  /** Groups kept; the oldest go first. Default 64, as TRL's replay buffer. */
  readonly capacity?: number
  /** Steps after which a group is too old. Default none. */
  readonly maxAge?: number
}

export interface RlStage<Prompt> extends StageSettings {
  readonly kind: 'rl'
  readonly data: DataSource<RlExample<Prompt>>
  readonly promptsPerStep: number
  /** Completions per prompt, ≥ 2. */
  readonly groupSize: number
  /** Optimizer steps one pass over a rollout batch is cut into. Default 1. */
  readonly updatesPerStep?: number
  /** μ: passes over every rollout batch. Default 1. */
  readonly innerEpochs?: number
  /** Temperature > 0; the loss divides logits by the same. */
  readonly sampling: Omit<SampleOptions, 'signal'>
  readonly rewards: RewardScorer
  /** Fills in the settings below that the stage leaves out; see `algorithmSettings`. */
  readonly algorithm?: AlgorithmName
  /** Default `{ kind: 'grpo' }`. */
  readonly advantage?: AdvantageEstimator
  /** Default `{ kind: 'clip' }`: the clipped surrogate with a ratio per token. */
  readonly loss?: PolicyObjective
  /** Default { low: 0.2, high: 0.2 }. */
  readonly clip?: ClipSettings
  /** Default `token-mean`. */
  readonly aggregation?: Aggregation
  /** Sequences of a local batch of `local-token-mean`, in the order of the shuffled batch, or the groups. Default `group`. */
  readonly localBatch?: number | 'group'
  /** Needs a policy with a reference. */
  readonly kl?: StageKl
  readonly entropy?: StageEntropy
  /** Share of tokens, those with the highest entropy, that the policy term is made of. Costs a forward pass per update. Default 1. */
  readonly highEntropyShare?: number
  /**
   * Importance weights between sampler and learner; null for none. Default: none, but for a policy that samples elsewhere
   * weights per token, cut at 2 (verl's truncated importance sampling).
   */
  readonly correction?: MismatchCorrection | null
  /** Sequences with A < 0 that drifted further than this from their sampler, in nats per token, are left out. Absent: none. */
  readonly offPolicyThreshold?: number
  readonly pad?: StagePad
  readonly dynamicSampling?: DynamicSampling
  readonly replay?: Replay
  /** DAPO's soft penalty, added to the reward as a function called `overlong`. */
  readonly overlong?: OverlongPenalty
  /** Completions that hit `maxTokens` count in their group's statistics but are not learnt from. Default false. */
  readonly maskTruncated?: boolean
}

export type Stage<Prompt> = SftStage<Prompt> | RlStage<Prompt>

/** The settings of a stage, without its data and rewards: what can be checked and counted before anything is loaded. */
export type SftSettings = Omit<SftStage<unknown>, 'data'>
export type RlSettings = Omit<RlStage<unknown>, 'data' | 'rewards'>
export type PlannedStage = SftSettings | RlSettings

export const DEFAULT_TOKENS_PER_MICRO_BATCH = 16_384
export const DEFAULT_PAD_TEMPERATURE: TemperatureSchedule = { from: 1, to: 0.3 }
/** What applies where a policy samples elsewhere and the stage says nothing. */
export const DEFAULT_CORRECTION: MismatchCorrection = { level: 'token', mode: 'truncate', max: 2 }
export const DEFAULT_CLIP: ClipSettings = { low: 0.2, high: 0.2 }
