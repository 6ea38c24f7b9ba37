/** The numbers worth watching as a table on a terminal: a line per record, the heading again every twenty lines. */
import type { TrainLogger } from '../trainer/logger.js'
import type { MetricRecord } from '../trainer/records.js'

/** Headings and the metrics below them; the first one a record has is shown. */
const COLUMNS = [
  ['step', ['step']],
  ['reward', ['reward']],
  ['± std', ['reward_std']],
  ['same', ['frac_reward_zero_std']],
  ['length', ['completions/mean_length']],
  ['cut', ['completions/clipped_ratio']],
  ['loss', ['loss']],
  ['grad', ['grad_norm']],
  ['kl', ['kl']],
  ['entropy', ['entropy']],
  ['clip', ['clip_ratio/region_mean']],
  ['kept', ['pad/num_selected_samples', 'dynamic_sampling/num_kept']],
  ['lr', ['learning_rate']],
  ['s', ['time/step', 'time/evaluation']],
] as const

const WIDTH = 9
const HEADING_EVERY = 20

function shown(value: string | number | undefined): string {
  if (typeof value !== 'number') return value === undefined ? '' : value
  if (Number.isInteger(value)) return String(value)
  const text = value.toPrecision(4)
  return text.length <= WIDTH ? text : value.toExponential(1)
}

const row = (cells: readonly string[]) => `${cells.map((text) => text.padStart(WIDTH)).join(' ')}\n`

/** A line of a training record, or the metrics of an evaluation in words. */
function lineOf(record: MetricRecord): string {
  if (!('phase' in record)) {
    return row(
      COLUMNS.map(([, names]) => shown(names.map((name) => record[name]).find((value) => value !== undefined))),
    )
  }
  const metrics = Object.entries(record).filter(([name]) => name.startsWith('eval/'))
  return `  evaluation at step ${record.step}: ${metrics.map(([name, value]) => `${name.slice(5)} ${shown(value)}`).join(', ')}\n`
}

/** @param write where the text goes, such as `(text) => process.stderr.write(text)` */
export function tableLogger(write: (text: string) => void): TrainLogger {
  let lines = 0
  let stage: string | null = null
  return {
    record(record) {
      if (record.stage !== stage) write(`\n${record.stage}\n`)
      if (record.stage !== stage || lines % HEADING_EVERY === 0) write(row(COLUMNS.map(([heading]) => heading)))
      lines = record.stage === stage ? lines + 1 : 1
      stage = record.stage
      write(lineOf(record))
    },
  }
}
