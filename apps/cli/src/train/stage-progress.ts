/** Progress of training on the terminal, from the trainer's records. */
import type { MetricRecord } from '@revisual/rl'
import type { RunConfig } from '../config/schema.js'
import { startProgress, type Progress } from '../terminal/progress.js'

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

export class StageProgress {
  #stage: string | null = null
  #progress: Progress | null = null

  constructor(private readonly stages: RunConfig['stages']) {}

  update(record: MetricRecord): void {
    if ('phase' in record) return
    if (record.stage !== this.#stage) {
      this.stop()
      const total = this.stages.find(({ name }) => name === record.stage)?.steps ?? record.step
      this.#progress = startProgress(record.stage, total, record.step - 1)
      this.#stage = record.stage
    }
    this.#progress?.update(record.step, note(record))
  }

  /** Ends the bar, so that others can write. */
  stop(): void {
    this.#progress?.stop()
    this.#progress = null
    this.#stage = null
  }
}
