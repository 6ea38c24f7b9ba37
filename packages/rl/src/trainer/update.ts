/**
 * One optimizer step from micro-batches. A loss that is not finite must change nothing; its micro-batch then answers with NaN
 * gradients, so that the policy sees a gradient norm that is not finite, drops what was accumulated and reports
 * `applied: false`. The trainer needs no other door for it.
 */
import type { Policy, StepOptions, StepReport, TokenBatch, TokenGradients, TokenScores } from '../types.js'

/** What a loss of this package says of a micro-batch, in float64. */
interface WideGradients {
  readonly loss: number
  readonly logProbGradients: readonly Float64Array[]
  readonly entropyGradients?: readonly Float64Array[]
}

/** A part of the optimizer batch with its loss. */
export interface MicroBatch<Prompt> {
  readonly batch: TokenBatch<Prompt>
  readonly loss: (scores: TokenScores) => WideGradients
}

const narrow = (arrays: readonly Float64Array[]) => arrays.map((values) => Float32Array.from(values))

const isFinite = (arrays: readonly Float32Array[]) =>
  arrays.every((values) => values.every((value) => Number.isFinite(value)))

function toTokenGradients({ loss, logProbGradients, entropyGradients }: WideGradients): TokenGradients {
  return {
    loss,
    logProbGradients: narrow(logProbGradients),
    ...(entropyGradients ? { entropyGradients: narrow(entropyGradients) } : {}),
  }
}

/** Accumulates all micro-batches, then steps. After the first loss that is not finite the rest is left out. */
export async function update<Prompt>(
  policy: Policy<Prompt>,
  microBatches: readonly MicroBatch<Prompt>[],
  options: StepOptions,
): Promise<StepReport> {
  let finite = true
  for (const { batch, loss } of microBatches) {
    await policy.accumulate(batch, (scores) => {
      const gradients = toTokenGradients(loss(scores))
      const { logProbGradients, entropyGradients = [] } = gradients
      if (Number.isFinite(gradients.loss) && isFinite(logProbGradients) && isFinite(entropyGradients)) return gradients
      finite = false
      return { loss: NaN, logProbGradients: logProbGradients.map(({ length }) => new Float32Array(length).fill(NaN)) }
    })
    if (!finite) break
  }
  const report = await policy.step(options)
  return { ...report, applied: report.applied && finite }
}

/** Drops the gradients of an update that failed with `error`, which is thrown on when the policy cannot do that. */
export function discard<Prompt>(policy: Policy<Prompt>): (error: unknown) => Promise<void> {
  return async (error) => {
    if (!policy.discardGradients) throw error
    await policy.discardGradients()
  }
}
