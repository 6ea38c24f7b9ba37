/**
 * Estimates of KL(policy ‖ reference) from one sampled token (Schulman, "Approximating KL divergence", 2020). With
 * d = log π − log π_ref:
 *
 * | name                  | value            | gradient         | elsewhere                                                |
 * | --------------------- | ---------------- | ---------------- | -------------------------------------------------------- |
 * | `k1`                  | d                | 1                | verl, EasyR1 `kl`; the usual one inside a reward         |
 * | `k2`                  | d²/2             | d                | `mse`; unbiased gradient                                 |
 * | `k3`                  | e^(−d) + d − 1   | 1 − e^(−d)       | `low_var_kl`; TRL's only one; unbiased value             |
 * | `abs`                 | \|d\|            | sign d           | verl, EasyR1 `abs`                                       |
 * | `k1-straight-through` | of k1            | of k2            | verl `k1+`: unbiased value and unbiased gradient         |
 * | `k3-straight-through` | of k3            | of k2            | verl `k3+`                                               |
 *
 * As a loss on sampled tokens, k1 has no expected gradient at all (score-function identity), and that of k3 is biased.
 */
export const klEstimators = ['k1', 'k2', 'k3', 'abs', 'k1-straight-through', 'k3-straight-through'] as const
export type KlEstimator = (typeof klEstimators)[number]

export interface KlTerm {
  readonly value: number
  /** Derivative with respect to the policy's log-prob. */
  readonly gradient: number
}

/** |log-ratio| beyond which exponentials are held constant, as in EasyR1, verl and OpenRLHF. */
export const MAX_LOG_RATIO = 20

const exact = (value: number) => value

function k3(difference: number, round: (value: number) => number): KlTerm {
  const clamped = Math.min(MAX_LOG_RATIO, Math.max(-MAX_LOG_RATIO, -difference))
  const ratio = round(Math.exp(clamped))
  return { value: round(round(ratio - clamped) - 1), gradient: clamped === -difference ? round(1 - ratio) : 0 }
}

/**
 * One token's estimate.
 * @param maxValue values beyond ± this are cut off, and then have no gradient (10 in verl and EasyR1); absent: no bound
 * @param round applied to inputs and after every operation. `Math.fround` reproduces EasyR1, which casts to float32 here
 */
export function klTerm(
  estimator: KlEstimator,
  logProb: number,
  reference: number,
  maxValue = Infinity,
  round: (value: number) => number = exact,
): KlTerm {
  const difference = round(round(logProb) - round(reference))
  const squared = round(0.5 * round(difference * difference))
  let term: KlTerm
  switch (estimator) {
    case 'k1':
      term = { value: difference, gradient: 1 }
      break
    case 'k2':
      term = { value: squared, gradient: difference }
      break
    case 'k3':
      term = k3(difference, round)
      break
    case 'abs':
      term = { value: Math.abs(difference), gradient: Math.sign(difference) }
      break
    case 'k1-straight-through':
      term = { value: difference, gradient: difference }
      break
    case 'k3-straight-through':
      term = { value: k3(difference, round).value, gradient: difference }
      break
  }
  const { value } = term
  return Math.abs(value) > maxValue ? { value: Math.sign(value) * maxValue, gradient: 0 } : term
}

/**
 * The controller that keeps the KL near a target (Ziegler et al., arXiv 1909.08593, section 2.2; verl and EasyR1 `adaptive`):
 * β ← β · (1 + clip(KL/target − 1, ±0.2) · n/horizon). EasyR1 and verl forget β at a resume; here it is in the checkpoint.
 */
export interface AdaptiveKl {
  /** KL in nats per token to stay near. verl's default: 0.1. */
  readonly target: number
  /** Completions over which a full correction is spread. verl's default: 10 000. */
  readonly horizon: number
}

/**
 * β after `completions` completions whose mean KL was `kl`.
 * @throws {RangeError} for a target or horizon that is not positive
 */
export function adaptedKlCoefficient(
  coefficient: number,
  kl: number,
  completions: number,
  { target, horizon }: AdaptiveKl,
): number {
  if (!(target > 0 && horizon > 0)) {
    throw new RangeError(`kl.adaptive has target ${target} and horizon ${horizon}; allowed: numbers > 0.`)
  }
  const error = Math.min(0.2, Math.max(-0.2, kl / target - 1))
  return coefficient * (1 + (error * completions) / horizon)
}
