/** Judging one answer against the right one, both without surrounding prose. */
import { namesOf, type Node, substitute } from './ast.js'
import { type Comparison, Comparer } from './compare.js'
import { isUnevaluated } from './evaluated.js'
import { gradeAnswer } from './grade-answer/grade.js'
import { LIMITS, type Work } from './limits.js'
import { isMalformed } from './malformed.js'
import { normalizeAnswer, textKey } from './normalize.js'
import type { ResolvedEquivalence } from './options.js'
import { parse } from './parse.js'

/**
 * - `correct`, `incorrect`: decided.
 * - `no-answer`: nothing to judge was found.
 * - `hedged`: the right value, and another one offered beside it.
 * - `unevaluated`: the right value, with arithmetic left to do (only with `requireEvaluated`).
 * - `malformed`: the right value in LaTeX that does not read as meant (only with `malformed: 'refuse'`).
 * - `undecided`: not readable, not computable, or past a limit. Counts as not equal; trainers may mask it.
 */
export type Reason = 'correct' | 'incorrect' | 'no-answer' | 'hedged' | 'unevaluated' | 'malformed' | 'undecided'

/**
 * What decided: how the values were compared, or why they could not be. `grader`: MathRuler's rules. `failure`: a defect
 * of this package, which is worth a report.
 */
export type ComparisonStep = Comparison['rule'] | 'same-text' | 'limit' | 'unparsable' | 'empty' | 'grader' | 'failure'

export interface Outcome {
  readonly reason: Reason
  readonly comparison: ComparisonStep
}

/** Which sides stood in plain text, where a comma may be a decimal one. */
export interface PlainSides {
  readonly gold: boolean
  readonly prediction: boolean
}

const NOT_PLAIN: PlainSides = { gold: false, prediction: false }

const DECIMAL_COMMA = /^[-−+]?\d+,\d+$/
const THOUSANDS = /^[-−+]?[1-9]\d{0,2},\d{3}$/

/** The number `1,22` as 1.22; null for anything else. */
function asDecimal(normalized: string): string | null {
  return DECIMAL_COMMA.test(normalized) && !THOUSANDS.test(normalized) ? normalized.replace(',', '.') : null
}

/** Without per cent signs and words. */
const withoutPercent = (normalized: string): string => normalized.replace(/\\?%|percent(?:age)?|pct/gi, '').trim()

/** Readings of an answer, the plainest first. */
function readings(normalized: string, plain: boolean, options: ResolvedEquivalence): readonly string[] {
  const decimal =
    options.decimalComma === true || (options.decimalComma === 'plain' && plain) ? asDecimal(normalized) : null
  // Outright decimal commas leave no list; in plain text both are possible.
  return decimal === null ? [normalized] : options.decimalComma === true ? [decimal] : [normalized, decimal]
}

/** Whether `prediction` is the same answer as `gold`, under the options. */
export function judge(
  gold: string,
  prediction: string,
  options: ResolvedEquivalence,
  work: Work,
  plain: PlainSides = NOT_PLAIN,
): Outcome {
  if (Math.max(gold.length, prediction.length) > LIMITS.answerLength)
    return { reason: 'undecided', comparison: 'limit' }
  if (options.profile === 'gradeAnswer')
    return { reason: gradeAnswer(gold, prediction, work) ? 'correct' : 'incorrect', comparison: 'grader' }
  const [g, p] = [normalizeAnswer(gold, work), normalizeAnswer(prediction, work)]
  if (g === '' || p === '') return { reason: p === '' ? 'no-answer' : 'undecided', comparison: 'empty' }
  const outcomes: Outcome[] = []
  for (const expected of readings(g, plain.gold, options))
    for (const given of readings(p, plain.prediction, options)) {
      if (options.percent !== 'ignore') outcomes.push(judgeNormalized(expected, given, options, work))
      if (options.percent !== 'hundredth')
        outcomes.push(judgeNormalized(withoutPercent(expected), withoutPercent(given), options, work))
    }
  const best = outcomes.find(({ reason }) => reason === 'correct') ?? outcomes[0]
  if (best === undefined) return { reason: 'undecided', comparison: 'empty' }
  const refused = best.reason === 'correct' && options.malformed === 'refuse' && isMalformed(prediction, work)
  return refused ? { reason: 'malformed', comparison: best.comparison } : best
}

function judgeNormalized(gold: string, prediction: string, options: ResolvedEquivalence, work: Work): Outcome {
  const key = textKey(gold, work)
  if (key !== '' && key === textKey(prediction, work)) return { reason: 'correct', comparison: 'same-text' }
  const [g, p] = [parse(gold, work), parse(prediction, work)]
  if (g === null || p === null) return { reason: 'undecided', comparison: 'unparsable' }
  const given = options.renameVariables ? renamed(g, p) : p
  const { equal, decided, rule } = new Comparer(options, work).compare(g, given)
  if (!equal) return { reason: decided ? 'incorrect' : 'undecided', comparison: rule }
  const unfinished = options.requireEvaluated && isUnevaluated(g, given, work)
  return { reason: unfinished ? 'unevaluated' : 'correct', comparison: rule }
}

/** The prediction with its names replaced, in the order of their first use, by those of the gold. */
function renamed(gold: Node, prediction: Node): Node {
  const names = [...namesOf(gold)]
  const others = [...namesOf(prediction)]
  if (names.length !== others.length) return prediction
  const map = new Map(others.map((name, i) => [name, names[i] ?? name]))
  return substitute(prediction, (name) => ({ kind: 'symbol', name: map.get(name) ?? name }))
}
