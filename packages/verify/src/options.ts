/** Choices that graders disagree on. Each has a name, a default, and nothing else depends on it. */

export interface EquivalenceOptions {
  /**
   * What `p%` is worth: `hundredth` (default) p/100; `ignore` p; `either` whichever matches.
   */
  readonly percent?: 'hundredth' | 'ignore' | 'either'
  /**
   * Digits after the point to which a decimal must agree with a value that is not an integer, at most half a unit of the
   * last one off. Default 6. `'exact'`: no rounding, so 0.333333 is not 1/3. Integers are never met by rounding.
   */
  readonly decimals?: number | 'exact'
  /** Whether `1, 2` answers `2, 1`. Default `ignore`. Tuples are always in order, sets never. */
  readonly listOrder?: 'ignore' | 'keep'
  /** Whether `[1, 2]` answers `(1, 2)`. Default `keep`: they do not. */
  readonly brackets?: 'keep' | 'ignore'
  /** Reads a lone `1,22` as 1.22. Default false: it is a list of two. */
  readonly decimalComma?: boolean
  /** Refuses predictions with arithmetic left to do, such as `3245/5` or `2+3`. Default false. */
  readonly requireEvaluated?: boolean
}

export type ResolvedEquivalence = Required<EquivalenceOptions>

/**
 * @throws RangeError for `decimals` that are not 'exact' or an integer in 0…15.
 */
export function resolveEquivalence(options: EquivalenceOptions): ResolvedEquivalence {
  const { decimals = 6 } = options
  if (decimals !== 'exact' && !(Number.isInteger(decimals) && decimals >= 0 && decimals <= 15))
    throw new RangeError(`decimals is ${decimals}; allowed: 'exact' or an integer from 0 to 15`)
  return {
    percent: options.percent ?? 'hundredth',
    decimals,
    listOrder: options.listOrder ?? 'ignore',
    brackets: options.brackets ?? 'keep',
    decimalComma: options.decimalComma ?? false,
    requireEvaluated: options.requireEvaluated ?? false,
  }
}
