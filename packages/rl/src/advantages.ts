/**
 * GRPO advantages: how much better a completion did than the others of its prompt. A_i = (r_i − mean_g) / (std + ε)
 * (DeepSeekMath, arXiv 2402.03300, section 4.1). Other estimators are in `estimators.ts`.
 */
import { maximum, mean, standardDeviation } from './statistics.js'

export interface AdvantageOptions {
  /** ε. Default 1e-6, the value of EasyR1 and verl (TRL: 1e-4, OpenRLHF: 1e-9, open-instruct: 1e-8). */
  readonly epsilon?: number
  /** Divisor n − ddof of the variance. Default 1, as TRL, verl, EasyR1 and OpenRLHF have it (open-instruct: 0). */
  readonly ddof?: 0 | 1
  /**
   * Whose standard deviation divides. `group`: GRPO, the default. `batch`: that of all rewards (Lite PPO, arXiv 2508.08221;
   * TRL `scale_rewards="batch"`). `none`: nothing divides (Dr. GRPO, arXiv 2503.20783; TRL `scale_rewards="none"`).
   */
  readonly scale?: 'group' | 'batch' | 'none'
}

/** Statistics of one group over its scored members. */
export interface GroupStatistics {
  /** Members with a reward. */
  readonly scored: number
  /** NaN when nothing was scored. */
  readonly mean: number
  /** 0 when fewer than two were scored, or when the rewards differ by floating-point noise only. */
  readonly std: number
}

export interface GroupAdvantages {
  /** One per completion. 0 for null rewards and for groups without spread. */
  readonly advantages: readonly number[]
  readonly groups: readonly GroupStatistics[]
}

/** Rewards that differ by less than this share of their size are the same reward. */
const RELATIVE_NOISE = 1e-10

function statistics(rewards: readonly number[], ddof: 0 | 1): GroupStatistics {
  if (rewards.length === 0) return { scored: 0, mean: NaN, std: 0 }
  const std = standardDeviation(rewards, ddof)
  const scale = Math.max(1, maximum(rewards.map(Math.abs)))
  return { scored: rewards.length, mean: mean(rewards), std: std <= RELATIVE_NOISE * scale ? 0 : std }
}

/**
 * Statistics of groups of `groupSize` consecutive completions, over their members with a reward.
 *
 * @throws {RangeError} for a group size below 2, a ragged last group, or a reward that is not finite
 */
export function groupStatistics(
  rewards: readonly (number | null)[],
  groupSize: number,
  ddof: 0 | 1 = 1,
): readonly GroupStatistics[] {
  if (!Number.isInteger(groupSize) || groupSize < 2) {
    throw new RangeError(
      `Group size is ${groupSize}; allowed: an integer ≥ 2. GRPO compares completions of one prompt with each other, so sample at least two.`,
    )
  }
  if (rewards.length % groupSize !== 0) {
    throw new RangeError(
      `${rewards.length} rewards do not fill groups of ${groupSize}; give one reward (or null) per completion.`,
    )
  }
  const wrong = rewards.findIndex((reward) => reward !== null && !Number.isFinite(reward))
  if (wrong >= 0) throw new RangeError(`Reward ${wrong} is ${rewards[wrong]}; allowed: finite numbers and null.`)
  return Array.from({ length: rewards.length / groupSize }, (_, group) =>
    statistics(
      rewards.slice(group * groupSize, (group + 1) * groupSize).filter((reward) => reward !== null),
      ddof,
    ),
  )
}

/**
 * Advantages within groups of `groupSize` consecutive completions.
 *
 * @param rewards one per completion, groups end to end; null rewards count for nothing and get advantage 0
 * @throws {RangeError} for a group size below 2, a ragged last group, or a reward that is not finite
 */
export function groupAdvantages(
  rewards: readonly (number | null)[],
  groupSize: number,
  { epsilon = 1e-6, ddof = 1, scale = 'group' }: AdvantageOptions = {},
): GroupAdvantages {
  const groups = groupStatistics(rewards, groupSize, ddof)
  const batch = statistics(
    rewards.filter((reward) => reward !== null),
    ddof,
  )
  const divisors = { group: 0, batch: batch.std + epsilon, none: 1 }
  const advantages = rewards.map((reward, index) => {
    const group = groups[Math.floor(index / groupSize)] as GroupStatistics
    if (reward === null || group.std === 0) return 0
    return (reward - group.mean) / (scale === 'group' ? group.std + epsilon : divisors[scale])
  })
  return { advantages, groups }
}

/**
 * `reward`: mean over scored completions. `reward_std`: mean over groups of their standard deviation.
 * `frac_reward_zero_std`: share of groups without spread, which teach nothing. Names and meanings follow TRL.
 * Values that do not exist (nothing scored) are left out.
 */
export function groupRewardMetrics(
  rewards: readonly (number | null)[],
  groups: readonly GroupStatistics[],
): { readonly [metric: string]: number } {
  const scored = rewards.filter((reward) => reward !== null)
  const spread = groups.filter((group) => group.scored > 0).map((group) => group.std)
  return {
    ...(scored.length > 0 ? { reward: mean(scored), reward_std: mean(spread) } : {}),
    frac_reward_zero_std: mean(groups.map((group) => (group.std === 0 ? 1 : 0))),
  }
}
