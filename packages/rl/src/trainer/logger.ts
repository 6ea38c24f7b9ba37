/**
 * The door for loggers. `metrics.jsonl` is the truth; what a logger writes is made from it anew at every start, so that no
 * logger needs to know of crashes and resumes.
 */
import type { MetricRecord, StepSamples } from './records.js'

/** What there is when a run starts or goes on. */
export interface LogHistory {
  /** Records up to the checkpoint the run goes on from. */
  readonly records: readonly MetricRecord[]
  /** Steps of the run done. */
  readonly globalStep: number
}

export interface TrainLogger<Prompt = unknown> {
  /** Before anything is logged. A logger that writes files drops what is not in `history`. */
  start?(history: LogHistory): void | Promise<void>
  record?(record: MetricRecord): void | Promise<void>
  /** All completions of an rl step. */
  samples?(samples: StepSamples<Prompt>): void | Promise<void>
  /** Also after a run that failed. */
  close?(): void | Promise<void>
}
