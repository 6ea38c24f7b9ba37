/**
 * The policy-gradient loss at the log-prob boundary, with its gradient written out: per token
 *
 *   L = u · P(ρ, A) + β · KL(π ‖ π_ref),   loss = Σ w·L − c · mean H
 *
 * P is the {@link PolicyObjective}, u a product of factors held constant (masks, importance weights between sampler and
 * learner), w the weight of the aggregation from global denominators, H the token entropy. All sums that become metrics are
 * returned as sums, so they too add up over micro-batches.
 */
import {
  checkAggregation,
  checkDenominators,
  checkSameShape,
  tokenWeight,
  type Aggregation,
  type Denominators,
  type TokenValues,
} from './aggregation.js'
import { checkCorrection, isOffPolicy, mismatchWeights, type MismatchCorrection } from './correction.js'
import { klTerm, type KlEstimator } from './kl.js'
import {
  checkObjective,
  DEFAULT_OBJECTIVE,
  policyTerms,
  ratioLevel,
  type ClipSettings,
  type PolicyObjective,
  type PolicyTerms,
} from './objectives.js'

export interface KlSettings {
  readonly estimator: KlEstimator
  /** β. */
  readonly coefficient: number
  /** Estimates beyond ± this are cut off. Absent: no bound. */
  readonly maxValue?: number
  /** ρ · KL instead of KL, which makes its gradient unbiased off-policy (DeepSeek-V3.2; TRL `use_bias_correction_kl`). Default false. */
  readonly ratioCorrected?: boolean
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
  /** Default: the clipped surrogate with a ratio per token. */
  readonly objective?: PolicyObjective
  readonly aggregation: Aggregation
  readonly kl?: KlSettings
  readonly entropy?: EntropySettings
  /** Importance weights between sampler and learner; needs `samplerLogProbs`. */
  readonly correction?: MismatchCorrection
  /** Leaves out sequences with A < 0 and mean(log π_sampler − log π) above this. Absent: none. */
  readonly offPolicyThreshold?: number
}

/** Arrays are [sequences][completion tokens]; advantages [sequences], or [sequences][tokens]. */
export interface PolicyLossInputs {
  readonly logProbs: TokenValues
  readonly entropies: TokenValues
  readonly advantages: readonly (number | ArrayLike<number>)[]
  /** Log-probs of the policy that sampled. Absent, or null for a sequence: the present policy did, so ρ is 1 and its gradient that of log π. */
  readonly oldLogProbs?: readonly (ArrayLike<number> | null)[]
  readonly referenceLogProbs?: TokenValues
  /** Log-probs as the sampler computed them. Default: the old ones. */
  readonly samplerLogProbs?: TokenValues
  /** Factors of the policy term, such as masks. Default 1. */
  readonly tokenFactors?: TokenValues
  /** Tokens picked by `selectCovariance`; `clip-cov` and `kl-cov` need them. */
  readonly pickedTokens?: TokenValues
  /** Tokens of each sequence's local batch; `local-token-mean` needs them. */
  readonly localTokens?: readonly number[]
}

/** Additive over micro-batches. */
export interface PolicyLossSums {
  readonly tokens: number
  readonly sequences: number
  /** Share of this micro-batch in the loss of the whole batch. */
  readonly loss: number
  /** The same without KL and entropy. */
  readonly policyLoss: number
  /** Tokens with A < 0 and ρ < 1 − low; sequences where they share one ratio. */
  readonly clippedLow: number
  /** Tokens with A > 0 and ρ > 1 + high; sequences where they share one ratio. */
  readonly clippedHigh: number
  /** Tokens whose loss the dual clip bounds. */
  readonly clippedDual: number
  /** What the three are shares of. */
  readonly clipUnits: number
  /** Σ of the KL estimates over tokens. */
  readonly kl: number
  /** Tokens that had a reference. */
  readonly klTokens: number
  /** Σ of entropies over tokens. */
  readonly entropy: number
  /** Σ of φ(W) and number of sequences that had one. */
  readonly phi: number
  readonly phiSequences: number
  /** Σ w and Σ w² of importance weights before bounds, and how many there were. */
  readonly importance: number
  readonly importanceSquared: number
  readonly importanceUnits: number
  /** Tokens whose importance weight was cut or that were left out for it. */
  readonly importanceBounded: number
  /** Sequences left out because they were off-policy. */
  readonly offPolicy: number
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
  clipUnits: 0,
  kl: 0,
  klTokens: 0,
  entropy: 0,
  phi: 0,
  phiSequences: 0,
  importance: 0,
  importanceSquared: 0,
  importanceUnits: 0,
  importanceBounded: 0,
  offPolicy: 0,
}

