/**
 * The doors of `@revisual/rl`: every record that crosses a package boundary, as plain serialisable data.
 *
 * The one idea: a loss lives at the log-prob boundary. The algorithms never see a tensor, only arrays of per-token
 * log-probs, so they run in a unit test on literals and with any framework that can fill in {@link Policy}.
 */

/** Anything `JSON.stringify` keeps. State that decides the future of a run must be of this type. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue }

// ---------------------------------------------------------------------------------------------- sampling

/** One prompt to be completed `n` times. */
export interface SampleRequest<Prompt> {
  readonly prompt: Prompt
  /** Completions wanted of this prompt; they share one prefill where the policy can. */
  readonly n: number
  /** Counter-based seed of this request. Completion k of the request depends on (seed, k) and nothing else. */
  readonly seed: number
}

export interface SampleOptions {
  /** Most tokens to generate per completion. */
  readonly maxTokens: number
  /** 0 means greedy. The trainer divides logits by the same temperature. */
  readonly temperature: number
  /** Nucleus mass in (0, 1]; 1 or absent switches it off. */
  readonly topP?: number
  /** Keep the k most likely tokens; 0 or absent switches it off. */
  readonly topK?: number
  readonly signal?: AbortSignal
}

export type FinishReason = 'stop' | 'length' | 'aborted'

export interface Completion {
  /** Index into the `requests` given to {@link Policy.sample}. */
  readonly requestIndex: number
  /** 0 ≤ sampleIndex < n of the request. */
  readonly sampleIndex: number
  /** Generated ids, with the stop token as last element when `finishReason` is `stop`. */
  readonly completionIds: readonly number[]
  /** Decoded completion without the stop token. Text that is not special keeps its tags (`<think>` and so on). */
  readonly text: string
  /** Log-prob of every generated token under the sampling distribution at its temperature, before top-k and top-p. */
  readonly logProbs: readonly number[]
  readonly finishReason: FinishReason
}

// ---------------------------------------------------------------------------------------------- scoring, learning

/** A prompt with the tokens that followed it. */
export interface TokenSequence<Prompt> {
  readonly prompt: Prompt
  readonly completionIds: readonly number[]
}

export interface TokenBatch<Prompt> {
  readonly sequences: readonly TokenSequence<Prompt>[]
  /** Logits are divided by this before the softmax, as in sampling. 1 for supervised learning. */
  readonly temperature: number
  /**
   * `sampling`: tokens the sampler can never produce (placeholders, padding, unused rows) are left out of the softmax,
   * so that log-probs are those of the sampling distribution. `full`: softmax over the whole vocabulary.
   */
  readonly vocabulary: 'sampling' | 'full'
}

/** Per sequence, per completion token. */
export interface TokenScores {
  /** `logProbs[i][t]` of token t of sequence i. */
  readonly logProbs: readonly Float32Array[]
  /** Entropy in nats of the distribution token t was drawn from. */
  readonly entropies: readonly Float32Array[]
}

/** What a loss says of a micro-batch: its value and its gradients with respect to log-probs and entropies. */
export interface TokenGradients {
  readonly loss: number
  readonly logProbGradients: readonly Float32Array[]
  readonly entropyGradients?: readonly Float32Array[]
}

/** Pure function from per-token log-probs to a value and its gradient. */
export type TokenLoss = (scores: TokenScores) => TokenGradients

export interface LossReport {
  readonly loss: number
  readonly scores: TokenScores
}

export interface StepOptions {
  readonly learningRate: number
  readonly weightDecay: number
  /** Gradients are scaled to this global L2 norm when longer. Absent: no clipping. */
  readonly maxGradNorm?: number
}

export interface StepReport {
  /** Global L2 norm before clipping. */
  readonly gradNorm: number
  /** False when the norm was NaN or infinite: nothing was changed and the gradients were dropped. */
  readonly applied: boolean
}

/**
 * Everything the algorithms must know of a model. Implemented by `@revisual/model`; implement it over your own model to
 * train that instead.
 *
 * Two failures the trainer can mend are told by the `name` of the error, or of one of its causes: `OutOfMemoryError`
 * (smaller micro-batches are tried) and `DeviceLostError` (the policy is made anew, see `TrainOptions.rebuildPolicy`).
 */
