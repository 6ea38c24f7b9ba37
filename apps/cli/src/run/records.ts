/** The records of a run folder: what the report, the summary and other programs read. */

/** One optimizer step. Names follow TRL: `reward`, `completions/mean_length`, `pad/kept`, … Keys under `time/` are seconds. */
export interface MetricRecord {
  readonly stage: string
  /** Counted from 1 within the stage. */
  readonly step: number
  readonly [metric: string]: number | string
}

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

/** Some of what the model wrote in training, with its images as files beside the record. */
export interface SampleRecord {
  readonly stage: string
  readonly step: number
  readonly id: string
  readonly question: string
  readonly answer: string
  /** File names below `samples/images/`. */
  readonly images: readonly string[]
  readonly completions: readonly { readonly text: string; readonly reward: number | null }[]
}
