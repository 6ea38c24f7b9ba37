import type { MetricRecord } from './records.js'

const SHOWN = ['loss', 'grad_norm', 'learning_rate', 'entropy', 'kl', 'reward', 'completions/mean_length']

const line = (record: MetricRecord) =>
  `  step ${record.step}: ` +
  SHOWN.flatMap((name) => {
    const value = record[name]
    return typeof value === 'number' ? [`${name} ${Number.isFinite(value) ? value.toPrecision(4) : value}`] : []
  }).join(', ')

/** Thrown when loss or gradient was not finite too many times in a row. */
export class DivergenceError extends Error {
  override readonly name = 'DivergenceError'

  constructor(
    readonly stage: string,
    readonly step: number,
    skipped: number,
    /** The last records before the end. */
    readonly records: readonly MetricRecord[],
  ) {
    super(
      `Stage '${stage}', step ${step}: loss or gradient was NaN or infinite in ${skipped} optimizer steps in a row, so training stopped. ` +
        `The weights are those of the last good step.\n${records.map(line).join('\n')}\n` +
        `If the loss or gradient norm grew before it broke, lower learningRate or set maxGradNorm; if it broke at once, ` +
        `look for NaN in the model's weights or inputs.`,
    )
  }
}
