/**
 * Estimates of KL(policy ‖ reference) from one sampled token (Schulman, "Approximating KL divergence", 2020). With
 * d = log π − log π_ref: k1 = d, k2 = d²/2, k3 = e^(−d) + d − 1.
 */
export type KlEstimator = 'k1' | 'k2' | 'k3'

export interface KlTerm {
  readonly value: number
  /** Derivative with respect to the policy's log-prob. */
  readonly gradient: number
}

/** |log-ratio| beyond which exponentials are held constant, as in EasyR1, verl and OpenRLHF. */
export const MAX_LOG_RATIO = 20

/**
 * One token's estimate.
 * @param maxValue values beyond ± this are cut off, and then have no gradient (10 in verl and EasyR1); absent: no bound
 */
export function klTerm(estimator: KlEstimator, logProb: number, reference: number, maxValue = Infinity): KlTerm {
  const difference = logProb - reference
  let value: number
  let gradient: number
  switch (estimator) {
    case 'k1':
      value = difference
      gradient = 1
      break
    case 'k2':
      value = 0.5 * difference * difference
      gradient = difference
      break
    case 'k3': {
      const clamped = Math.min(MAX_LOG_RATIO, Math.max(-MAX_LOG_RATIO, -difference))
      const ratio = Math.exp(clamped)
      value = ratio - clamped - 1
      gradient = clamped === -difference ? 1 - ratio : 0
      break
    }
  }
  if (Math.abs(value) > maxValue) return { value: Math.sign(value) * maxValue, gradient: 0 }
  return { value, gradient }
}
