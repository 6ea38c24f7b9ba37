/**
 * The efficient-length reward of ReVisual-R1 (arXiv 2506.04207): full marks well below a token budget,
 * falling linearly around it, R = max(0, min(1, α(L_budget − L) + δ)).
 */
import type { OptionsSchema, RewardPlugin } from '../types.js'

export interface EfficientLengthOptions {
  /** L_budget in tokens. The paper gives no number. */
  readonly budget: number
  /** α, reward per token. Default 0.005. */
  readonly alpha?: number
  /** δ, reward exactly at the budget. Default 0.5. */
  readonly delta?: number
}

/** Reward of a completion of `length` tokens, in [0, 1]. */
export function efficientLengthReward(
  length: number,
  { budget, alpha = 0.005, delta = 0.5 }: EfficientLengthOptions,
): number {
  return Math.max(0, Math.min(1, alpha * (budget - length) + delta))
}

const allowed = { budget: 'a number > 0', alpha: 'a number > 0', delta: 'a number from 0 to 1' } as const

const isAllowed = (name: string, value: unknown) =>
  typeof value === 'number' && Number.isFinite(value) && (name === 'delta' ? value >= 0 && value <= 1 : value > 0)

const schema: OptionsSchema<EfficientLengthOptions> = {
  '~standard': {
    version: 1,
    vendor: 'revisual',
    validate(value) {
      if (typeof value !== 'object' || value === null)
        return { issues: [{ message: 'must be an object with a budget' }] }
      const given = new Map<string, unknown>(Object.entries(value))
      const unknown = [...given.keys()].filter((name) => !(name in allowed))
      const issues = [
        ...unknown.map((name) => ({
          message: `is unknown; allowed: ${Object.keys(allowed).join(', ')}`,
          path: [name],
        })),
        ...Object.entries(allowed).flatMap(([name, range]) =>
          (name !== 'budget' && !given.has(name)) || isAllowed(name, given.get(name))
            ? []
            : [{ message: `is ${String(given.get(name))}; allowed: ${range}`, path: [name] }],
        ),
      ]
      return issues.length > 0 ? { issues } : { value: value as EfficientLengthOptions }
    },
  },
}

/** `efficient-length` as a reward with options `{ budget, alpha?, delta? }`. */
export const efficientLength: RewardPlugin<EfficientLengthOptions> = {
  name: 'efficient-length',
  options: schema,
  create:
    (options) =>
    ({ completionLengths }) =>
      completionLengths.map((length) => efficientLengthReward(length, options)),
}
