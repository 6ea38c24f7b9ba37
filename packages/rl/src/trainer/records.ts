/** What a run writes down. Keys under `time/` are seconds of wall clock and differ between runs; everything else is reproducible. */
import type { FinishReason, JsonValue, RlExample } from '../types.js'

/** One line of `metrics.jsonl`: a training step, or an evaluation (then its metrics are called `eval/…` and it has a `phase`). */
export interface MetricRecord {
  readonly stage: string
  /** Steps of the stage done, the first record of training has 1. */
  readonly step: number
  /** Steps of the run done. */
  readonly global_step: number
  readonly [metric: string]: string | number
}

/** When an evaluation takes place. */
export type EvaluationPhase = 'before' | 'during' | 'after'

export interface EvaluationRequest {
  readonly stage: string
  readonly step: number
  readonly globalStep: number
  /** `before`: ahead of the first stage. `after`: at the end of a stage. */
  readonly phase: EvaluationPhase
}

/** What an evaluation hook returns. */
export interface EvaluationResult {
  /** Recorded as `eval/<name>`. */
  readonly metrics: { readonly [metric: string]: number }
  /** Anything else to find again in {@link Evaluation}, such as confidence intervals. */
  readonly details?: JsonValue
}

export interface Evaluation extends EvaluationRequest, EvaluationResult {}

/** One completion of a rollout. */
export interface CompletionSample {
  readonly text: string
  /** Generated tokens, the stop token included. */
  readonly tokens: number
  readonly finishReason: FinishReason
  readonly reward: number | null
  /** Scores by reward function. */
  readonly scores: { readonly [reward: string]: number | null }
  readonly advantage: number
  /** Times it is in the update: 0 when PAD or masking left it out. */
  readonly selected: number
}

/** The completions of one prompt. */
export interface PromptSamples<Prompt> {
  readonly example: RlExample<Prompt>
  readonly completions: readonly CompletionSample[]
}

/** All completions of one rl step. */
export interface StepSamples<Prompt> {
  readonly stage: string
  readonly step: number
  readonly globalStep: number
  readonly prompts: readonly PromptSamples<Prompt>[]
}

/** One line of `samples/training.jsonl`. */
export interface SampleRecord {
  readonly stage: string
  readonly step: number
  readonly global_step: number
  readonly id: string
  /** Dataset columns of the prompt. */
  readonly row: { readonly [column: string]: JsonValue }
  readonly completions: readonly CompletionSample[]
}
