/** The public functions: extraction, equivalence, and both in one. */
import { exactValue } from './exact.js'
import { extract, type ExtractOptions, type Extraction, resolveExtraction } from './extract.js'
import { goldAnswer } from './gold.js'
import { type ComparisonStep, judge, type Outcome, type Reason } from './judge.js'
import { LimitError, LIMITS, Work } from './limits.js'
import { isMalformed } from './malformed.js'
import { normalizeAnswer } from './normalize.js'
import { type EquivalenceOptions, resolveEquivalence } from './options.js'
import { parse } from './parse.js'

export interface Verdict {
  /** True only for reason `correct`. */
  readonly equal: boolean
  readonly reason: Reason
  /** The answer that was judged; null if none was found. */
  readonly extracted: string | null
  /** Where the answer was found (`given`: it was passed as it is), and what decided. */
  readonly how: { readonly extraction: Extraction['rule'] | 'given'; readonly comparison: ComparisonStep }
  /** Elementary steps it took: a deterministic measure of cost. */
  readonly steps: number
}

export interface VerifyOptions extends ExtractOptions, EquivalenceOptions {}

const NOTHING: Extraction & { readonly value: null } = {
  answer: null,
  rule: 'none',
  plain: false,
  alternatives: [],
  value: null,
}

/** Runs on a budget; past it the outcome is undecided. */
function onBudget(judgement: () => Outcome): Outcome {
  try {
    return judgement()
  } catch (error) {
    return { reason: 'undecided', comparison: error instanceof LimitError ? 'limit' : 'failure' }
  }
}

/** What is not a string holds no answer. */
const textOf = (value: string): string => (typeof value === 'string' ? value : '')

/** An answer that is a rational number as an integer or `n/d` in lowest terms; null for anything else. */
function valueText(answer: string | null, work: Work): string | null {
  const node =
    answer === null || answer.length > LIMITS.answerLength ? null : parse(normalizeAnswer(answer, work), work)
  const value = node === null ? null : exactValue(node, work)
  if (value === null) return null
  return value.denominator === 1n ? String(value.numerator) : `${value.numerator}/${value.denominator}`
}

/**
 * The final answer in a completion, with its `value` if it is a rational number. LaTeX that `malformed: 'refuse'` refuses
 * is no answer. Never throws on text; the cost is linear in its length.
 *
 * @throws RangeError for an option outside its range.
 */
export function extractAnswer(
  text: string,
  options: VerifyOptions = {},
): Extraction & { readonly value: string | null } {
  const equivalence = resolveEquivalence(options)
  const extraction = resolveExtraction(options, equivalence.profile)
  const completion = textOf(text)
  const work = new Work(completion.length)
  try {
    const found = extract(completion, extraction, work)
    const refused = equivalence.malformed === 'refuse' && found.answer !== null && isMalformed(found.answer, work)
    return refused ? NOTHING : { ...found, value: valueText(found.answer, work) }
  } catch {
    return NOTHING
  }
}

/**
 * Whether `prediction` is the same answer as `gold`, both given as answers without surrounding prose. Never throws on
 * strings of any content.
 *
 * @throws RangeError for an option outside its range.
 */
export function isEquivalent(gold: string, prediction: string, options: EquivalenceOptions = {}): Verdict {
  const resolved = resolveEquivalence(options)
  const [expected, given] = [textOf(gold), textOf(prediction)]
  const work = new Work(expected.length + given.length)
  const { reason, comparison } = onBudget(() => judge(expected, given, resolved, work))
  return {
    equal: reason === 'correct',
    reason,
    extracted: given,
    how: { extraction: 'given', comparison },
    steps: work.steps,
  }
}

/**
 * Judges a whole completion: extracts its answer and compares it with `gold`, an answer or a worked solution with one.
 * A right answer that offers another value beside it ("5, or maybe 6") is not correct. Never throws on strings of any
 * content; the cost is linear in the length of `text`.
 *
 * @throws RangeError for an option outside its range.
 */
export function verify(gold: string, text: string, options: VerifyOptions = {}): Verdict {
  const resolved = resolveEquivalence(options)
  const extractOptions = resolveExtraction(options, resolved.profile)
  const [solution, completion] = [textOf(gold), textOf(text)]
  const work = new Work(solution.length + completion.length)
  let found: Extraction = NOTHING
  const { reason, comparison } = onBudget((): Outcome => {
    found = extract(completion, extractOptions, work)
    const { answer, plain, alternatives } = found
    if (answer === null) return { reason: 'no-answer', comparison: 'empty' }
    const expected = goldAnswer(solution, extractOptions, work)
    const outcome = judge(expected.answer, answer, resolved, work, { gold: expected.plain, prediction: plain })
    if (outcome.reason !== 'correct') return outcome
    const other = alternatives.some((value) => judge(expected.answer, value, resolved, work).reason !== 'correct')
    return other ? { reason: 'hedged', comparison: outcome.comparison } : outcome
  })
  return {
    equal: reason === 'correct',
    reason,
    extracted: found.answer,
    how: { extraction: found.rule, comparison },
    steps: work.steps,
  }
}
