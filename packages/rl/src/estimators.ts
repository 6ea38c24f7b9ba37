/**
 * Advantage estimators as pure functions: rewards of completions in, advantages out. All but REINFORCE++ and GDPO compare a
 * completion with the others of its prompt alone. A `null` reward stays out of every mean and gets advantage 0, and groups
 * whose rewards differ by floating-point noise only have no advantage, in all of them.
 */
import { groupAdvantages, groupStatistics, type AdvantageOptions, type GroupStatistics } from './advantages.js'
import { mean, standardDeviation, sum } from './statistics.js'

type Rewards = readonly (number | null)[]

/** Per completion, or per token of each completion. */
export type Advantages = readonly (number | Float64Array)[]

/** r − mean_g, 0 where there is nothing to compare. */
function centred(rewards: Rewards, groups: readonly GroupStatistics[], groupSize: number): number[] {
  return rewards.map((reward, index) => {
    const group = groups[Math.floor(index / groupSize)] as GroupStatistics
    return reward === null || group.std === 0 ? 0 : reward - group.mean
  })
}

/** Applies a function to every group of rewards. */
function byGroup(
  rewards: Rewards,
  groupSize: number,
  advantages: (group: Rewards, statistics: GroupStatistics, first: number) => readonly number[],
): number[] {
  return groupStatistics(rewards, groupSize).flatMap((statistics, group) => {
    const first = group * groupSize
    const own = rewards.slice(first, first + groupSize)
    return statistics.std === 0 ? own.map(() => 0) : advantages(own, statistics, first)
  })
}

/**
 * RLOO: r − mean of the others = n/(n − 1) · (r − mean_g) (arXiv 2402.14740; verl, EasyR1 `rloo`; TRL's RLOOTrainer).
 * @param normalize divides by the batch: (A − mean)/(std + 1e-4), TRL `normalize_advantages`. Default false
 */
export function rlooAdvantages(rewards: Rewards, groupSize: number, normalize = false): number[] {
  const raw = byGroup(rewards, groupSize, (group, { scored }) => {
    const total = sum(group.filter((reward) => reward !== null))
    return group.map((reward) => (reward === null ? 0 : reward - (total - reward) / (scored - 1)))
  })
  if (!normalize) return raw
  const scored = raw.filter((_, index) => rewards[index] !== null)
  const [centre, std] = [mean(scored), standardDeviation(scored)]
  return raw.map((advantage, index) => (rewards[index] === null ? 0 : (advantage - centre) / (std + 1e-4)))
}

/** Whitened over all tokens of all sequences: (x − mean)/√(var + 1e-8), var with ddof 1. Sequences that are null stay out. */
function whitenTokens(values: readonly (Float64Array | null)[], epsilon = 0): Float64Array[] {
  const all = values.flatMap((row) => (row ? Array.from(row) : []))
  if (all.length < 2) return values.map((row) => new Float64Array(row?.length ?? 0))
  const centre = sum(all) / (all.length + epsilon)
  const squares = sum(all.map((value) => (value - centre) ** 2)) / (all.length + epsilon)
  const scale = 1 / Math.sqrt((squares * all.length) / (all.length - 1) + 1e-8)
  return values.map((row) => (row ? row.map((value) => (value - centre) * scale) : new Float64Array(0)))
}

/** Fills the rows of completions without a reward with zeros of their length. */
const withZeros = (rows: readonly Float64Array[], rewards: Rewards, lengths: readonly number[]) =>
  rows.map((row, index) => (rewards[index] === null ? new Float64Array(lengths[index] as number) : row))

/**
 * REINFORCE++: returns to go of rewards given at the last token, whitened over all tokens of the batch (arXiv 2501.03262,
 * verl and EasyR1 `reinforce_plus_plus`). With γ = 1 and no penalties all tokens of a completion have one advantage.
 *
 * @param lengths tokens of each completion
 * @param penalties subtracted at each token, such as β·KL
 * @param options γ, default 1; `epsilon` is added to token counts (EasyR1: 1e-8)
 */
export function reinforcePlusPlusAdvantages(
  rewards: Rewards,
  lengths: readonly number[],
  penalties?: readonly ArrayLike<number>[],
  { gamma = 1, epsilon = 0 }: { readonly gamma?: number; readonly epsilon?: number } = {},
): Float64Array[] {
  const returns = rewards.map((reward, index) => {
    if (reward === null) return null
    const row = new Float64Array(lengths[index] as number)
    let running = 0
    for (let t = row.length - 1; t >= 0; t--) {
      running = gamma * running + (t === row.length - 1 ? reward : 0) - (penalties?.[index]?.[t] ?? 0)
      row[t] = running
    }
    return row
  })
  return withZeros(whitenTokens(returns, epsilon), rewards, lengths)
}

