/**
 * `length`: the efficient-length reward of ReVisual-R1 (arXiv 2506.04207, section 4.1.2),
 * R = max(0, min(1, α·(L_budget − L) + δ)) with L in tokens. It slopes only within 1/α tokens around the budget: a budget
 * at the maximum length, as in the authors' code (8192), gives nearly every completion the same value.
 */
import type { RewardPlugin } from '@revisual/rl'
import { numberIn, optionsSchema } from './schema.js'

export interface LengthOptions {
  /** L_budget in tokens, the stop token included. The paper gives no number; it must fit the task. */
  readonly budget: number
  /** α, reward lost per token. Default 0.005 (`math.py` of the released code; its `text.py` has 0.001). */
  readonly alpha?: number
  /** δ, reward exactly at the budget. Default 0.5 (`math.py`; `text.py` has 0.95). */
  readonly delta?: number
}

/** Reward of a completion of `length` tokens, in [0, 1]. */
export function lengthReward(length: number, { budget, alpha = 0.005, delta = 0.5 }: LengthOptions): number {
  return Math.max(0, Math.min(1, alpha * (budget - length) + delta))
}

export const length: RewardPlugin<LengthOptions> = {
  name: 'length',
  options: optionsSchema<LengthOptions>({
    budget: { ...numberIn(1, 1_000_000), required: true },
    alpha: numberIn(0, 1),
    delta: numberIn(0, 1),
  }),
  create:
    (options) =>
    ({ completionLengths }) =>
      completionLengths.map((tokens) => lengthReward(tokens, options)),
}

export interface CosineLengthOptions {
  /** Tokens at which the curve ends. */
  readonly maxLength: number
  /** Value of an answer without tokens, and of one of `maxLength`. Defaults 1 and 0. */
  readonly short?: number
  readonly long?: number
}

/**
 * Cosine-scaled length: from `short` at 0 tokens to `long` at `maxLength`, without a kink (the shape of arXiv 2502.03373,
 * equation 1, for one class of answers): long + ½(short − long)(1 + cos(π·min(L, L_max)/L_max)).
 */
export function cosineLengthReward(tokens: number, { maxLength, short = 1, long = 0 }: CosineLengthOptions): number {
  const progress = Math.min(tokens, maxLength) / maxLength
  return long + 0.5 * (short - long) * (1 + Math.cos(Math.PI * progress))
}

export const cosineLength: RewardPlugin<CosineLengthOptions> = {
  name: 'cosineLength',
  options: optionsSchema<CosineLengthOptions>({
    maxLength: { ...numberIn(1, 1_000_000), required: true },
    short: numberIn(-10, 10),
    long: numberIn(-10, 10),
  }),
  create:
    (options) =>
    ({ completionLengths }) =>
      completionLengths.map((tokens) => cosineLengthReward(tokens, options)),
}
