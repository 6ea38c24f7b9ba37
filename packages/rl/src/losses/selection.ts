/**
 * Which tokens of an optimizer batch the policy term is made of. Both rules compare tokens of the whole batch with each
 * other, so they run on all of it before it is cut into micro-batches, and the gradient does not depend on the cut.
 */
import type { Random } from '../random.js'
import { shuffle } from '../random.js'
import type { TokenValues } from './aggregation.js'

const flat = (values: TokenValues): number[] => values.flatMap((row) => Array.from(row))

/** Quantile with linear interpolation between the two nearest values, as numpy and torch have it. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const position = share * (sorted.length - 1)
  const below = Math.floor(position)
  const low = sorted[below] as number
  const high = sorted[Math.min(below + 1, sorted.length - 1)] as number
  return low + (high - low) * (position - below)
}

/**
 * 1 for the `share` of tokens with the highest entropy, 0 for the others ("Beyond the 80/20 rule", arXiv 2506.01939, section 5,
 * share 0.2; TRL `top_entropy_quantile`).
 *
 * @param round applied to the threshold. `Math.fround` reproduces TRL, which takes the quantile in float32
 */
export function highEntropyMask(
  entropies: TokenValues,
  share: number,
  round: (value: number) => number = (value) => value,
): Float64Array[] {
  if (!(share > 0 && share <= 1)) {
    throw new RangeError(`highEntropyShare is ${share}; allowed: above 0, at most 1.`)
  }
  const all = flat(entropies)
  if (all.length === 0) return entropies.map(() => new Float64Array(0))
  const threshold = round(quantile(all, 1 - share))
  return entropies.map((row) => Float64Array.from(row, (entropy) => (entropy >= threshold ? 1 : 0)))
}

/** (A − mean A)·(log π − mean log π) of every token, means over all tokens (arXiv 2505.22617, section 4.1). */
export function tokenCovariances(
  logProbs: TokenValues,
  advantages: readonly (number | ArrayLike<number>)[],
): Float64Array[] {
  const perToken = logProbs.map((row, index) => {
    const advantage = advantages[index] as number | ArrayLike<number>
    return Float64Array.from(row, (_, t) => (typeof advantage === 'number' ? advantage : (advantage[t] as number)))
  })
  const meanOf = (values: TokenValues) => {
    const all = flat(values)
    return all.reduce((sum, value) => sum + value, 0) / all.length
  }
  const [meanAdvantage, meanLogProb] = [meanOf(perToken), meanOf(logProbs)]
  return perToken.map((row, index) =>
    row.map((advantage, t) => (advantage - meanAdvantage) * ((logProbs[index]?.[t] as number) - meanLogProb)),
  )
}

/** `clip-cov` draws among tokens with a covariance in (lower, upper); `kl-cov` takes those with the highest. */
export type CovarianceRule =
  | { readonly kind: 'clip-cov'; readonly share?: number; readonly lower?: number; readonly upper?: number }
  | { readonly kind: 'kl-cov'; readonly share?: number }

/**
 * 1 for the tokens that Clip-Cov leaves out or KL-Cov holds back, 0 for the others: max(1, ⌊share · tokens⌋) of them, where
 * there are so many. Defaults of verl: share 0.0002, lower 1, upper 5.
 *
 * @param random the draw's own stream; Clip-Cov alone uses it
 */
export function selectCovariance(
  logProbs: TokenValues,
  advantages: readonly (number | ArrayLike<number>)[],
  rule: CovarianceRule,
  random: Random,
): Float64Array[] {
  const { share = 0.0002 } = rule
  const covariances = tokenCovariances(logProbs, advantages)
  const all = covariances.flatMap((row, index) => Array.from(row, (covariance, t) => ({ covariance, index, t })))
  const count = Math.max(1, Math.floor(share * all.length))
  let chosen
  if (rule.kind === 'clip-cov') {
    const { lower = 1, upper = 5 } = rule
    const candidates = all.filter(({ covariance }) => covariance > lower && covariance < upper)
    chosen = candidates.length <= count ? candidates : shuffle(candidates, random).slice(0, count)
  } else {
    chosen = [...all].sort((a, b) => b.covariance - a.covariance || a.index - b.index || a.t - b.t).slice(0, count)
  }
  const picked = logProbs.map(({ length }) => new Float64Array(length))
  for (const { index, t } of chosen) (picked[index] as Float64Array)[t] = 1
  return picked
}