/** Throws a {@link RangeError} that names the setting when one cannot be used. */
export function checkPolicyLossSettings(settings: PolicyLossSettings): void {
  const { clip, objective = DEFAULT_OBJECTIVE, aggregation, kl, entropy, correction, offPolicyThreshold } = settings
  const refuse = (name: string, value: number, allowed: string) => {
    throw new RangeError(`Policy loss: ${name} is ${value}; allowed: ${allowed}.`)
  }
  checkObjective(objective, clip)
  checkAggregation(aggregation)
  if (correction) checkCorrection(correction)
  if (kl && !(kl.coefficient >= 0)) refuse('kl.coefficient', kl.coefficient, 'a number ≥ 0')
  if (kl?.maxValue !== undefined && !(kl.maxValue > 0)) refuse('kl.maxValue', kl.maxValue, 'a number > 0, or absent')
  if (entropy && !(entropy.coefficient >= 0)) refuse('entropy.coefficient', entropy.coefficient, 'a number ≥ 0')
  if (offPolicyThreshold !== undefined && !(offPolicyThreshold >= 0)) {
    refuse('offPolicyThreshold', offPolicyThreshold, 'a number ≥ 0, or absent')
  }
}

function checkInputs(inputs: PolicyLossInputs, settings: PolicyLossSettings, denominators: Denominators): void {
  const { logProbs, entropies, advantages, oldLogProbs } = inputs
  const { objective = DEFAULT_OBJECTIVE, aggregation, kl, correction } = settings
  checkPolicyLossSettings(settings)
  checkDenominators(denominators, logProbs)
  checkSameShape('entropies', entropies, logProbs)
  if (advantages.length !== logProbs.length) {
    throw new RangeError(`There are ${advantages.length} advantages for ${logProbs.length} sequences; give one each.`)
  }
  if (oldLogProbs) {
    const filled = oldLogProbs.map((row, index) => row ?? (logProbs[index] as ArrayLike<number>))
    checkSameShape('oldLogProbs', filled, logProbs)
  }
  for (const name of ['referenceLogProbs', 'samplerLogProbs', 'tokenFactors', 'pickedTokens'] as const) {
    const values = inputs[name]
    if (values) checkSameShape(name, values, logProbs)
  }
  const need = (what: boolean, given: unknown, message: string) => {
    if (what && !given) throw new RangeError(message)
  }
  need(
    kl !== undefined && kl.coefficient > 0,
    inputs.referenceLogProbs,
    `kl.coefficient is ${kl?.coefficient}, but there are no referenceLogProbs; give them.`,
  )
  need(correction !== undefined, inputs.samplerLogProbs, 'correction needs samplerLogProbs; give them.')
  need(aggregation === 'local-token-mean', inputs.localTokens, "aggregation 'local-token-mean' needs localTokens.")
  const covariance = objective.kind === 'clip-cov' || objective.kind === 'kl-cov'
  need(covariance, inputs.pickedTokens, `objective '${objective.kind}' needs pickedTokens; see selectCovariance.`)
}

type MutableSums = { -readonly [Sum in keyof PolicyLossSums]: PolicyLossSums[Sum] }

