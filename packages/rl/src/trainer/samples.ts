/** What a policy wrote in one step, told per prompt. */
import type { RlExample } from '../types.js'
import type { CompletionSample, StepSamples } from './records.js'
import { sequenceAdvantages } from './rl-step.js'
import type { Rollout } from './rollout.js'

/** Joins completions with what became of them. */
export function stepSamples<Prompt>(
  { examples, completions, rewards, advantages }: Rollout<Prompt>,
  selected: readonly number[],
  groupSize: number,
  position: { readonly stage: string; readonly step: number; readonly globalStep: number },
): StepSamples<Prompt> {
  const uses = new Map<number, number>()
  for (const index of selected) uses.set(index, (uses.get(index) ?? 0) + 1)
  const perSequence = sequenceAdvantages(advantages)
  const all = completions.map(({ text, completionIds, finishReason }, index): CompletionSample => ({
    text,
    tokens: completionIds.length,
    finishReason,
    reward: rewards.rewards[index] ?? null,
    scores: Object.fromEntries(rewards.functions.map(({ name, scores }) => [name, scores[index] ?? null])),
    advantage: perSequence[index] as number,
    selected: uses.get(index) ?? 0,
  }))
  return {
    ...position,
    prompts: examples.map((example: RlExample<Prompt>, group) => ({
      example,
      completions: all.slice(group * groupSize, (group + 1) * groupSize),
    })),
  }
}