/** REINFORCE++ with a baseline: r − mean_g at every token, then whitened over tokens (same paper; verl `…_baseline`). */
export function reinforcePlusPlusBaselineAdvantages(
  rewards: Rewards,
  groupSize: number,
  lengths: readonly number[],
): Float64Array[] {
  const raw = centred(rewards, groupStatistics(rewards, groupSize), groupSize)
  const rows = raw.map((value, index) =>
    rewards[index] === null ? null : new Float64Array(lengths[index] as number).fill(value),
  )
  return withZeros(whitenTokens(rows), rewards, lengths)
}

/**
 * ReMax: r − reward of the greedy completion of the same prompt (arXiv 2310.10505).
 * @param greedy one per prompt; null takes the prompt out
 */
export function remaxAdvantages(rewards: Rewards, groupSize: number, greedy: Rewards): number[] {
  if (greedy.length * groupSize !== rewards.length) {
    throw new RangeError(
      `${greedy.length} greedy rewards for ${rewards.length} rewards in groups of ${groupSize}; give one per prompt.`,
    )
  }
  return rewards.map((reward, index) => {
    const baseline = greedy[Math.floor(index / groupSize)] ?? null
    return reward === null || baseline === null ? 0 : reward - baseline
  })
}

/** OPO: r − Σ(length·r)/Σ length in the group (arXiv 2505.23585; verl `opo`). */
export function opoAdvantages(rewards: Rewards, groupSize: number, lengths: readonly number[]): number[] {
  return byGroup(rewards, groupSize, (group, _, first) => {
    const weights = group.map((reward, index) => (reward === null ? 0 : (lengths[first + index] as number)))
    const baseline = sum(group.map((reward, index) => (reward ?? 0) * (weights[index] as number))) / sum(weights)
    return group.map((reward) => (reward === null ? 0 : reward - baseline))
  })
}

/** GPG: α·(r − mean_g), α = completions / completions whose reward is not 0 (arXiv 2504.02546; verl `gpg`). */
export function gpgAdvantages(rewards: Rewards, groupSize: number): number[] {
  const scored = rewards.filter((reward) => reward !== null)
  const alpha = scored.length / Math.max(1, scored.filter((reward) => reward !== 0).length)
  return centred(rewards, groupStatistics(rewards, groupSize), groupSize).map((advantage) => alpha * advantage)
}

/**
 * Pass@k training: the best completion of a group gets (r₁ − r₂)/(std_g + ε), the others 0 (arXiv 2503.19595; verl and
 * EasyR1 `grpo_passk`). The first of equals is the best, and gets 0.
 */
export function passAtKAdvantages(rewards: Rewards, groupSize: number, { epsilon = 1e-6 } = {}): number[] {
  return byGroup(rewards, groupSize, (group, { std }) => {
    const ranked = group.flatMap((reward, index) => (reward === null ? [] : [{ reward, index }]))
    ranked.sort((a, b) => b.reward - a.reward || a.index - b.index)
    const [best, second] = ranked
    const advantage = best && second ? (best.reward - second.reward) / (std + epsilon) : 0
    return group.map((_, index) => (index === best?.index ? advantage : 0))
  })
}

/** MaxRL: (r − mean_g)/mean_g, 0 where the mean is not positive (arXiv 2602.02710; prime-rl `max_rl`). For rewards ≥ 0. */
export function maxRlAdvantages(rewards: Rewards, groupSize: number): number[] {
  return byGroup(rewards, groupSize, (group, { mean: centre }) =>
    group.map((reward) => (reward === null || centre <= 0 ? 0 : (reward - centre) / centre)),
  )
}

/** One reward function of several. */
export interface RewardComponent {
  readonly weight: number
  readonly scores: Rewards
}

export interface GdpoOptions {
  /** Added to standard deviations. Default 1e-4 (TRL). */
  readonly epsilon?: number
  /** What the weighted sum is whitened over: TRL's completions (default), or verl's tokens. They differ where lengths do. */
  readonly whiten?: 'sequences' | 'tokens'
}

