/**
 * Sampler and learner are never quite the same function: another kernel, another precision, a server elsewhere. Importance
 * weights w = exp(log π_learner − log π_sampler), held constant, correct the policy term for it (Yao et al., "Your efficient
 * RL framework secretly brings you off-policy RL training", 2025; TRL `vllm_importance_sampling_*`, verl `rollout_is`).
 *
 * The caveat: with top-p or top-k the sampler renormalises over what it kept. Log-probs given here must be those of the
 * whole distribution at the sampling temperature; a server that reports the renormalised ones makes every w too small.
 */
import { MAX_LOG_RATIO } from './kl.js'

export interface MismatchCorrection {
  /** `token`: a weight per token. `sequence`: the product over the completion. `geometric`: its mean per token. */
  readonly level: 'token' | 'sequence' | 'geometric'
  /** `truncate`: weights are cut to the bounds (TIS). `mask`: what is outside them is left out (MIS, IcePop). */
  readonly mode: 'truncate' | 'mask'
  /** Upper bound. TRL: 3, verl: 2, IcePop: 5. */
  readonly max: number
  /** Lower bound. Default none. IcePop: 0.5. */
  readonly min?: number
}

export interface MismatchWeights {
  /** One per token. */
  readonly weights: Float64Array
  /** Log of the sequence's weight: Σ_t log w_t, or the one log w. */
  readonly logWeight: number
  /** Weights before the bounds: one per token, or one for the sequence. */
  readonly ratios: Float64Array
  /** Tokens whose weight was cut or that were left out. */
  readonly bounded: number
}

/** Throws a {@link RangeError} that names the setting when one cannot be used. */
export function checkCorrection({ max, min = 0 }: MismatchCorrection): void {
  if (!(max > 0 && max < Infinity)) throw new RangeError(`correction.max is ${max}; allowed: a finite number > 0.`)
  if (!(min >= 0 && min < max)) {
    throw new RangeError(`correction.min is ${min}; allowed: a number ≥ 0 and below correction.max (${max}).`)
  }
}

/** Importance weights of one completion. */
export function mismatchWeights(
  learner: ArrayLike<number>,
  sampler: ArrayLike<number>,
  { level, mode, max, min = 0 }: MismatchCorrection,
): MismatchWeights {
  const logs = Float64Array.from(learner, (value, t) => value - (sampler[t] as number))
  const { length } = logs
  const bound = (log: number) => {
    const ratio = Math.exp(Math.min(MAX_LOG_RATIO, Math.max(-MAX_LOG_RATIO, log)))
    const outside = ratio < min || ratio > max
    return { ratio, outside, weight: outside ? (mode === 'mask' ? 0 : Math.min(max, Math.max(min, ratio))) : ratio }
  }
  // TRL bounds log w at ln 1e-8, so that a masked sequence has a finite one.
  const logOf = (weight: number) => Math.max(Math.log(1e-8), Math.log(weight))
  if (level === 'token') {
    const all = Array.from(logs, bound)
    return {
      weights: Float64Array.from(all, ({ weight }) => weight),
      logWeight: all.reduce((sum, { weight }) => sum + logOf(weight), 0),
      ratios: Float64Array.from(all, ({ ratio }) => ratio),
      bounded: all.filter(({ outside }) => outside).length,
    }
  }
  const sum = logs.reduce((total, value) => total + value, 0)
  const { ratio, outside, weight } = bound(level === 'sequence' ? sum : sum / Math.max(1, length))
  return {
    weights: new Float64Array(length).fill(weight),
    logWeight: logOf(weight),
    ratios: Float64Array.of(ratio),
    bounded: outside ? length : 0,
  }
}

/**
 * Whether a sequence has drifted too far to be learnt from: A < 0 and mean_t(log π_sampler − log π) > threshold
 * (off-policy sequence masking, DeepSeek-V3.2, arXiv 2512.02556; TRL `off_policy_mask_threshold`, 0.5 suggested).
 */
export function isOffPolicy(
  logProbs: ArrayLike<number>,
  sampler: ArrayLike<number>,
  advantage: number,
  threshold: number,
): boolean {
  if (advantage >= 0 || logProbs.length === 0) return false
  let sum = 0
  for (let t = 0; t < logProbs.length; t++) sum += (sampler[t] as number) - (logProbs[t] as number)
  return sum / logProbs.length > threshold
}
