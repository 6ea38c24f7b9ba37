/**
 * The policy terms: what a token's or a sequence's ratio ρ = π/π_old and advantage A are turned into. The one idea: every
 * objective is described per token by its value and by two slopes – with respect to log ρ, and with respect to a log-prob
 * that stands outside a stop-gradient – and the level of the ratio alone decides which tokens feel the first.
 *
 * sg is the stop-gradient. Objectives read `clip` where their formula has bounds.
 */
import { MAX_LOG_RATIO } from './kl.js'

export interface ClipSettings {
  /** ρ is not rewarded below 1 − low. */
  readonly low: number
  /** ρ is not rewarded above 1 + high. */
  readonly high: number
  /** Bound, > 1, on the loss of tokens with negative advantage, in multiples of |A| (dual clip, arXiv 1912.09729). Absent: none. */
  readonly dual?: number
  /** ρ itself is cut here before anything else (INTELLECT-2, arXiv 2505.07291; TRL `delta`). Absent: none. */
  readonly cap?: number
}

/**
 * `token`: every token has its own ratio. `sequence`: one ratio exp(mean_t log ρ_t) for all (GSPO, arXiv 2507.18071, eq. 5–7).
 * `sequence-token`: that ratio's value, every token's own slope: sg[s] · π/sg[π] (GSPO-token, its section 4.3).
 */
export type RatioLevel = 'token' | 'sequence' | 'sequence-token'

/** One of k and λ for each sign of the advantage. */
export interface GammaShape {
  readonly k: number
  readonly lambda: number
}

export type PolicyObjective =
  /** max(−ρA, −clip(ρ, 1 − low, 1 + high)·A), then the dual clip. PPO 1707.06347; asymmetric: DAPO 2503.14476. The default. */
  | { readonly kind: 'clip'; readonly level?: RatioLevel }
  /**
   * −sg[ρ̄]·A·log π (MiniMax-M1, arXiv 2506.13585). The bound has two meanings in the field: `range` clips ρ to
   * [1 − clip.low, 1 + clip.high] (the paper, verl, EasyR1), `cap` is min(ρ, max), `max` the bound itself (TRL, whose
   * `epsilon_high` is `max`; ScaleRL uses 5).
   */
  | { readonly kind: 'cispo'; readonly bound: 'range'; readonly level?: 'token' | 'sequence' }
  | { readonly kind: 'cispo'; readonly bound: 'cap'; readonly max: number; readonly level?: 'token' | 'sequence' }
  /** −A·(4/τ)·σ(τ(ρ − 1)), τ by the sign of A (arXiv 2511.20347). Defaults 1.0 and 1.05. */
  | {
      readonly kind: 'sapo'
      readonly temperaturePositive?: number
      readonly temperatureNegative?: number
      readonly level?: 'token' | 'sequence'
    }
  /** −A·exp(mean_t of log ρ_t, clipped one-sidedly to [−low, high] in log space) (arXiv 2507.20673; 0.4 and 0.4 there). */
  | { readonly kind: 'gmpo' }
  /** −sg[φ(W)]·A·log π, W = Π ρ_t, φ(W) = e^λ · W^k · e^(−λW) (arXiv 2602.10693). Defaults k, λ: 2, 3 for A ≥ 0; 3, 2 below. */
  | { readonly kind: 'vespo'; readonly positive?: GammaShape; readonly negative?: GammaShape }
  /** −A·log π, no ratio (REINFORCE; GPG, arXiv 2504.02546). */
  | { readonly kind: 'reinforce' }
  /**
   * The clipped objective without the tokens `selectCovariance` picked (Clip-Cov, arXiv 2505.22617). Among tokens whose
   * covariance is in [lower, upper], `share` of all tokens is drawn. verl: 0.0002, 1, 5.
   */
  | { readonly kind: 'clip-cov'; readonly share?: number; readonly lower?: number; readonly upper?: number }
  /** −ρA, plus coefficient·|log ρ| for the `share` of tokens with the highest covariance (KL-Cov, same paper). verl: 0.0002, 1. */
  | { readonly kind: 'kl-cov'; readonly share?: number; readonly coefficient?: number }

export const DEFAULT_OBJECTIVE: PolicyObjective = { kind: 'clip' }

/** What a sequence's policy term is made of. Arrays have one value per token. */
export interface SequenceTokens {
  readonly logProbs: ArrayLike<number>
  readonly oldLogProbs: ArrayLike<number>
  /** Advantage of the sequence, or of every token. */
  readonly advantage: number | ArrayLike<number>
  /** Factors held constant: masks, importance weights. */
  readonly coefficients: ArrayLike<number>
  /** Tokens that Clip-Cov or KL-Cov picked are not 0. */
  readonly picked?: ArrayLike<number>
  /** Log of the sequence's importance weight between sampler and learner, which VESPO folds into W. */
  readonly logCorrection: number
  /** Added to the length in the sequence ratio's mean; see Denominators. */
  readonly epsilon: number
}