/** One sequence of the inputs, defaults filled in. */
interface Sequence {
  readonly logProbs: ArrayLike<number>
  readonly entropies: ArrayLike<number>
  readonly advantage: number | ArrayLike<number>
  readonly old: ArrayLike<number>
  readonly sampler: ArrayLike<number>
  readonly reference: ArrayLike<number> | undefined
  readonly factors: ArrayLike<number> | undefined
  readonly picked: ArrayLike<number> | undefined
  readonly localTokens: number | undefined
}

function sequenceOf(inputs: PolicyLossInputs, index: number): Sequence {
  const logProbs = inputs.logProbs[index] as ArrayLike<number>
  const old = inputs.oldLogProbs?.[index] ?? logProbs
  return {
    logProbs,
    old,
    entropies: inputs.entropies[index] as ArrayLike<number>,
    advantage: inputs.advantages[index] as number | ArrayLike<number>,
    sampler: inputs.samplerLogProbs?.[index] ?? old,
    reference: inputs.referenceLogProbs?.[index],
    factors: inputs.tokenFactors?.[index],
    picked: inputs.pickedTokens?.[index],
    localTokens: inputs.localTokens?.[index],
  }
}

const meanOf = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length

/** Factors of the policy terms that are held constant, and the log-weight VESPO folds into its own. */
function coefficientsOf(
  { logProbs, old, sampler, advantage, factors }: Sequence,
  { objective, correction, offPolicyThreshold }: PolicyLossSettings,
  sums: MutableSums,
): { readonly coefficients: Float64Array; readonly logCorrection: number } {
  const { length } = logProbs
  const coefficients = factors ? Float64Array.from(factors) : new Float64Array(length).fill(1)
  if (offPolicyThreshold !== undefined) {
    const own = typeof advantage === 'number' ? advantage : meanOf(advantage)
    if (isOffPolicy(logProbs, sampler, own, offPolicyThreshold)) {
      coefficients.fill(0)
      sums.offPolicy++
    }
  }
  if (!correction) return { coefficients, logCorrection: 0 }
  const { weights, logWeight, ratios, bounded } = mismatchWeights(old, sampler, correction)
  for (const ratio of ratios) {
    sums.importance += ratio
    sums.importanceSquared += ratio * ratio
  }
  sums.importanceUnits += ratios.length
  sums.importanceBounded += bounded
  if (objective?.kind === 'vespo') return { coefficients, logCorrection: logWeight }
  weights.forEach((weight, t) => (coefficients[t] = (coefficients[t] as number) * weight))
  return { coefficients, logCorrection: 0 }
}

function countTerms({ clippedLow, clippedHigh, clippedDual, units, phi }: PolicyTerms, sums: MutableSums): void {
  sums.clippedLow += clippedLow
  sums.clippedHigh += clippedHigh
  sums.clippedDual += clippedDual
  sums.clipUnits += units
  if (phi === undefined) return
  sums.phi += phi
  sums.phiSequences++
}

/** KL estimates of a sequence with the gradients of their sum; null without a reference. */
function klTerms(
  { logProbs, reference }: Sequence,
  kl: KlSettings | undefined,
  { ratios }: PolicyTerms,
  objective: PolicyObjective,
  epsilon: number,
): { readonly values: Float64Array; readonly gradients: Float64Array } | null {
  if (!reference) return null
  const { length } = logProbs
  const values = new Float64Array(length)
  const gradients = new Float64Array(length)
  let shared = 0
  for (let t = 0; t < length; t++) {
    const term = klTerm(kl?.estimator ?? 'k3', logProbs[t] as number, reference[t] as number, kl?.maxValue)
    const ratio = kl?.ratioCorrected ? (ratios[t] as number) : 1
    values[t] = ratio * term.value
    // d(ρ·KL) = ρ·dKL + KL·dρ, and dρ is ρ times the slope of the log-ratio.
    gradients[t] = ratio * term.gradient
    if (!kl?.ratioCorrected) continue
    if (ratioLevel(objective) === 'sequence') shared += ratio * term.value
    else gradients[t] = (gradients[t] as number) + ratio * term.value
  }
  for (let t = 0; shared !== 0 && t < length; t++) gradients[t] = (gradients[t] as number) + shared / (length + epsilon)
  return { values, gradients }
}

