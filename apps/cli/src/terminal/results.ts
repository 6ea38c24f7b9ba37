/** Held-out results as the table a run prints at its end and its report shows. */
import type { StageSummary, TaskResult } from '../run/records.js'
import { duration } from './progress.js'
import { textTable } from './table.js'

const percent = (share: number) => `${(100 * share).toFixed(1)} %`

/** `51.0 % [46.1, 55.9]` */
function accuracyText({ accuracy, ci95: [low, high] }: TaskResult): string {
  return `${percent(accuracy)} [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`
}

/** Head and rows: a row per stage, three columns per task. */
export function resultsRows(stages: readonly StageSummary[]): { head: string[]; rows: string[][] } {
  const tasks = [...new Set(stages.flatMap((stage) => Object.keys(stage.tasks)))]
  const head = ['after', ...tasks.flatMap((task) => [task, 'format', 'tokens']), 'steps', 'time']
  const rows = stages.map((stage) => [
    stage.name,
    ...tasks.flatMap((task) => {
      const result = stage.tasks[task]
      return result ? [accuracyText(result), percent(result.formatRate), result.meanTokens.toFixed(1)] : ['–', '–', '–']
    }),
    String(stage.steps),
    stage.steps === 0 ? '–' : duration(stage.seconds),
  ])
  return { head, rows }
}

export function resultsTable(stages: readonly StageSummary[]): string {
  const { head, rows } = resultsRows(stages)
  return textTable(head, rows)
}
