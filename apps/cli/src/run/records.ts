/** What `summary.json` holds. Metrics and training samples are records of `@revisual/rl`. */

/** Held-out result of one task. */
export interface TaskResult {
  readonly n: number
  readonly accuracy: number
  /** 95 % confidence interval of the accuracy. */
  readonly ci95: readonly [number, number]
  /** Share of completions with thinking and a boxed answer. */
  readonly formatRate: number
  readonly meanTokens: number
}

/** Held-out results after a stage; the first record, `base`, is before any. */
export interface StageSummary {
  readonly name: string
  readonly tasks: { readonly [task: string]: TaskResult }
  /** Wall clock of training, evaluation not included. */
  readonly seconds: number
  readonly steps: number
}

export interface RunSummary {
  readonly stages: readonly StageSummary[]
  readonly adapter: string
  readonly seed: number
}