/** Per token, coefficients included. */
export interface PolicyTerms {
  readonly values: Float64Array
  readonly gradients: Float64Array
  /** ρ at the objective's level, for a KL term that is corrected by it, and its slopes' level. */
  readonly ratios: Float64Array
  readonly clippedLow: number
  readonly clippedHigh: number
  readonly clippedDual: number
  /** What the clipped counts are shares of: tokens, or 1 where the whole sequence has one ratio. */
  readonly units: number
  /** φ(W); absent unless the objective is VESPO. */
  readonly phi?: number
}

/** One token: its value, its slopes along log ρ and along a bare log π. */
interface TokenTerm {
  readonly value: number
  readonly ratioSlope: number
  readonly bareSlope: number
  readonly low: boolean
  readonly high: boolean
  readonly dual: boolean
}

const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value))
const plainTerm = { low: false, high: false, dual: false }

function clipTerm(logRatio: number, advantage: number, clip: ClipSettings): TokenTerm {
  const { cap = Infinity } = clip
  const clamped = clamp(logRatio, -MAX_LOG_RATIO, MAX_LOG_RATIO)
  const ratio = Math.exp(clamped)
  const low = advantage < 0 && ratio < 1 - clip.low
  const high = advantage > 0 && ratio > 1 + clip.high
  const free = -Math.min(ratio, cap) * advantage
  const bounded = -clamp(ratio, 1 - clip.low, 1 + clip.high) * advantage
  const ceiling = clip.dual !== undefined && advantage < 0 ? -clip.dual * advantage : Infinity
  const dual = Math.max(free, bounded) > ceiling
  const value = Math.min(Math.max(free, bounded), ceiling)
  // A branch that is cut is constant; where both branches agree the free one carries the gradient.
  const isCut = bounded > free ? ratio < 1 - clip.low || ratio > 1 + clip.high : ratio > cap
  const flat = isCut || dual || clamped !== logRatio
  return { value, ratioSlope: flat ? 0 : Math.max(free, bounded), bareSlope: 0, low, high, dual }
}

function cispoTerm(
  objective: PolicyObjective & { kind: 'cispo' },
  logRatio: number,
  logProb: number,
  advantage: number,
  clip: ClipSettings,
): TokenTerm {
  const ratio = Math.exp(clamp(logRatio, -MAX_LOG_RATIO, MAX_LOG_RATIO))
  const least = objective.bound === 'range' ? 1 - clip.low : 0
  const most = objective.bound === 'range' ? 1 + clip.high : objective.max
  const slope = -clamp(ratio, least, most) * advantage
  const low = advantage < 0 && ratio < least
  return {
    value: slope * logProb,
    ratioSlope: 0,
    bareSlope: slope,
    low,
    high: advantage > 0 && ratio > most,
    dual: false,
  }
}

function sapoTerm(logRatio: number, advantage: number, temperature: number): TokenTerm {
  const clamped = clamp(logRatio, -MAX_LOG_RATIO, MAX_LOG_RATIO)
  const ratio = Math.exp(clamped)
  const gate = 1 / (1 + Math.exp(-temperature * (ratio - 1)))
  const slope = clamped === logRatio ? -advantage * 4 * gate * (1 - gate) * ratio : 0
  return { value: -advantage * (4 / temperature) * gate, ratioSlope: slope, bareSlope: 0, ...plainTerm }
}

function klCovTerm(logRatio: number, advantage: number, coefficient: number): TokenTerm {
  const clamped = clamp(logRatio, -MAX_LOG_RATIO, MAX_LOG_RATIO)
  const free = -Math.exp(clamped) * advantage
  const slope = (clamped === logRatio ? free : 0) + coefficient * Math.sign(logRatio)
  return { value: free + coefficient * Math.abs(logRatio), ratioSlope: slope, bareSlope: 0, ...plainTerm }
}

type TokenObjective = Exclude<PolicyObjective, { kind: 'gmpo' } | { kind: 'vespo' }>

