/** The public functions: extraction, equivalence, and both in one. */
import { type Comparison, Comparer, isUnevaluated } from './compare.js'
import { extract, type ExtractOptions, type Extraction, findBoxed } from './extract.js'
import { LimitError, LIMITS, Work } from './limits.js'
import { normalizeAnswer, textKey } from './normalize.js'
import { type EquivalenceOptions, type ResolvedEquivalence, resolveEquivalence } from './options.js'
import { parse } from './parse.js'

/**
 * - `correct`, `incorrect`: decided.
 * - `no-answer`: nothing to judge was found.
 * - `hedged`: the right value, and another one offered beside it.
 * - `unevaluated`: the right value, with arithmetic left to do (only with `requireEvaluated`).
 * - `undecided`: not readable, not computable, or past a limit. Counts as not correct; trainers may mask it.
 */
export type VerdictStatus = 'correct' | 'incorrect' | 'no-answer' | 'hedged' | 'unevaluated' | 'undecided'

/** How the verdict was reached. */
export type VerdictRule = Comparison['rule'] | 'same-text' | 'limit' | 'unparsable' | 'empty'

export interface Verdict {
  /** True only for status `correct`. */
  readonly correct: boolean
  readonly status: VerdictStatus
  readonly rule: VerdictRule
  /** Elementary steps it took: a deterministic measure of cost. */
  readonly steps: number
}

export interface VerifyOptions extends ExtractOptions, EquivalenceOptions {}

export interface Verification extends Verdict {
  /** What was judged, and where it was found. */
  readonly extraction: Extraction
}

type Outcome = Pick<Verdict, 'status' | 'rule'>

const DECIMAL_COMMA = /^[-−+]?\d+,\d+$/

function prepare(answer: string, options: ResolvedEquivalence, work: Work): string {
  let normalized = normalizeAnswer(answer, work)
  if (options.decimalComma && DECIMAL_COMMA.test(normalized) && !/^[-−+]?[1-9]\d{0,2},\d{3}$/.test(normalized))
    normalized = normalized.replace(',', '.')
  return normalized
}

/** Without per cent signs and words. */
const withoutPercent = (normalized: string): string => normalized.replace(/\\?%|percent(?:age)?|pct/gi, '').trim()

function judge(gold: string, prediction: string, options: ResolvedEquivalence, work: Work): Outcome {
  if (Math.max(gold.length, prediction.length) > LIMITS.answerLength) return { status: 'undecided', rule: 'limit' }
  const [g, p] = [prepare(gold, options, work), prepare(prediction, options, work)]
  if (g === '' || p === '') return { status: p === '' ? 'no-answer' : 'undecided', rule: 'empty' }
  const verdicts: Outcome[] = []
  if (options.percent !== 'ignore') verdicts.push(judgeNormalized(g, p, options, work))
  if (options.percent !== 'hundredth')
    verdicts.push(judgeNormalized(withoutPercent(g), withoutPercent(p), options, work))
  return verdicts.find(({ status }) => status === 'correct') ?? verdicts[0] ?? { status: 'undecided', rule: 'empty' }
}

function judgeNormalized(gold: string, prediction: string, options: ResolvedEquivalence, work: Work): Outcome {
  const key = textKey(gold, work)
  const same = key !== '' && key === textKey(prediction, work)
  const [g, p] = [parse(gold, work), parse(prediction, work)]
  if (p !== null && options.requireEvaluated && isUnevaluated(p)) {
    const correct = same || (g !== null && new Comparer(options, work).compare(g, p).equal)
    return correct ? { status: 'unevaluated', rule: 'exact' } : { status: 'incorrect', rule: 'exact' }
  }
  if (same) return { status: 'correct', rule: 'same-text' }
  if (g === null || p === null) return { status: 'undecided', rule: 'unparsable' }
  const { equal, decided, rule } = new Comparer(options, work).compare(g, p)
  return { status: equal ? 'correct' : decided ? 'incorrect' : 'undecided', rule }
}

const finish = (outcome: Outcome, work: Work): Verdict => ({
  correct: outcome.status === 'correct',
  ...outcome,
  steps: work.steps,
})

/** Runs on a budget; past it the outcome is undecided. */
function onBudget(work: Work, judgement: () => Outcome): Verdict {
  try {
    return finish(judgement(), work)
  } catch (error) {
    if (error instanceof LimitError) return finish({ status: 'undecided', rule: 'limit' }, work)
    throw error
  }
}

/**
 * The final answer in a completion. Never throws; the cost is linear in the length of `text`.
 */
export function extractAnswer(text: string, options: ExtractOptions = {}): Extraction {
  const work = new Work(text.length)
  try {
    return extract(text, options, work)
  } catch (error) {
    if (error instanceof LimitError) return { answer: null, rule: 'none', alternatives: [] }
    throw error
  }
}

/**
 * Whether `prediction` is the same answer as `gold`, both given as answers without surrounding prose. Never throws for
 * strings of any content.
 *
 * @throws RangeError for an option outside its range.
 */
export function isEquivalent(gold: string, prediction: string, options: EquivalenceOptions = {}): Verdict {
  const resolved = resolveEquivalence(options)
  const work = new Work(gold.length + prediction.length)
  return onBudget(work, () => judge(gold, prediction, resolved, work))
}

/** Longer golds that do not read as an answer are worked solutions. */
const LONGEST_BARE_GOLD = 200

/** The answer in a gold: its box if it has one, the answer of a worked solution, else all of it. */
function goldAnswer(gold: string, choices: readonly string[] | undefined, work: Work): string {
  if (choices !== undefined) return extract(gold, { choices, rules: ['choice'] }, work).answer ?? gold
  const boxed = findBoxed(gold, true, work)
  if (boxed !== null) return boxed.answer
  if (parse(normalizeAnswer(gold, work), work) !== null) return gold
  const marked: VerifyOptions = gold.length > LONGEST_BARE_GOLD ? {} : { rules: ['answer-tag', 'answer-phrase'] }
  return extract(gold, marked, work).answer ?? gold
}

/**
 * Judges a whole completion: extracts its answer and compares it with `gold`, an answer or a worked solution with one.
 * A right answer that offers another value beside it ("5, or maybe 6") is not correct. Never throws for strings of any
 * content; the cost is linear in the length of `text`.
 *
 * @throws RangeError for an option outside its range.
 */
export function verify(gold: string, text: string, options: VerifyOptions = {}): Verification {
  const resolved = resolveEquivalence(options)
  const work = new Work(gold.length + text.length)
  let extraction: Extraction = { answer: null, rule: 'none', alternatives: [] }
  const verdict = onBudget(work, () => {
    extraction = extract(text, options, work)
    const { answer, alternatives } = extraction
    if (answer === null) return { status: 'no-answer', rule: 'empty' }
    const expected = goldAnswer(gold, options.choices, work)
    const outcome = judge(expected, answer, resolved, work)
    if (outcome.status !== 'correct') return outcome
    const other = alternatives.some((value) => judge(expected, value, resolved, work).status !== 'correct')
    return other ? { status: 'hedged', rule: outcome.rule } : outcome
  })
  return { ...verdict, extraction }
}
