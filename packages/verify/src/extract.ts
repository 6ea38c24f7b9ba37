/**
 * Finding the final answer in a completion: named rules, tried in the order given, each one forward scan. What stands
 * before the last `</think>` is never an answer, and neither is a box that was not closed.
 */
import { LIMITS, type Work } from './limits.js'
import { normalizeAnswer } from './normalize.js'
import { parse } from './parse.js'
import { FUNCTIONS, PERCENT_WORDS, SEPARATOR_WORDS, UNITS } from './vocabulary.js'
import { closedBoxes, joinBoxes, lastNumber, mathSpans, type Span } from './scan.js'

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
  /** `join` (default): neighbouring boxes are one answer of several values. `last`: only the last box counts. */
  readonly boxes?: 'join' | 'last'
  /** Labels of a multiple-choice question, e.g. `['A', 'B', 'C', 'D']`; switches the rule `choice` on. */
  readonly choices?: readonly string[]
}

export interface Extraction {
  /** Text of the answer, or null if no rule applied. */
  readonly answer: string | null
  /** The rule that applied; for no answer `none`, or `unclosed-think`. */
  readonly rule: ExtractionRule | 'none' | 'unclosed-think'
  /** Values offered beside the answer in words ("… or 6"), as far as they can be read. */
  readonly alternatives: readonly string[]
}

interface Found {
  readonly answer: string
  /** Where the answer ends in the text. */
  readonly end: number
}

/** Last part that `text` has after the reasoning, or null if the reasoning is not closed. */
function afterThinking(text: string): string | null {
  const close = text.lastIndexOf('</think>')
  if (close !== -1) return text.slice(close + '</think>'.length)
  return text.includes('<think>') ? null : text
}

/** A per cent sign or word right after a box or formula belongs to it. */
function percentSuffix(text: string, end: number): string {
  const after = text.slice(end, end + 24).replace(/^(?:\$\$?|\\\)|\\\])?/, '')
  return /^ {0,4}(?:\\?%|percent|pct)/.test(after) ? '\\%' : ''
}

export function findBoxed(text: string, joined: boolean, work: Work): Found | null {
  const boxes = closedBoxes(text, work)
  const last = boxes.at(-1)
  if (last === undefined) return null
  const answer = joined ? joinBoxes(text, boxes, work) : text.slice(last.start, last.end)
  return { answer: answer + percentSuffix(text, last.end + 1), end: last.end + 1 }
}

function findTag(text: string): Found | null {
  const close = text.lastIndexOf('</answer>')
  if (close === -1) return null
  const open = text.lastIndexOf('<answer>', close)
  if (open === -1) return null
  return { answer: text.slice(open + '<answer>'.length, close), end: close }
}

/** Formulas joined by at most a comma or and/or, the last group of the text. */
function joinFormulas(text: string, spans: readonly Span[]): Found | null {
  const last = spans.at(-1)
  if (last === undefined) return null
  const answers = [text.slice(last.start, last.end) + percentSuffix(text, last.end)]
  for (let i = spans.length - 2; i >= 0 && answers.length < 6; i--) {
    const [span, next] = [spans[i], spans[i + 1]]
    if (span === undefined || next === undefined) break
    if (!/^(?:\$\$?|\\\)|\\\])? ?(?:,|,? ?(?:and|or)) ?(?:\$\$?|\\\(|\\\[)?$/.test(text.slice(span.end, next.start)))
      break
    answers.unshift(text.slice(span.start, span.end))
  }
  return { answer: answers.join(', '), end: last.end }
}

const PHRASE = /\banswers?(?:\*\*)?(?: is| are|:| =)(?:\*\*)?:?/gi

/** End of the sentence or line that starts at `start`. */
function clauseEnd(text: string, start: number, work: Work): number {
  let i = start
  for (; i < text.length; i++) {
    work.spend(1)
    const character = text.charAt(i)
    if (character === '\n' && text.slice(start, i).trim() !== '') break
    const next = text.charAt(i + 1)
    if ('.?!。'.includes(character) && (next === '' || next === '\n' || (next === ' ' && text.charAt(i - 1) !== ' ')))
      break
    if (text.startsWith('<|', i)) break
  }
  return i
}

