/**
 * Choices that graders disagree on, each with a name, and the three named profiles that fix all of them: `mathVerify`
 * (lenient, symbolic; what Math-Verify's tests ask for), `gradeAnswer` (MathRuler's grader, step by step) and `strict`
 * (for rewards: valid LaTeX, finished values, nothing beside them).
 */

export type Profile = 'mathVerify' | 'gradeAnswer' | 'strict'

export interface EquivalenceOptions {
  /** Named set of choices; every option given beside it wins over it. Default `mathVerify`. */
  readonly profile?: Profile
  /**
   * What `p%` is worth: `hundredth` (default) p/100; `ignore` p; `either` whichever matches.
   */
  readonly percent?: 'hundredth' | 'ignore' | 'either'
  /**
   * Digits after the point to which a decimal must agree with a value that is not an integer, at most half a unit of the
   * last one off. Default 6, in `strict` `'exact'`: no rounding, so 0.333333 is not 1/3. Integers are never met by rounding.
   */
  readonly decimals?: number | 'exact'
  /** Whether `1, 2` answers `2, 1`. Default `ignore`. Tuples are always in order, sets never. */
  readonly listOrder?: 'ignore' | 'keep'
  /**
   * Whether `[1, 2]` answers `(1, 2)`. Default `keep`: they do not, but a bare `1, 2` does. `require` (default in `strict`):
   * only `(1, 2)` does.
   */
  readonly brackets?: 'require' | 'keep' | 'ignore'
  /**
   * Reads a lone `1,22` as 1.22. `'plain'` (default): only where it stands in plain text, never inside LaTeX or a box.
   * Default in `strict`: false, it is a list of two.
   */
  readonly decimalComma?: boolean | 'plain'
  /**
   * Refuses predictions with arithmetic left to do, such as `3245/5`, `2+3`, `7x/x`, `\sum_{k=1}^9 k`, unless the gold is
   * written that way itself. Default false, in `strict` true.
   */
  readonly requireEvaluated?: boolean
  /** Whether a relation answers a set: `-2 ≤ x ≤ 7` the interval `[-2, 7]`. Default false: it may repeat the question. */
  readonly relationForSet?: boolean
  /** Whether names may differ if they do so one to one: `f(y)` for `f(x)`. Default false. */
  readonly renameVariables?: boolean
  /**
   * What becomes of LaTeX that TeX would not read as meant (`\frac12` for one half of two digits, `\sqrt3`, `\\frac`,
   * `x^10`): `repair` (default) reads it as meant, `refuse` (default in `strict`) does not accept it in a prediction.
   */
  readonly malformed?: 'repair' | 'refuse'
  /** Whether units must agree where both sides have one. Default `ignore`, in `strict` `check`. */
  readonly units?: 'ignore' | 'check'
  /** Whether a computation with its result, `3+2=5`, answers that result. Default true, in `strict` false. */
  readonly chains?: boolean
}

export type ResolvedEquivalence = Required<EquivalenceOptions>

const MATH_VERIFY: ResolvedEquivalence = {
  profile: 'mathVerify',
  percent: 'hundredth',
  decimals: 6,
  listOrder: 'ignore',
  brackets: 'keep',
  decimalComma: 'plain',
  requireEvaluated: false,
  relationForSet: false,
  renameVariables: false,
  malformed: 'repair',
  units: 'ignore',
  chains: true,
}

const PROFILES: { readonly [name in Profile]: ResolvedEquivalence } = {
  mathVerify: MATH_VERIFY,
  // MathRuler's own normal forms decide; none of the other choices takes part.
  gradeAnswer: { ...MATH_VERIFY, profile: 'gradeAnswer' },
  strict: {
    ...MATH_VERIFY,
    profile: 'strict',
    decimals: 'exact',
    brackets: 'require',
    decimalComma: false,
    requireEvaluated: true,
    malformed: 'refuse',
    units: 'check',
    chains: false,
  },
}

export const PROFILE_NAMES = Object.keys(PROFILES) as readonly Profile[]

/**
 * @throws RangeError for a profile that does not exist and for `decimals` that are not 'exact' or an integer in 0…15.
 */
export function resolveEquivalence(options: EquivalenceOptions): ResolvedEquivalence {
  const { profile = 'mathVerify' } = options
  if (!PROFILE_NAMES.includes(profile))
    throw new RangeError(`profile is ${String(profile)}; allowed: ${PROFILE_NAMES.join(', ')}`)
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  const resolved: ResolvedEquivalence = { ...PROFILES[profile], ...Object.fromEntries(given) }
  const { decimals } = resolved
  if (decimals !== 'exact' && !(Number.isInteger(decimals) && decimals >= 0 && decimals <= 15))
    throw new RangeError(`decimals is ${decimals}; allowed: 'exact' or an integer from 0 to 15`)
  return resolved
}
