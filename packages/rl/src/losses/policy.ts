/**
 * The clipped policy-gradient loss at the log-prob boundary, with its gradient written out. Per token, with
 * ρ = exp(log π − log π_old) and sequence advantage A:
 *
 *   L = max(−ρA, −clip(ρ, 1 − low, 1 + high)·A)      PPO (arXiv 1707.06347); asymmetric clip: DAPO (arXiv 2503.14476)
 *   L = min(L, −dual·A) where A < 0                  dual clip (arXiv 1912.09729)
 *   L += β · KL(π ‖ π_ref)                           as GRPO puts it (arXiv 2402.03300)
 *
 * aggregated by global denominators, minus c times the mean token entropy. All sums that become metrics are returned as sums,
 * so they too add up over micro-batches.
 */
import {
  checkDenominators,
  checkSameShape,
  tokenWeight,
  type Aggregation,
  type Denominators,
  type TokenValues,
} from './aggregation.js'
import { klTerm, MAX_LOG_RATIO, type KlEstimator } from './kl.js'

export interface ClipSettings {
  /** ρ is not rewarded below 1 − low. */
  readonly low: number
  /** ρ is not rewarded above 1 + high. */
  readonly high: number
  /** Bound, > 1, on the loss of tokens with negative advantage, in multiples of |A|. Absent: none. */
  readonly dual?: number
}

export interface KlSettings {
  readonly estimator: KlEstimator
  /** β. */
  readonly coefficient: number
  /** Estimates beyond ± this are cut off. Absent: no bound. */
  readonly maxValue?: number
}

export interface EntropySettings {
  readonly coefficient: number
  /**
   * `true-entropy` differentiates the entropy of the full distribution. `sampled-logprob` uses −log π of the sampled
   * token, as the released code of ReVisual-R1 does; on-policy its expected gradient is zero, so it is for reproduction only.
   */
  readonly kind: 'true-entropy' | 'sampled-logprob'
}

export interface PolicyLossSettings {
  readonly clip: ClipSettings
  readonly aggregation: Aggregation
  readonly kl?: KlSettings
  readonly entropy?: EntropySettings
}

/** Arrays are [sequences][completion tokens]; advantages [sequences]. */
export interface PolicyLossInputs {
  readonly logProbs: TokenValues
  readonly entropies: TokenValues
  readonly advantages: readonly number[]
  /** Log-probs of the policy that sampled. Absent: the present policy did, so ρ is 1 and its gradient that of log π. */
  readonly oldLogProbs?: TokenValues
  readonly referenceLogProbs?: TokenValues
}

/** Additive over micro-batches. */
export interface PolicyLossSums {
  readonly tokens: number
  readonly sequences: number
  /** Share of this micro-batch in the loss of the whole batch. */
  readonly loss: number
  /** The same without KL and entropy. */
  readonly policyLoss: number
  /** Tokens with A < 0 and ρ < 1 − low. */
  readonly clippedLow: number
  /** Tokens with A > 0 and ρ > 1 + high. */
  readonly clippedHigh: number
  /** Tokens whose loss the dual clip bounds. */
  readonly clippedDual: number
  /** Σ of the KL estimates over tokens. */
  readonly kl: number
  /** Tokens that had a reference. */
  readonly klTokens: number
  /** Σ of entropies over tokens. */
  readonly entropy: number
}

export interface PolicyLossResult {
  readonly loss: number
  /** ∂loss/∂log π, per token. */
  readonly logProbGradients: readonly Float64Array[]
  /** ∂loss/∂H, per token; absent when the true entropy is not in the loss. */
  readonly entropyGradients?: readonly Float64Array[]
  readonly sums: PolicyLossSums
}

const zeroSums: PolicyLossSums = {
  tokens: 0,
  sequences: 0,
  loss: 0,
  policyLoss: 0,
  clippedLow: 0,
  clippedHigh: 0,
  clippedDual: 0,
  kl: 0,
  klTokens: 0,
  entropy: 0,
}

