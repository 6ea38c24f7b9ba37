/**
 * Finding the final answer in a completion: named rules, tried in the order given, each one forward scan. What stands
 * before the last `</think>` is never an answer, and neither is a box that was not closed.
 */
import { findChoice } from './choices.js'
import { alternativesAfter, alternativesBefore } from './hedges.js'
import { LIMITS, type Work } from './limits.js'
import { normalizeAnswer } from './normalize.js'
import type { Profile } from './options.js'
import { parse } from './parse.js'
import { answerFrom, type Found, findPhrase, joinFormulas, lastPhrase } from './phrases.js'
import { closedBoxes, joinBoxes, lastNumber, loneFraction, mathSpans, percentSuffix } from './scan.js'
import { FUNCTIONS, isUnit, PERCENT_WORDS, SEPARATOR_WORDS } from './vocabulary.js'

/**
 * - `boxed`: the last `\boxed{}`, joined with boxes that stand right beside it.
 * - `answer-tag`: the last `<answer>…</answer>`.
 * - `answer-phrase`: what follows the last "answer is" or "answer:".
 * - `choice`: the letter after an answer phrase, at the start, or last in the text; only with `choices`.
 * - `bare`: the whole text, if it is one line that reads as an answer.
 * - `last-math`: the last `$…$`, `\(…\)` or `\[…\]`.
 * - `last-number`: the last plain number. Of the last two rules the one that ends later in the text applies.
 */
export type ExtractionRule = 'boxed' | 'answer-tag' | 'answer-phrase' | 'choice' | 'bare' | 'last-math' | 'last-number'

export const DEFAULT_RULES: readonly ExtractionRule[] = [
  'boxed',
  'answer-tag',
  'choice',
  'answer-phrase',
  'bare',
  'last-math',
  'last-number',
]

export interface ExtractOptions {
  /** Rules to try, first to last. Default: all. Rewards should leave out the unmarked ones (`bare`, `last-…`). */
  readonly rules?: readonly ExtractionRule[]
  /**
   * `skip` (default): only the text after the last `</think>`, and none if `<think>` is left open. `include`: everything.
   */
  readonly thinking?: 'skip' | 'include'
  /**
   * `join` (default): neighbouring boxes are one answer of several values. `last`: only the last box that is closed
   * counts. `exact` (in `gradeAnswer`): the last `\\boxed{`, and no answer if it is not closed.
   */
  readonly boxes?: 'join' | 'last' | 'exact'
  /**
   * Values offered beside the answer: `refuse` (default) those that "or", "maybe" and the like introduce; `strict` (the
   * profile's default) more such words, and other boxes; `ignore` none.
   */
  readonly hedges?: 'refuse' | 'strict' | 'ignore'
  /** Labels of a multiple-choice question, e.g. `['A', 'B', 'C', 'D']`; switches the rule `choice` on. */
  readonly choices?: readonly string[]
}

export interface Extraction {
  /** Text of the answer, or null if no rule applied. */
  readonly answer: string | null
  /** The rule that applied; for no answer `none`, or `unclosed-think`. */
  readonly rule: ExtractionRule | 'none' | 'unclosed-think'
  /** It stood in plain text, not in LaTeX delimiters or a box. */
  readonly plain: boolean
  /** Values offered beside the answer in words ("… or 6"), as far as they can be read. */
  readonly alternatives: readonly string[]
}

export type ResolvedExtraction = Required<Omit<ExtractOptions, 'choices'>> & Pick<ExtractOptions, 'choices'>

const PROFILE_EXTRACTION: { readonly [name in Profile]: ResolvedExtraction } = {
  mathVerify: { rules: DEFAULT_RULES, thinking: 'skip', boxes: 'join', hedges: 'refuse' },
  gradeAnswer: { rules: ['boxed'], thinking: 'include', boxes: 'exact', hedges: 'ignore' },
  strict: { rules: ['boxed', 'answer-tag'], thinking: 'skip', boxes: 'join', hedges: 'strict' },
}