export interface Policy<Prompt> {
  /** Completions ordered by (requestIndex, sampleIndex). */
  sample(requests: readonly SampleRequest<Prompt>[], options: SampleOptions): Promise<Completion[]>
  /** Log-probs and entropies of given tokens, without gradient. */
  score(batch: TokenBatch<Prompt>): Promise<TokenScores>
  /** The same under the reference: a frozen copy, or the model without its adapter. Policies without one leave it out. */
  scoreReference?(batch: TokenBatch<Prompt>): Promise<TokenScores>
  /** Makes the present weights the reference. Left out where the reference is fixed, such as a model without its adapter. */
  snapshotReference?(): Promise<void>
  /** Forward, `loss`, backward; adds to the gradients held for the next {@link step}. */
  accumulate(batch: TokenBatch<Prompt>, loss: TokenLoss): Promise<LossReport>
  /** One optimizer step on the accumulated gradients, which are cleared. */
  step(options: StepOptions): Promise<StepReport>
  /** Drops what was accumulated since the last step. Without it, running out of memory ends the run. */
  discardGradients?(): void | Promise<void>
  /** Parameter groups that learn from now on, e.g. `['text']` to freeze the vision tower. Optimizer state is kept. */
  setTrainable(groups: readonly string[]): void
  /** Clears optimizer moments and step count, as at the start of a stage. */
  resetOptimizer(): Promise<void>
  /** Weights, optimizer and reference as files in an existing empty directory. */
  save(directory: string): Promise<void>
  load(directory: string): Promise<void>
  /** Tokens the prompt takes, for micro-batches by token budget. */
  promptLength(prompt: Prompt): number
}

/**
 * A policy whose {@link Policy.sample} runs in another program or machine, so that its log-probs differ from those of
 * {@link Policy.score} by more than rounding. Stages correct for it unless they say otherwise.
 */
export interface PolicyElsewhere<Prompt> extends Policy<Prompt> {
  readonly samplesElsewhere: true
}

// ---------------------------------------------------------------------------------------------- data

/** A stream of examples that can be saved and restored in the middle. Infinite unless `next` returns fewer than asked. */
export interface DataSource<Example> {
  next(count: number): readonly Example[] | Promise<readonly Example[]>
  /** Cursor: `restore(state())` on a fresh source continues with the same examples. */
  state(): JsonValue
  restore(state: JsonValue): void
  /** Told after every rl step what the examples of that step got, for sources that choose by difficulty. */
  observe?(outcomes: readonly ExampleOutcome[]): void
}

/** What the completions of an example got: the mean of their rewards, null where none had one. */
export interface ExampleOutcome {
  readonly id: string
  readonly reward: number | null
}

/** One supervised example: learn `completionIds` given `prompt`. */
export interface SftExample<Prompt> {
  readonly id: string
  readonly prompt: Prompt
  readonly completionIds: readonly number[]
}

/** One problem to be solved under reward. `row` carries every dataset column a reward may want (at least `answer`). */
export interface RlExample<Prompt> {
  readonly id: string
  readonly prompt: Prompt
  readonly row: { readonly [column: string]: JsonValue }
}

// ---------------------------------------------------------------------------------------------- rewards

/** What a reward function is given: parallel arrays, one element per completion. */
export interface RewardBatch {
  /** Rendered prompt text. */
  readonly prompts: readonly string[]
  readonly completions: readonly string[]
  /** Generated tokens of each completion, the stop token included. */
  readonly completionLengths: readonly number[]
  readonly finishReasons: readonly FinishReason[]
  /** Dataset columns of the completion's prompt. */
  readonly rows: readonly { readonly [column: string]: JsonValue }[]
  /** Trainer step, counted from 1 within the stage. */
  readonly step: number
}

/** `null`: the function does not apply to this completion. `parts` are extra components, logged beside the score. */
export type RewardValue =
  number | null | { readonly score: number; readonly parts?: { readonly [part: string]: number } }

export interface RewardContext {
  /** Aborted when the wall clock of the call has run out. */
  readonly signal: AbortSignal
}

export type RewardFunction = (
  batch: RewardBatch,
  context: RewardContext,
) => readonly RewardValue[] | Promise<readonly RewardValue[]>

/** The part of Standard Schema (https://standardschema.dev) rewards need: Zod, Valibot and ArkType schemas all are one. */
export interface OptionsSchema<Options> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (
      value: unknown,
    ) =>
      | { readonly value: Options; readonly issues?: undefined }
      | { readonly issues: readonly { readonly message: string; readonly path?: readonly unknown[] | undefined }[] }
      | Promise<
          | { readonly value: Options; readonly issues?: undefined }
          | { readonly issues: readonly { readonly message: string; readonly path?: readonly unknown[] | undefined }[] }
        >
  }
}

/** What a reward package default-exports (or exports under a name, used as `package#name`). */
export interface RewardPlugin<Options = unknown> {
  readonly name: string
  /** Options are checked with this before anything is loaded. Absent: the plugin takes no options. */
  readonly options?: OptionsSchema<Options>
  readonly create: (options: Options) => RewardFunction | Promise<RewardFunction>
}