/** Throws a {@link RangeError} that names the setting when one cannot be used. */
export function checkPolicyLossSettings({ clip, kl, entropy }: PolicyLossSettings): void {
  const refuse = (name: string, value: number, allowed: string) => {
    throw new RangeError(`Policy loss: ${name} is ${value}; allowed: ${allowed}.`)
  }
  if (!(clip.low >= 0 && clip.low <= 1)) refuse('clip.low', clip.low, '0 to 1')
  if (!(clip.high >= 0)) refuse('clip.high', clip.high, 'a number ≥ 0')
  if (clip.dual !== undefined && !(clip.dual > 1)) refuse('clip.dual', clip.dual, 'a number > 1, or absent')
  if (kl && !(kl.coefficient >= 0)) refuse('kl.coefficient', kl.coefficient, 'a number ≥ 0')
  if (kl?.maxValue !== undefined && !(kl.maxValue > 0)) refuse('kl.maxValue', kl.maxValue, 'a number > 0, or absent')
  if (entropy && !(entropy.coefficient >= 0)) refuse('entropy.coefficient', entropy.coefficient, 'a number ≥ 0')
}

function checkInputs(inputs: PolicyLossInputs, settings: PolicyLossSettings, denominators: Denominators): void {
  const { logProbs, entropies, advantages, oldLogProbs, referenceLogProbs } = inputs
  checkPolicyLossSettings(settings)
  checkDenominators(denominators, logProbs)
  checkSameShape('entropies', entropies, logProbs)
  if (advantages.length !== logProbs.length) {
    throw new RangeError(`There are ${advantages.length} advantages for ${logProbs.length} sequences; give one each.`)
  }
  if (oldLogProbs) checkSameShape('oldLogProbs', oldLogProbs, logProbs)
  if (referenceLogProbs) checkSameShape('referenceLogProbs', referenceLogProbs, logProbs)
  if (settings.kl && settings.kl.coefficient > 0 && !referenceLogProbs) {
    throw new RangeError(`kl.coefficient is ${settings.kl.coefficient}, but there are no referenceLogProbs; give them.`)
  }
}

interface Surrogate {
  readonly value: number
  readonly gradient: number
  readonly low: boolean
  readonly high: boolean
  readonly dual: boolean
}

/** One token's clipped surrogate and its derivative with respect to the log-prob. */
function surrogate(logRatio: number, advantage: number, clip: ClipSettings): Surrogate {
  const clamped = Math.min(MAX_LOG_RATIO, Math.max(-MAX_LOG_RATIO, logRatio))
  const ratio = Math.exp(clamped)
  const low = advantage < 0 && ratio < 1 - clip.low
  const high = advantage > 0 && ratio > 1 + clip.high
  const free = -ratio * advantage
  const bounded = -Math.min(1 + clip.high, Math.max(1 - clip.low, ratio)) * advantage
  const ceiling = clip.dual !== undefined && advantage < 0 ? -clip.dual * advantage : Infinity
  const dual = Math.max(free, bounded) > ceiling
  // Where the bounded branch wins it is constant; where both agree the free one carries the gradient.
  const flat = low || high || dual || clamped !== logRatio
  return { value: Math.min(Math.max(free, bounded), ceiling), gradient: flat ? 0 : free, low, high, dual }
}

type MutableSums = { -readonly [Sum in keyof PolicyLossSums]: PolicyLossSums[Sum] }