/** The options with those of the profile for what is not given. */
export function resolveExtraction(options: ExtractOptions, profile: Profile): ResolvedExtraction {
  const { rules, thinking, boxes, hedges } = PROFILE_EXTRACTION[profile]
  return {
    rules: options.rules ?? rules,
    thinking: options.thinking ?? thinking,
    boxes: options.boxes ?? boxes,
    hedges: options.hedges ?? hedges,
    ...(options.choices === undefined ? {} : { choices: options.choices }),
  }
}

/** Last part that `text` has after the reasoning, or null if the reasoning is not closed. */
function afterThinking(text: string): string | null {
  const close = text.lastIndexOf('</think>')
  if (close !== -1) return text.slice(close + '</think>'.length)
  return text.includes('<think>') ? null : text
}

/** The last box, joined with the boxes right before it. `last`: that box alone; `unclosed`: one that takes the rest. */
export function findBoxed(
  text: string,
  boxes: 'join' | 'last',
  work: Work,
): (Found & { readonly start: number }) | null {
  const closed = closedBoxes(text, work)
  const last = closed.at(-1)
  if (last === undefined) return null
  const joined = joinBoxes(text, boxes === 'join' ? closed : closed.slice(-1), work)
  return { answer: joined.answer + percentSuffix(text, last.end + 1), start: joined.start, end: last.end + 1 }
}

/** As MathRuler does it: braces are counted without regard to backslashes. */
function exactBox(text: string, work: Work): Found | null {
  const start = text.lastIndexOf('\\boxed{')
  if (start === -1) return null
  let depth = 1
  for (let i = start + '\\boxed{'.length; i < text.length; i++) {
    work.spend(1)
    if (text[i] === '{') depth++
    if (text[i] === '}' && --depth === 0) return { answer: text.slice(start + '\\boxed{'.length, i), end: i + 1 }
  }
  return null
}

function findTag(text: string): Found | null {
  const close = text.lastIndexOf('</answer>')
  if (close === -1) return null
  const open = text.lastIndexOf('<answer>', close)
  if (open === -1) return null
  return { answer: text.slice(open + '<answer>'.length, close), end: close }
}

/** Two words side by side, or a long one, that are neither commands nor units: a sentence, not a formula. */
function isProse(line: string): boolean {
  const words = line.replace(/\\[a-zA-Z]+(?:\{[\p{L} ]*\})?/gu, ' ').matchAll(/\p{L}+/gu)
  let previous = -2
  for (const { 0: word, index } of words) {
    const lower = word.toLowerCase()
    if (isUnit(word) || FUNCTIONS.has(lower) || SEPARATOR_WORDS.has(lower) || PERCENT_WORDS.has(lower)) continue
    if (word.length > 3 || (word.length > 1 && index === previous + 1)) return true
    previous = index + word.length
  }
  return false
}

function findBare(text: string, work: Work): Found | null {
  const line = text.trim()
  if (line === '' || line.length > 200 || line.includes('\n') || /\\f?boxed?/.test(line)) return null
  if (isProse(line)) return null
  const tree = parse(normalizeAnswer(line, work), work)
  return tree === null || tree.kind === 'text' ? null : { answer: line, end: text.length, plain: !/[\\$]/.test(line) }
}

/** Whether the text between delimiters reads as a formula. */
const isFormula = (answer: string, work: Work): boolean =>
  !isProse(answer) && parse(normalizeAnswer(answer, work), work) !== null

/** A final answer announced after the last box replaces it. */
function correction(text: string, box: Found, work: Work): Found | null {
  const start = lastPhrase(text.slice(box.end), true)
  const found = start === -1 ? null : answerFrom(text, box.end + start, work)
  return found !== null && isFormula(found.answer, work) ? found : null
}

/** Contents of the boxes that are not part of the answer. */
function otherBoxes(text: string, answer: Found & { readonly start: number }, work: Work): string[] {
  const contents = closedBoxes(text, work)
    .filter(({ end }) => end < answer.start)
    .map(({ start, end }) => text.slice(start, end))
  return [...new Set(contents)].slice(0, 16)
}