function tokenTerm(
  objective: TokenObjective,
  clip: ClipSettings,
  logRatio: number,
  logProb: number,
  advantage: number,
  picked: boolean,
): TokenTerm {
  switch (objective.kind) {
    case 'clip':
    case 'clip-cov':
      return clipTerm(logRatio, advantage, clip)
    case 'cispo':
      return cispoTerm(objective, logRatio, logProb, advantage, clip)
    case 'sapo': {
      const { temperaturePositive = 1, temperatureNegative = 1.05 } = objective
      return sapoTerm(logRatio, advantage, advantage > 0 ? temperaturePositive : temperatureNegative)
    }
    case 'reinforce':
      return { value: -advantage * logProb, ratioSlope: 0, bareSlope: -advantage, ...plainTerm }
    case 'kl-cov':
      return klCovTerm(logRatio, advantage, picked ? (objective.coefficient ?? 1) : 0)
  }
}

const advantageAt = (advantage: number | ArrayLike<number>, t: number) =>
  typeof advantage === 'number' ? advantage : (advantage[t] as number)

/** One advantage for the whole sequence: its own, or the mean of its tokens'. */
function sequenceAdvantage(advantage: number | ArrayLike<number>): number {
  if (typeof advantage === 'number') return advantage
  let sum = 0
  for (let t = 0; t < advantage.length; t++) sum += advantage[t] as number
  return sum / advantage.length
}

/** The level of a sequence objective's ratio. */
export const ratioLevel = (objective: PolicyObjective): RatioLevel =>
  'level' in objective && objective.level !== undefined ? objective.level : 'token'

function logRatiosOf({ logProbs, oldLogProbs }: SequenceTokens): Float64Array {
  return Float64Array.from(logProbs, (logProb, t) => logProb - (oldLogProbs[t] as number))
}

/** Objectives that look at one token at a time, at any level of the ratio. */
function termsByToken(objective: TokenObjective, clip: ClipSettings, tokens: SequenceTokens): PolicyTerms {
  const { logProbs, advantage, coefficients, picked, epsilon } = tokens
  const { length } = logProbs
  const level = ratioLevel(objective)
  const logRatios = logRatiosOf(tokens)
  if (level !== 'token') logRatios.fill(logRatios.reduce((sum, value) => sum + value, 0) / (length + epsilon))
  const values = new Float64Array(length)
  const gradients = new Float64Array(length)
  const counts = { clippedLow: 0, clippedHigh: 0, clippedDual: 0 }
  let shared = 0
  for (let t = 0; t < length; t++) {
    const ratioOf = logRatios[t] as number
    const coefficient = coefficients[t] as number
    const isPicked = picked !== undefined && picked[t] !== 0
    const term = tokenTerm(objective, clip, ratioOf, logProbs[t] as number, advantageAt(advantage, t), isPicked)
    const kept = objective.kind === 'clip-cov' && isPicked ? 0 : coefficient
    values[t] = kept * term.value
    gradients[t] = kept * (level === 'sequence' ? term.bareSlope : term.ratioSlope + term.bareSlope)
    shared += level === 'sequence' ? kept * term.ratioSlope : 0
    counts.clippedLow += term.low ? 1 : 0
    counts.clippedHigh += term.high ? 1 : 0
    counts.clippedDual += term.dual ? 1 : 0
  }
  const ratios = logRatios.map((value) => Math.exp(clamp(value, -MAX_LOG_RATIO, MAX_LOG_RATIO)))
  if (level !== 'sequence') return { values, gradients, ratios, ...counts, units: length }
  for (let t = 0; t < length; t++) gradients[t] = (gradients[t] as number) + shared / (length + epsilon)
  const once = (count: number) => (count > 0 ? 1 : 0)
  return {
    values,
    gradients,
    ratios,
    clippedLow: once(counts.clippedLow),
    clippedHigh: once(counts.clippedHigh),
    clippedDual: once(counts.clippedDual),
    units: 1,
  }
}

function gmpoTerms(clip: ClipSettings, tokens: SequenceTokens): PolicyTerms {
  const { coefficients, epsilon } = tokens
  const advantage = sequenceAdvantage(tokens.advantage)
  const logRatios = logRatiosOf(tokens)
  const { length } = logRatios
  const isLow = logRatios.map((value) => (advantage < 0 && value < -clip.low ? 1 : 0))
  const isHigh = logRatios.map((value) => (advantage > 0 && value > clip.high ? 1 : 0))
  const sum = (values: Float64Array) => values.reduce((total, value) => total + value, 0)
  const clipped = logRatios.map((value, t) => (isLow[t] ? -clip.low : isHigh[t] ? clip.high : value))
  const mean = sum(clipped) / (length + epsilon)
  const bounded = clamp(mean, -MAX_LOG_RATIO, MAX_LOG_RATIO)
  const value = -advantage * Math.exp(bounded)
  let factors = 0
  for (let t = 0; t < length; t++) factors += coefficients[t] as number
  const slope = bounded === mean ? (value * factors) / (length + epsilon) : 0
  return {
    values: Float64Array.from(coefficients, (coefficient) => coefficient * value),
    gradients: logRatios.map((_, t) => (isLow[t] || isHigh[t] ? 0 : slope)),
    ratios: logRatios.map((ratio) => Math.exp(clamp(ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))),
    clippedLow: sum(isLow),
    clippedHigh: sum(isHigh),
    clippedDual: 0,
    units: length,
  }
}