/** Adds one sequence to `sums` and returns the gradients of its log-probs. */
function addSequence(
  inputs: PolicyLossInputs,
  index: number,
  settings: PolicyLossSettings,
  denominators: Denominators,
  sums: MutableSums,
): Float64Array {
  const { clip, aggregation, kl, entropy } = settings
  const logProbs = inputs.logProbs[index] as ArrayLike<number>
  const entropies = inputs.entropies[index] as ArrayLike<number>
  const old = inputs.oldLogProbs?.[index] ?? logProbs
  const reference = inputs.referenceLogProbs?.[index]
  const advantage = inputs.advantages[index] as number
  const { length } = logProbs
  const gradients = new Float64Array(length)
  if (length === 0) return gradients
  const weight = tokenWeight(aggregation, length, denominators)
  // The bonus is a token mean whatever the aggregation, as in TRL.
  const bonus = (entropy?.coefficient ?? 0) / denominators.tokens
  const sampled = entropy?.kind === 'sampled-logprob'
  sums.sequences++
  sums.tokens += length
  for (let t = 0; t < length; t++) {
    const logProb = logProbs[t] as number
    const term = surrogate(logProb - (old[t] as number), advantage, clip)
    const divergence = reference && klTerm(kl?.estimator ?? 'k3', logProb, reference[t] as number, kl?.maxValue)
    const penalised = divergence && kl && kl.coefficient > 0 ? divergence : null
    const beta = kl?.coefficient ?? 0
    const entropyTerm = bonus === 0 ? 0 : bonus * (sampled ? -logProb : (entropies[t] as number))
    gradients[t] = weight * (term.gradient + beta * (penalised?.gradient ?? 0)) + (sampled ? bonus : 0)
    sums.policyLoss += weight * term.value
    sums.loss += weight * (term.value + beta * (penalised?.value ?? 0)) - entropyTerm
    sums.clippedLow += term.low ? 1 : 0
    sums.clippedHigh += term.high ? 1 : 0
    sums.clippedDual += term.dual ? 1 : 0
    sums.kl += divergence?.value ?? 0
    sums.klTokens += divergence ? 1 : 0
    sums.entropy += entropies[t] as number
  }
  return gradients
}

/**
 * Value and gradient of the policy loss of one micro-batch.
 *
 * @param denominators token and sequence counts of the whole optimizer batch; results of its micro-batches add up
 * @throws {RangeError} when arrays disagree in shape or a setting is out of range
 */
export function policyLoss(
  inputs: PolicyLossInputs,
  settings: PolicyLossSettings,
  denominators: Denominators,
): PolicyLossResult {
  checkInputs(inputs, settings, denominators)
  const { logProbs } = inputs
  const { entropy } = settings
  const sums: MutableSums = { ...zeroSums }
  const logProbGradients = logProbs.map((_, index) => addSequence(inputs, index, settings, denominators, sums))
  const result = { loss: sums.loss, logProbGradients, sums }
  if (!entropy || entropy.coefficient === 0 || entropy.kind !== 'true-entropy') return result
  const gradient = -entropy.coefficient / denominators.tokens
  return { ...result, entropyGradients: logProbs.map(({ length }) => new Float64Array(length).fill(gradient)) }
}

/** Sums of several micro-batches together. */
export function addPolicyLossSums(parts: readonly PolicyLossSums[]): PolicyLossSums {
  const total = { ...zeroSums }
  for (const part of parts) for (const key of Object.keys(total) as (keyof PolicyLossSums)[]) total[key] += part[key]
  return total
}

/**
 * Metrics under TRL's names. `kl` only where there was a reference.
 * @param sums of one whole optimizer batch, or of several together
 * @param updates number of optimizer batches the sums are of; losses are their mean
 */
export function policyLossMetrics(sums: PolicyLossSums, updates = 1): { readonly [metric: string]: number } {
  const { tokens } = sums
  return {
    loss: sums.loss / updates,
    policy_loss: sums.policyLoss / updates,
    entropy: sums.entropy / tokens,
    'clip_ratio/low_mean': sums.clippedLow / tokens,
    'clip_ratio/high_mean': sums.clippedHigh / tokens,
    'clip_ratio/region_mean': (sums.clippedLow + sums.clippedHigh) / tokens,
    'clip_ratio/dual_mean': sums.clippedDual / tokens,
    ...(sums.klTokens > 0 ? { kl: sums.kl / sums.klTokens } : {}),
  }
}
