/** One supervised step: one batch, one update. */
import { denominatorsOf } from '../losses/aggregation.js'
import { addSftLossSums, sftLoss, sftLossMetrics, type SftLossSums } from '../losses/sft.js'
import type { Policy, SftExample, StepOptions } from '../types.js'
import type { Clock } from './clock.js'
import type { MemoryBudget } from './memory-budget.js'
import { microBatches } from './micro-batches.js'
import type { SftStage } from './stages.js'
import type { StepOutcome } from './step-outcome.js'
import { discard, update, type MicroBatch } from './update.js'

/** Learns one batch of examples. */
export async function sftStep<Prompt>(
  policy: Policy<Prompt>,
  stage: SftStage<Prompt>,
  examples: readonly SftExample<Prompt>[],
  options: StepOptions,
  budget: MemoryBudget,
  clock: Clock,
): Promise<StepOutcome> {
  const denominators = denominatorsOf(examples.map(({ completionIds }) => completionIds.length))
  if (denominators.tokens === 0)
    throw new RangeError(`Stage '${stage.name}': a batch has no completion token to learn.`)
  const settings = { aggregation: stage.aggregation ?? 'token-mean' }
  const lengths = examples.map(({ prompt, completionIds }) => policy.promptLength(prompt) + completionIds.length)
  const learn = async (tokens: number) => {
    const sums: SftLossSums[] = []
    const parts = microBatches(lengths, tokens).map((piece): MicroBatch<Prompt> => ({
      batch: {
        sequences: piece.map((index) => examples[index] as SftExample<Prompt>),
        temperature: 1,
        vocabulary: 'full',
      },
      loss: (scores) => {
        const result = sftLoss(scores, settings, denominators)
        sums.push(result.sums)
        return result
      },
    }))
    return { ...(await update(policy, parts, options)), sums }
  }
  const { gradNorm, applied, sums } = await clock.time('update', () => budget.fit(lengths, learn, discard(policy)))
  return {
    tokens: lengths.reduce((total, length) => total + length, 0),
    applied: applied ? 1 : 0,
    skipped: applied ? 0 : 1,
    metrics: { ...sftLossMetrics(addSftLossSums(sums)), grad_norm: gradNorm },
  }
}
