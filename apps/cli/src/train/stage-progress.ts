/** Progress of training on the terminal, from the trainer's records. */
import type { MetricRecord } from '@revisual/rl'
import type { RunConfig } from '../config/schema.js'
import { startProgress, type Progress, type ProgressStart } from '../terminal/progress.js'

/** Numbers worth watching, under short names. */
const watched = [
  ['reward', 'reward'],
  ['rewards/accuracy/mean', 'accuracy'],
  ['completions/mean_length', 'length'],
  ['entropy', 'entropy'],
  ['loss', 'loss'],
] as const

function note(record: MetricRecord): string {
  return watched
    .flatMap(([metric, name]) => {
      const value = record[metric]
      return typeof value === 'number' ? [`${name} ${value.toPrecision(3)}`] : []
    })
    .join('  ')
}

/** Where a stage began in this process, told by the record of its first step here. */
function startOf(record: MetricRecord): ProgressStart {
  const seconds = record['time/step']
  return {
    first: record.step - 1,
    time: performance.now() - (typeof seconds === 'number' ? seconds * 1000 : 0),
  }
}

export class StageProgress {
  #begun: { readonly stage: string; readonly start: ProgressStart } | null = null
  #progress: Progress | null = null

  constructor(private readonly stages: RunConfig['stages']) {}

  update(record: MetricRecord): void {
    if ('phase' in record) return
    const { stage, step } = record
    if (this.#begun?.stage !== stage) {
      this.stop()
      this.#begun = { stage, start: startOf(record) }
    }
    const total = this.stages.find(({ name }) => name === stage)?.steps ?? step
    this.#progress ??= startProgress(stage, total, this.#begun.start)
    this.#progress.update(step, note(record))
  }

  /** Ends the bar, so that others can write; the next record begins another, with the stage's rate so far. */
  stop(): void {
    this.#progress?.stop()
    this.#progress = null
  }
}
