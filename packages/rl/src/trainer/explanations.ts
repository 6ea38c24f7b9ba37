/** Answers to what the first numbers of RL make people ask, from the settings that cause them. */
import type { MetricRecord } from './records.js'
import type { RlStage } from './stages.js'

const near = (value: unknown, target: number, tolerance: number) =>
  typeof value === 'number' && Math.abs(value - target) <= tolerance

/** Sentences about the record of a first rl step; only those that apply. */
export function firstStepNotes<Prompt>(stage: RlStage<Prompt>, record: MetricRecord): string[] {
  const { updatesPerStep = 1, innerEpochs = 1, groupSize, pad, correction, sampling } = stage
  const notes: string[] = []
  if (near(record['policy_loss'], 0, 0.05)) {
    notes.push(
      'The loss is near 0, and may stay there: advantages of a group sum to zero, so the value says nothing. ' +
        'Its gradient does (grad_norm). Watch reward.',
    )
  }
  if (updatesPerStep * innerEpochs === 1) {
    notes.push(
      'Clip ratios are 0 because the ratio is 1: with updatesPerStep 1 and innerEpochs 1 the policy that learns is the policy ' +
        'that sampled. They move with more updates per rollout.',
    )
  }
  const withoutSpread = record['frac_reward_zero_std']
  if (typeof withoutSpread === 'number' && withoutSpread > 0.5) {
    notes.push(
      `${Math.round(withoutSpread * 100)} % of the groups have ${groupSize} equal rewards and teach nothing. Problems are too easy or too ` +
        `hard, or the reward too coarse: choose other data, a larger groupSize, or dynamicSampling.`,
    )
  }
  if (near(record['kl'], 0, 1e-6)) {
    notes.push('KL is 0 in the first step: the policy is still its own reference.')
  }
  const above = record['pad/frac_above_high']
  if (pad && typeof above === 'number' && above > 0.02) {
    notes.push(
      `PAD's upper bound drops ${Math.round(above * 100)} % of the completions. With rewards of 0 and 1 these are the rare outcomes: ` +
        `right answers to hard problems. Leave pad.high out to keep them.`,
    )
  }
  const gap = record['sampling/sampling_logp_difference/mean']
  if (typeof gap === 'number' && gap > 0.02 && !correction) {
    const narrowed = (sampling.topP ?? 1) < 1 || (sampling.topK ?? 0) > 0
    notes.push(
      `Sampler and learner differ by ${gap.toPrecision(2)} nats per token, more than rounding. ` +
        (narrowed ? 'With topP or topK a sampler may report log-probs of what it kept alone. ' : '') +
        'Check the temperature and the log-probs of the sampler, or set correction.',
    )
  }
  return notes
}