/**
 * GDPO: every reward normalised within its group on its own, then their weighted sum whitened over the batch (arXiv
 * 2601.05242; TRL `multi_objective_aggregation="normalize_then_sum"`, verl `gdpo`).
 * @param lengths tokens of each completion; `whiten: 'tokens'` reads them
 */
export function gdpoAdvantages(
  components: readonly RewardComponent[],
  groupSize: number,
  lengths: readonly number[],
  { epsilon = 1e-4, whiten = 'sequences' }: GdpoOptions = {},
): Advantages {
  const [first] = components
  if (!first) throw new RangeError('GDPO needs at least one reward.')
  const parts = components.map(({ weight, scores }) => ({
    weight,
    values: groupAdvantages(scores, groupSize, { epsilon }).advantages,
  }))
  const applies = first.scores.map((_, index) => components.some(({ scores }) => scores[index] !== null))
  const totals = applies.map((_, index) => sum(parts.map(({ weight, values }) => weight * (values[index] as number))))
  if (whiten === 'tokens') {
    const rows = totals.map((total, index) =>
      applies[index] ? new Float64Array(lengths[index] as number).fill(total) : null,
    )
    return withZeros(
      whitenTokens(rows),
      applies.map((one) => (one ? 0 : null)),
      lengths,
    )
  }
  const counted = totals.filter((_, index) => applies[index])
  const [centre, std] = [mean(counted), standardDeviation(counted)]
  return totals.map((total, index) => (applies[index] && std > 0 ? (total - centre) / (std + epsilon) : 0))
}

/** How a stage estimates advantages. Defaults are those of the functions above. */
export type AdvantageEstimator =
  | ({ readonly kind: 'grpo' } & AdvantageOptions)
  | ({ readonly kind: 'gdpo' } & GdpoOptions)
  | { readonly kind: 'rloo'; readonly normalize?: boolean }
  | { readonly kind: 'reinforce-plus-plus'; readonly gamma?: number }
  | { readonly kind: 'reinforce-plus-plus-baseline' }
  | { readonly kind: 'remax' }
  | { readonly kind: 'opo' }
  | { readonly kind: 'gpg' }
  | { readonly kind: 'pass-at-k'; readonly epsilon?: number }
  | { readonly kind: 'max-rl' }

/** What estimators read. Groups end to end. */
export interface AdvantageInputs {
  readonly rewards: Rewards
  readonly groupSize: number
  /** Tokens of each completion. */
  readonly lengths: readonly number[]
  /** The rewards by function; GDPO reads them. */
  readonly components: readonly RewardComponent[]
  /** Rewards of greedy completions, one per prompt; ReMax reads them. */
  readonly greedy?: Rewards
  /** β·KL per token, for a KL term inside the reward; subtracted per token by REINFORCE++, as a sum by the others. */
  readonly penalties?: readonly ArrayLike<number>[]
}

const total = (values: ArrayLike<number>) => sum(Array.from(values))

/** Advantages by any estimator. */
export function estimateAdvantages(estimator: AdvantageEstimator, inputs: AdvantageInputs): Advantages {
  const { groupSize, lengths, components, greedy, penalties } = inputs
  const penalised = () =>
    penalties
      ? inputs.rewards.map((reward, index) =>
          reward === null ? null : reward - total(penalties[index] as ArrayLike<number>),
        )
      : inputs.rewards
  switch (estimator.kind) {
    case 'grpo':
      return groupAdvantages(penalised(), groupSize, estimator).advantages
    case 'gdpo':
      return gdpoAdvantages(components, groupSize, lengths, estimator)
    case 'rloo':
      return rlooAdvantages(penalised(), groupSize, estimator.normalize)
    case 'reinforce-plus-plus':
      return reinforcePlusPlusAdvantages(inputs.rewards, lengths, penalties, estimator)
    case 'reinforce-plus-plus-baseline':
      return reinforcePlusPlusBaselineAdvantages(penalised(), groupSize, lengths)
    case 'remax':
      if (!greedy) throw new RangeError('ReMax needs the rewards of greedy completions; give them.')
      return remaxAdvantages(penalised(), groupSize, greedy)
    case 'opo':
      return opoAdvantages(penalised(), groupSize, lengths)
    case 'gpg':
      return gpgAdvantages(penalised(), groupSize)
    case 'pass-at-k':
      return passAtKAdvantages(penalised(), groupSize, estimator)
    case 'max-rl':
      return maxRlAdvantages(penalised(), groupSize)
  }
}