const LOG_SMALLEST_WEIGHT = Math.log(1e-8)

/** φ(W) of VESPO, with the bounds TRL puts on W: log W in [ln 1e-8, 20]. 0 where it is not finite. */
export function vespoWeight(logWeight: number, { k, lambda }: GammaShape): number {
  const log = clamp(logWeight, LOG_SMALLEST_WEIGHT, MAX_LOG_RATIO)
  const phi = Math.exp(lambda + k * log - lambda * Math.exp(log))
  return Number.isFinite(phi) ? phi : 0
}

function vespoTerms(objective: PolicyObjective & { kind: 'vespo' }, tokens: SequenceTokens): PolicyTerms {
  const { logProbs, coefficients, advantage, logCorrection } = tokens
  const { positive = { k: 2, lambda: 3 }, negative = { k: 3, lambda: 2 } } = objective
  const logRatios = logRatiosOf(tokens).map((value) => clamp(value, -MAX_LOG_RATIO, MAX_LOG_RATIO))
  const logWeight = logRatios.reduce((sum, value) => sum + value, 0) + logCorrection
  const phi = vespoWeight(logWeight, sequenceAdvantage(advantage) >= 0 ? positive : negative)
  const gradients = Float64Array.from(coefficients, (coefficient, t) => -coefficient * phi * advantageAt(advantage, t))
  return {
    values: gradients.map((slope, t) => slope * (logProbs[t] as number)),
    gradients,
    ratios: logRatios.map((value) => Math.exp(value)),
    clippedLow: 0,
    clippedHigh: 0,
    clippedDual: 0,
    units: logProbs.length,
    phi,
  }
}

/** Values and gradients of the policy terms of one sequence; gradients are those of the sum of its values. */
export function policyTerms(objective: PolicyObjective, clip: ClipSettings, tokens: SequenceTokens): PolicyTerms {
  switch (objective.kind) {
    case 'gmpo':
      return gmpoTerms(clip, tokens)
    case 'vespo':
      return vespoTerms(objective, tokens)
    default:
      return termsByToken(objective, clip, tokens)
  }
}

/** Whether tokens are picked by their covariance, over the whole optimizer batch. */
export const needsCovariance = ({ kind }: PolicyObjective): boolean => kind === 'clip-cov' || kind === 'kl-cov'

/** Throws a {@link RangeError} that names the setting when one cannot be used. */
export function checkObjective(objective: PolicyObjective, clip: ClipSettings): void {
  const refuse = (name: string, value: number | undefined, allowed: string) => {
    throw new RangeError(`Policy loss: ${name} is ${value}; allowed: ${allowed}.`)
  }
  const positive = (name: string, value: number | undefined) => {
    if (value !== undefined && !(value > 0 && value < Infinity)) refuse(name, value, 'a finite number > 0')
  }
  // GMPO's bounds are of log ρ, so its lower one may exceed 1.
  if (!(clip.low >= 0 && (clip.low <= 1 || objective.kind === 'gmpo'))) refuse('clip.low', clip.low, '0 to 1')
  if (!(clip.high >= 0)) refuse('clip.high', clip.high, 'a number ≥ 0')
  if (clip.dual !== undefined && !(clip.dual > 1)) refuse('clip.dual', clip.dual, 'a number > 1, or absent')
  if (clip.cap !== undefined && !(clip.cap > 1)) refuse('clip.cap', clip.cap, 'a number > 1, or absent')
  switch (objective.kind) {
    case 'cispo':
      if (objective.bound === 'cap') positive('loss.max', objective.max)
      break
    case 'sapo':
      positive('loss.temperaturePositive', objective.temperaturePositive)
      positive('loss.temperatureNegative', objective.temperatureNegative)
      break
    case 'vespo':
      for (const [side, shape] of Object.entries({ positive: objective.positive, negative: objective.negative })) {
        positive(`loss.${side}.k`, shape?.k)
        positive(`loss.${side}.lambda`, shape?.lambda)
      }
      break
    case 'clip-cov':
      positive('loss.share', objective.share)
      if ((objective.lower ?? 1) >= (objective.upper ?? 5))
        refuse('loss.upper', objective.upper, 'a number > loss.lower')
      break
    case 'kl-cov':
      positive('loss.share', objective.share)
      positive('loss.coefficient', objective.coefficient)
      break
    default:
  }
}
