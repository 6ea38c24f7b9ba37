/** Options of the accuracy reward, checked by a hand-written Standard Schema (https://standardschema.dev). */
import type { OptionsSchema } from '@revisual/rl'
import { DEFAULT_RULES, type ExtractionRule, type Profile, PROFILE_NAMES } from '@revisual/verify'

export interface AccuracyOptions {
  /** Dataset column with the right answer. Default `answer`. */
  readonly column?: string
  /**
   * Which grader decides: `mathVerify` (default, lenient), `strict` (finished values in valid LaTeX only), `gradeAnswer`
   * (MathRuler, to reproduce EasyR1 and ReVisual-R1). Any option given beside it wins.
   */
  readonly profile?: Profile
  /**
   * Credit below 1 for what is not right: `hedged`, `unevaluated` and `malformed` answers have the right value; `answered`
   * is for any answer that could be read. Default 0 each: a policy learns to collect what is paid.
   */
  readonly credit?: PartialCredit
  /**
   * Where an answer may stand, tried in order. Default `boxed`, `answer-tag`, `answer-phrase` (those of the profile, if one is given): places that the policy marks
   * as its answer. The unmarked rules would pay for any number that happens to come last.
   */
  readonly rules?: readonly ExtractionRule[]
  /** Default `join`: boxes side by side are one answer of several values, so a second guess makes the first one wrong. */
  readonly boxes?: 'join' | 'last'
  /** Default `hundredth`: 28% is 0.28. */
  readonly percent?: 'hundredth' | 'ignore' | 'either'
  /** Digits to which a decimal must agree with a value that is no integer. Default 6. */
  readonly decimals?: number | 'exact'
  /** Refuse answers with arithmetic left to do. Default false. */
  readonly requireEvaluated?: boolean
  /**
   * What a completion earns whose answer can be neither accepted nor refused (unreadable, or past a cost limit). Default
   * `zero`; `skip` gives no reward (`null`), so that the sample counts for nothing.
   */
  readonly undecided?: 'zero' | 'skip'
}

export interface PartialCredit {
  readonly hedged?: number
  readonly unevaluated?: number
  readonly malformed?: number
  readonly answered?: number
}

const CREDITS: readonly string[] = ['hedged', 'unevaluated', 'malformed', 'answered']

const isCredit = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  Object.entries(value).every(
    ([name, share]) => CREDITS.includes(name) && typeof share === 'number' && share >= 0 && share <= 1,
  )

interface Check {
  readonly allowed: string
  readonly test: (value: unknown) => boolean
}

const oneOf = (...values: readonly string[]): Check => ({
  allowed: values.join(', '),
  test: (value) => typeof value === 'string' && values.includes(value),
})

const isRule = (value: unknown): boolean =>
  typeof value === 'string' && value !== 'choice' && (DEFAULT_RULES as readonly string[]).includes(value)

const checks: { readonly [name in keyof Required<AccuracyOptions>]: Check } = {
  profile: oneOf(...PROFILE_NAMES),
  credit: { allowed: `an object of ${CREDITS.join(', ')}, each from 0 to 1`, test: isCredit },
  column: { allowed: 'a column name', test: (value) => typeof value === 'string' && value !== '' },
  rules: {
    allowed: `a list of ${DEFAULT_RULES.filter((rule) => rule !== 'choice').join(', ')}`,
    test: (value) => Array.isArray(value) && value.length > 0 && value.every(isRule),
  },
  boxes: oneOf('join', 'last'),
  percent: oneOf('hundredth', 'ignore', 'either'),
  decimals: {
    allowed: "'exact' or an integer from 0 to 15",
    test: (value) => value === 'exact' || (Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 15),
  },
  requireEvaluated: { allowed: 'true, false', test: (value) => typeof value === 'boolean' },
  undecided: oneOf('zero', 'skip'),
}

export const accuracyOptions: OptionsSchema<AccuracyOptions> = {
  '~standard': {
    version: 1,
    vendor: 'revisual',
    validate(value = {}) {
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        return { issues: [{ message: `is ${JSON.stringify(value)}; allowed: an object` }] }
      const known = new Map<string, Check>(Object.entries(checks))
      const issues = Object.entries(value).flatMap(([name, given]) => {
        const check = known.get(name)
        if (check === undefined)
          return [{ message: `is unknown; allowed: ${[...known.keys()].join(', ')}`, path: [name] }]
        if (given === undefined || check.test(given)) return []
        return [{ message: `is ${JSON.stringify(given)}; allowed: ${check.allowed}`, path: [name] }]
      })
      return issues.length > 0 ? { issues } : { value }
    },
  },
}