/** Adds one sequence to `sums` and returns the gradients of its log-probs. */
function addSequence(
  sequence: Sequence,
  settings: PolicyLossSettings,
  denominators: Denominators,
  sums: MutableSums,
): Float64Array {
  const { clip, objective = DEFAULT_OBJECTIVE, aggregation, kl, entropy } = settings
  const { logProbs, entropies, old, advantage, picked, localTokens } = sequence
  const { length } = logProbs
  const gradients = new Float64Array(length)
  if (length === 0) return gradients
  const weight = tokenWeight(aggregation, length, denominators, localTokens)
  const { epsilon = 0 } = denominators
  const terms = policyTerms(objective, clip, {
    logProbs,
    oldLogProbs: old,
    advantage,
    epsilon,
    ...coefficientsOf(sequence, settings, sums),
    ...(picked ? { picked } : {}),
  })
  const divergence = klTerms(sequence, kl, terms, objective, epsilon)
  const beta = kl?.coefficient ?? 0
  const penalised = beta > 0 ? divergence : null
  // The bonus is a token mean whatever the aggregation, as in TRL.
  const bonus = (entropy?.coefficient ?? 0) / denominators.tokens
  const sampled = entropy?.kind === 'sampled-logprob'
  countTerms(terms, sums)
  sums.sequences++
  sums.tokens += length
  for (let t = 0; t < length; t++) {
    const value = terms.values[t] as number
    const entropyTerm = bonus === 0 ? 0 : bonus * (sampled ? -(logProbs[t] as number) : (entropies[t] as number))
    const slope = (terms.gradients[t] as number) + beta * (penalised?.gradients[t] ?? 0)
    gradients[t] = weight * slope + (sampled ? bonus : 0)
    sums.policyLoss += weight * value
    sums.loss += weight * (value + beta * (penalised?.values[t] ?? 0)) - entropyTerm
    sums.kl += divergence?.values[t] ?? 0
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
  const logProbGradients = logProbs.map((_, index) =>
    addSequence(sequenceOf(inputs, index), settings, denominators, sums),
  )
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
 * Metrics under TRL's names. `kl` only where there was a reference, `vespo/…` only of that objective, `sampling/…` only with
 * a correction: `ess` is the effective sample size (Σw)²/(n·Σw²), `bounded_ratio` the share of tokens the bounds touched.
 * @param sums of one whole optimizer batch, or of several together
 * @param updates number of optimizer batches the sums are of; losses are their mean
 */
export function policyLossMetrics(sums: PolicyLossSums, updates = 1): { readonly [metric: string]: number } {
  const { tokens, clipUnits, importanceUnits, importance } = sums
  return {
    loss: sums.loss / updates,
    policy_loss: sums.policyLoss / updates,
    entropy: sums.entropy / tokens,
    'clip_ratio/low_mean': sums.clippedLow / clipUnits,
    'clip_ratio/high_mean': sums.clippedHigh / clipUnits,
    'clip_ratio/region_mean': (sums.clippedLow + sums.clippedHigh) / clipUnits,
    'clip_ratio/dual_mean': sums.clippedDual / clipUnits,
    ...(sums.klTokens > 0 ? { kl: sums.kl / sums.klTokens } : {}),
    ...(sums.phiSequences > 0 ? { 'vespo/phi_seq_mean': sums.phi / sums.phiSequences } : {}),
    ...(importanceUnits > 0
      ? {
          'sampling/importance_sampling_ratio/mean': importance / importanceUnits,
          'sampling/ess': importance ** 2 / (importanceUnits * sums.importanceSquared),
          'sampling/bounded_ratio': sums.importanceBounded / tokens,
        }
      : {}),
    ...(sums.offPolicy > 0 ? { 'sampling/off_policy_ratio': sums.offPolicy / sums.sequences } : {}),
  }
}
