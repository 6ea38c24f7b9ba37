/** The first half of an rl step: prompts in, completions with rewards and advantages out. Nothing here changes the policy. */
import { groupAdvantages, groupRewardMetrics } from '../advantages.js'
import { deriveSeed } from '../random.js'
import { rewardFunctionMetrics, type CombinedRewards } from '../rewards/scores.js'
import { maximum, mean, minimum } from '../statistics.js'
import type { Completion, Policy, RewardBatch, RlExample } from '../types.js'
import type { Clock } from './clock.js'
import type { RlStage } from './stages.js'

export interface Rollout<Prompt> {
  readonly examples: readonly RlExample<Prompt>[]
  /** Groups end to end, `groupSize` each. */
  readonly completions: readonly Completion[]
  readonly rewards: CombinedRewards
  readonly advantages: readonly number[]
  readonly metrics: { readonly [metric: string]: number }
}

/** Where in the run a step is; random draws and messages are labelled with it. */
export interface StepPosition {
  readonly seed: number
  /** Counted from 1 within the stage. */
  readonly step: number
}

/** TRL's names: `completions/*_length`, those of completions that ended by themselves, and the share cut off by `maxTokens`. */
function lengthMetrics(completions: readonly Completion[]): { readonly [metric: string]: number } {
  const describe = (name: string, lengths: readonly number[]) =>
    lengths.length === 0
      ? {}
      : {
          [`completions/mean_${name}`]: mean(lengths),
          [`completions/min_${name}`]: minimum(lengths),
          [`completions/max_${name}`]: maximum(lengths),
        }
  const terminated = completions.filter(({ finishReason }) => finishReason === 'stop')
  const lengthsOf = (some: readonly Completion[]) => some.map(({ completionIds }) => completionIds.length)
  return {
    ...describe('length', lengthsOf(completions)),
    ...describe('terminated_length', lengthsOf(terminated)),
    'completions/clipped_ratio': 1 - terminated.length / completions.length,
  }
}

async function sample<Prompt>(
  policy: Policy<Prompt>,
  stage: RlStage<Prompt>,
  examples: readonly RlExample<Prompt>[],
  { seed, step }: StepPosition,
  signal: AbortSignal | undefined,
): Promise<Completion[]> {
  const requests = examples.map(({ prompt }, index) => ({
    prompt,
    n: stage.groupSize,
    seed: deriveSeed(seed, 'sample', stage.name, step, index),
  }))
  const completions = await policy.sample(requests, { ...stage.sampling, ...(signal ? { signal } : {}) })
  signal?.throwIfAborted()
  const { groupSize } = stage
  const misplaced = completions.findIndex(
    ({ requestIndex, sampleIndex }, index) => requestIndex * groupSize + sampleIndex !== index,
  )
  if (completions.length !== examples.length * groupSize || misplaced >= 0) {
    throw new Error(
      `policy.sample returned ${completions.length} completions for ${examples.length} prompts × ${groupSize}` +
        `${misplaced >= 0 ? `, number ${misplaced} out of order` : ''}; return them all, ordered by (requestIndex, sampleIndex).`,
    )
  }
  return completions
}

/** Samples a group per prompt, scores it, and computes advantages. @throws when `signal` is aborted meanwhile */
export async function rollOut<Prompt>(
  policy: Policy<Prompt>,
  stage: RlStage<Prompt>,
  examples: readonly RlExample<Prompt>[],
  position: StepPosition,
  promptText: (example: RlExample<Prompt>) => string,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<Rollout<Prompt>> {
  const completions = await clock.time('sample', () => sample(policy, stage, examples, position, signal))
  const exampleOf = ({ requestIndex }: Completion) => examples[requestIndex] as RlExample<Prompt>
  const batch: RewardBatch = {
    prompts: completions.map((completion) => promptText(exampleOf(completion))),
    completions: completions.map(({ text }) => text),
    completionLengths: completions.map(({ completionIds }) => completionIds.length),
    finishReasons: completions.map(({ finishReason }) => finishReason),
    rows: completions.map((completion) => exampleOf(completion).row),
    step: position.step,
  }
  const rewards = await clock.time('reward', () => stage.rewards.score(batch))
  signal?.throwIfAborted()
  const { advantages, groups } = groupAdvantages(
    rewards.rewards,
    stage.groupSize,
    stage.advantageEpsilon === undefined ? {} : { epsilon: stage.advantageEpsilon },
  )
  return {
    examples,
    completions,
    rewards,
    advantages,
    metrics: {
      ...groupRewardMetrics(rewards.rewards, groups),
      ...rewardFunctionMetrics(rewards.functions),
      ...lengthMetrics(completions),
    },
  }
}