/** {@link extractAnswer} on a budget. */
export function extract(text: string, options: ResolvedExtraction, work: Work): Extraction {
  work.spend(text.length)
  const after = options.thinking === 'include' ? text : afterThinking(text)
  if (after === null) return nothing('unclosed-think')
  for (const rule of options.rules) {
    const extraction = new Extractor(after, options, work).by(rule)
    if (extraction !== null) return extraction
  }
  return nothing('none')
}

const nothing = (rule: 'none' | 'unclosed-think'): Extraction => ({
  answer: null,
  rule,
  plain: false,
  alternatives: [],
})

class Extractor {
  readonly #text: string
  readonly #options: ResolvedExtraction
  readonly #work: Work

  constructor(text: string, options: ResolvedExtraction, work: Work) {
    this.#text = text
    this.#options = options
    this.#work = work
  }

  by(rule: ExtractionRule): Extraction | null {
    switch (rule) {
      case 'boxed':
        return this.#boxed()
      case 'answer-tag':
        return this.#finish(rule, findTag(this.#text), 0)
      case 'bare':
        return this.#finish(rule, findBare(this.#text, this.#work), 0)
      case 'choice': {
        const { choices } = this.#options
        const found = choices === undefined ? null : findChoice(this.#tail, choices, this.#work)
        return found === null ? null : { answer: found.answer, rule, plain: true, alternatives: [] }
      }
      case 'answer-phrase':
        return this.#finish(rule, findPhrase(this.#tail, this.#work), this.#offset)
      case 'last-math':
        return this.#finish(rule, this.#lastMath(), this.#offset)
      case 'last-number':
        return this.#finish(rule, this.#lastNumber(), this.#offset)
    }
  }

  /** Unmarked answers and phrases are looked for at the end only. */
  get #tail(): string {
    return this.#text.slice(-LIMITS.tail)
  }

  get #offset(): number {
    return Math.max(0, this.#text.length - LIMITS.tail)
  }

  #boxed(): Extraction | null {
    if (this.#options.boxes === 'exact') return this.#finish('boxed', exactBox(this.#text, this.#work), 0)
    const box = findBoxed(this.#text, this.#options.boxes, this.#work)
    if (box === null) return null
    const phrase = this.#options.rules.includes('answer-phrase') ? correction(this.#text, box, this.#work) : null
    if (phrase !== null) return this.#finish('answer-phrase', phrase, 0)
    const extraction = this.#finish('boxed', box, 0)
    if (extraction === null || this.#options.hedges === 'ignore') return extraction
    const joined = this.#options.boxes === 'join'
    const before = joined ? alternativesBefore(this.#text.slice(0, box.start), this.#work) : []
    const others = this.#options.hedges === 'strict' ? otherBoxes(this.#text, box, this.#work) : []
    return { ...extraction, alternatives: [...extraction.alternatives, ...before, ...others] }
  }

  #lastNumber(): Found | null {
    const number = lastNumber(this.#tail, this.#work)
    return number === null ? null : { answer: this.#tail.slice(number.start, number.end), end: number.end, plain: true }
  }

  /** The last formula, unless a number follows it or it is prose between stray delimiters. */
  #lastMath(): Found | null {
    const tail = this.#tail
    const math = joinFormulas(tail, mathSpans(tail, this.#work)) ?? loneFraction(tail)
    if (math === null || !this.#options.rules.includes('last-number')) return math
    const number = this.#lastNumber()
    if (number !== null && number.end > math.end + 2) return null
    return number !== null && isProse(math.answer) ? null : math
  }

  #finish(rule: ExtractionRule, found: Found | null, offset: number): Extraction | null {
    const answer = found?.answer.trim() ?? ''
    if (found === null || answer === '') return null
    const { hedges } = this.#options
    const tail = this.#text.slice(found.end + offset)
    return {
      answer,
      rule,
      plain: found.plain === true,
      alternatives: hedges === 'ignore' ? [] : alternativesAfter(tail, hedges === 'strict', this.#work),
    }
  }
}
