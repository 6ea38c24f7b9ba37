/**
 * What reward functions return, checked and added up. A reward of a completion is Σ weight · score over the functions that
 * apply to it; null when none does, so that it stays out of its group's statistics.
 */
import { mean, standardDeviation } from '../statistics.js'
import type { RewardValue } from '../types.js'
import { RewardError } from './errors.js'

/** What one function said of every completion. */
export interface FunctionScores {
  readonly name: string
  readonly weight: number
  readonly scores: readonly (number | null)[]
  /** Further components by name, null where a completion has none. */
  readonly parts: { readonly [part: string]: readonly (number | null)[] }
  /** Set when the function failed and `onError` put a score in its place. */
  readonly error?: RewardError
}

/** Rewards of a batch of completions. */
export interface CombinedRewards {
  /** Weighted sums; null where no function applies. */
  readonly rewards: readonly (number | null)[]
  readonly functions: readonly FunctionScores[]
}

/** The values of one function, checked and taken apart. */
interface CheckedValues {
  readonly scores: readonly (number | null)[]
  readonly parts: { readonly [part: string]: readonly (number | null)[] }
}

const isRecord = (value: unknown): value is { readonly [key: string]: unknown } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * Checks what a function returned for `count` completions.
 * @throws {RewardError} for a wrong length, and for anything that is no finite number, null or `{ score, parts? }`
 */
export function checkValues(name: string, values: unknown, count: number): CheckedValues {
  const refuse = (message: string) => new RewardError(name, 'result', message)
  if (!Array.isArray(values)) {
    throw refuse(
      `returned ${values === null ? 'null' : typeof values}; allowed: an array with one value per completion.`,
    )
  }
  if (values.length !== count) {
    throw refuse(`returned ${values.length} values for ${count} completions; return one value (or null) for each.`)
  }
  const checked = (values as readonly unknown[]).map((value, index): Exclude<RewardValue, number> => {
    const finite = (number: unknown, what: string) => {
      if (typeof number === 'number' && Number.isFinite(number)) return number
      const shown = typeof number === 'number' ? String(number) : (JSON.stringify(number) ?? typeof number)
      throw refuse(`${what} of completion ${index} is ${shown}; allowed: a finite number, null or { score, parts? }.`)
    }
    if (value === null) return null
    if (!isRecord(value)) return { score: finite(value, 'the value') }
    const parts = isRecord(value['parts']) ? value['parts'] : {}
    return {
      score: finite(value['score'], 'the score'),
      parts: Object.fromEntries(
        Object.entries(parts).map(([part, number]) => [part, finite(number, `part '${part}'`)]),
      ),
    }
  })
  const partNames = [...new Set(checked.flatMap((value) => Object.keys(value?.parts ?? {})))]
  return {
    scores: checked.map((value) => value?.score ?? null),
    parts: Object.fromEntries(partNames.map((part) => [part, checked.map((value) => value?.parts?.[part] ?? null)])),
  }
}

/** Adds the scores of all functions up. */
export function weightedSum(functions: readonly FunctionScores[], count: number): CombinedRewards {
  const rewards = Array.from({ length: count }, (_, index) => {
    const applying = functions.filter(({ scores }) => scores[index] !== null)
    if (applying.length === 0) return null
    return applying.reduce((total, { weight, scores }) => total + weight * (scores[index] as number), 0)
  })
  return { rewards, functions }
}

/**
 * `rewards/<name>/mean` and `rewards/<name>/std` (ddof 1) over the completions a function applies to, the same for parts as
 * `rewards/<name>/<part>/…`, and `rewards/<name>/errors` when a failed call was scored in its stead.
 */
export function rewardFunctionMetrics(functions: readonly FunctionScores[]): { readonly [metric: string]: number } {
  const metrics: { [metric: string]: number } = {}
  const describe = (key: string, values: readonly (number | null)[]) => {
    const numbers = values.filter((value) => value !== null)
    if (numbers.length === 0) return
    metrics[`${key}/mean`] = mean(numbers)
    metrics[`${key}/std`] = standardDeviation(numbers)
  }
  for (const { name, scores, parts, error } of functions) {
    describe(`rewards/${name}`, scores)
    for (const [part, values] of Object.entries(parts)) describe(`rewards/${name}/${part}`, values)
    if (error) metrics[`rewards/${name}/errors`] = 1
  }
  return metrics
}