function findPhrase(text: string, work: Work): Found | null {
  let start = -1
  for (const match of text.matchAll(PHRASE)) start = match.index + match[0].length
  if (start === -1) return null
  const end = clauseEnd(text, start, work)
  let clause = text.slice(start, end)
  // "Final answer: the largest n is 34": what follows the last verb.
  const verb = Math.max(clause.lastIndexOf(' is '), clause.lastIndexOf(' are '), clause.lastIndexOf(' be '))
  const offset = verb === -1 ? 0 : verb + 3
  clause = clause.slice(offset)
  const formula = joinFormulas(clause, mathSpans(clause, work))
  if (formula !== null) return { answer: formula.answer, end: start + offset + formula.end }
  const words = clause.replace(/\*\*/g, '').replace(/"/g, '').trim()
  if (parse(normalizeAnswer(words, work), work) !== null && !/^[a-z]{2,} .* /i.test(words))
    return { answer: words, end }
  const numbers = lastNumber(clause, work)
  return numbers?.only === true ? { answer: clause.slice(numbers.start, numbers.end), end } : { answer: words, end }
}

function findChoice(text: string, choices: readonly string[], work: Work): Found | null {
  work.spend(text.length)
  const labels = choices.map((label) => label.replace(/[^\p{L}\p{N}]/gu, '')).filter((label) => label !== '')
  if (labels.length === 0) return null
  const label = new RegExp(`(?<![\\p{L}\\p{N}])\\(?(${labels.join('|')})\\)?(?![a-zA-Z0-9'’])`, 'gu')
  const matches = [...text.matchAll(label)].map((match) => ({
    answer: match[1] ?? '',
    end: match.index + match[0].length,
    start: match.index,
  }))
  let phrase = -1
  for (const match of text.matchAll(PHRASE)) phrase = match.index + match[0].length
  if (phrase !== -1) {
    const after = matches.find(({ start }) => start >= phrase)
    if (after !== undefined && after.start - phrase <= 50) return after
  }
  const [first] = matches
  // "A. Because …", but not the article in "A train …".
  if (first?.start === 0 && /^[^\p{L} ]|^$|^\P{ASCII}/u.test(text.slice(first.end))) return first
  return matches.at(-1) ?? null
}

/** Two words side by side, or a long one, that are neither commands nor units: a sentence, not a formula. */
function isProse(line: string): boolean {
  const words = line.replace(/\\[a-zA-Z]+(?:\{[\p{L} ]*\})?/gu, ' ').matchAll(/\p{L}+/gu)
  let previous = -2
  for (const { 0: word, index } of words) {
    const lower = word.toLowerCase()
    if (UNITS.has(word) || FUNCTIONS.has(lower) || SEPARATOR_WORDS.has(lower) || PERCENT_WORDS.has(lower)) continue
    if (word.length > 3 || (word.length > 1 && index === previous + 1)) return true
    previous = index + word.length
  }
  return false
}

function findBare(text: string, work: Work): Found | null {
  const line = text.trim()
  if (line === '' || line.length > 200 || line.includes('\n')) return null
  if (isProse(line)) return null
  const tree = parse(normalizeAnswer(line, work), work)
  return tree === null || tree.kind === 'text' ? null : { answer: line, end: text.length }
}

const HEDGES = /(?<![\p{L}])(?:or|alternatively|perhaps|maybe|possibly|otherwise|either)(?![\p{L}])/giu

/** Characters after a hedge word within which its value stands. */
const HEDGE_REACH = 40

/** Values that hedge words introduce in the text after the answer. */
function findAlternatives(tail: string, work: Work): string[] {
  const alternatives: string[] = []
  for (const match of tail.slice(0, 400).matchAll(HEDGES)) {
    const start = match.index + match[0].length
    const clause = tail.slice(start, Math.min(clauseEnd(tail, start, work), start + HEDGE_REACH))
    const formula = mathSpans(clause, work)[0]
    const box = closedBoxes(clause, work)[0]
    const number = lastNumber(clause, work)
    const span = box ?? formula ?? number
    if (span != null) alternatives.push(clause.slice(span.start, span.end))
    if (alternatives.length >= 4) break
  }
  return alternatives
}

/** {@link extractAnswer} on a budget. */
export function extract(text: string, options: ExtractOptions, work: Work): Extraction {
  work.spend(text.length)
  const after = options.thinking === 'include' ? text : afterThinking(text)
  if (after === null) return { answer: null, rule: 'unclosed-think', alternatives: [] }
  const rules = options.rules ?? DEFAULT_RULES
  // Unmarked answers and phrases are looked for at the end only.
  const tail = after.slice(-LIMITS.tail)
  const offset = after.length - tail.length
  const unmarked = (): { readonly math: Found | null; readonly number: Found | null } => {
    const number = lastNumber(tail, work)
    return {
      math: rules.includes('last-math') ? joinFormulas(tail, mathSpans(tail, work)) : null,
      number:
        number !== null && rules.includes('last-number')
          ? { answer: tail.slice(number.start, number.end), end: number.end }
          : null,
    }
  }
  const find = (rule: ExtractionRule): Found | null => {
    switch (rule) {
      case 'boxed':
        return findBoxed(after, options.boxes !== 'last', work)
      case 'answer-tag':
        return findTag(after)
      case 'answer-phrase':
        return findPhrase(tail, work)
      case 'choice':
        return options.choices === undefined ? null : findChoice(tail, options.choices, work)
      case 'bare':
        return findBare(after, work)
      case 'last-math': {
        const { math, number } = unmarked()
        return math !== null && (number === null || number.end <= math.end + 2) ? math : null
      }
      case 'last-number':
        return unmarked().number
    }
  }
  for (const rule of rules) {
    const found = find(rule)
    if (found === null || found.answer.trim() === '') continue
    const inTail = rule === 'boxed' || rule === 'answer-tag' || rule === 'bare' ? found.end : found.end + offset
    const alternatives = rule === 'choice' ? [] : findAlternatives(after.slice(inTail), work)
    return { answer: found.answer.trim(), rule, alternatives }
  }
  return { answer: null, rule: 'none', alternatives: [] }
}
