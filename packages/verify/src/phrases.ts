/** Answers that a phrase announces: "the answer is", in the languages that public suites use. */
import type { Work } from './limits.js'
import { normalizeAnswer } from './normalize.js'
import { parse } from './parse.js'
import { firstNumber, lastNumber, loneFraction, mathSpans, percentSuffix, type Span } from './scan.js'
import { HEDGE_WORDS } from './vocabulary.js'

export interface Found {
  readonly answer: string
  /** Where the answer ends in the text. */
  readonly end: number
  /** It stood in plain text. */
  readonly plain?: boolean
}

const BETWEEN = /^(?:\$\$?|\\\)|\\\])? ?(?:,|,? ?(?:and|or)) ?(?:\$\$?|\\\(|\\\[)?$/

/** Most formulas that count as one answer. */
const MOST_FORMULAS = 6

/** Formulas joined by at most a comma or and/or, the last group of the text. */
export function joinFormulas(text: string, spans: readonly Span[]): Found | null {
  const last = spans.at(-1)
  if (last === undefined) return null
  const answers = [text.slice(last.start, last.end) + percentSuffix(text, last.end)]
  for (let i = spans.length - 2; i >= 0 && answers.length < MOST_FORMULAS; i--) {
    const [span, next] = [spans[i], spans[i + 1]]
    if (span === undefined || next === undefined || next.start - span.end > 16) break
    if (!BETWEEN.test(text.slice(span.end, next.start))) break
    answers.unshift(text.slice(span.start, span.end))
  }
  return { answer: answers.join(', '), end: last.end }
}

const PHRASE =
  /(?:\b(?:answers?|r[ée]ponse|respuesta|resposta|risposta|antwort)(?:\*\*)? ?(?: is| are| est| es| è| é| ist|:| =|：)(?:\*\*)?:?)|(?:(?:答案|答え)(?:是|为|為|は)?[:：]?)|(?:答[:：])|(?:Ответ[:：]?)|(?:(?:الإجابة|الجواب)(?: هي| هو)?:?)|(?:उत्तर[:：]?)/gi

const FINAL_PHRASE = /final answer is:?/gi

/** Where the text behind the last answer phrase starts, or with `final` the last "final answer is"; −1 without one. */
export function lastPhrase(text: string, final = false): number {
  let start = -1
  for (const match of text.matchAll(final ? FINAL_PHRASE : PHRASE)) start = match.index + match[0].length
  return start
}

/** End of the sentence or line that starts at `start`. */
export function clauseEnd(text: string, start: number, work: Work): number {
  let i = start
  for (; i < text.length; i++) {
    work.spend(1)
    const character = text.charAt(i)
    if (character === '\n' && text.slice(start, i).trim() !== '') break
    const next = text.charAt(i + 1)
    if (character === '。') break
    if ('.?!'.includes(character) && (next === '' || next === '\n' || (next === ' ' && text.charAt(i - 1) !== ' ')))
      break
    if (text.startsWith('<|', i)) break
  }
  return i
}

const VERBS = [' is ', ' are ', ' be ', ' est ', ' es ', '应该是', '是', '为']

/** What follows the last verb: "the largest n is 34". */
function afterVerb(clause: string): number {
  let offset = 0
  for (const verb of VERBS) {
    const at = clause.lastIndexOf(verb)
    if (at !== -1) offset = Math.max(offset, at + verb.trimEnd().length)
  }
  return offset
}

const offersAnother = (text: string): boolean =>
  (text.match(/\p{L}+/gu) ?? []).some((word) => HEDGE_WORDS.has(word.toLowerCase()))

/** The answer in the clause that starts at `start`. */
export function answerFrom(text: string, start: number, work: Work): Found | null {
  const end = clauseEnd(text, start, work)
  const whole = text.slice(start, end)
  const offset = start + afterVerb(whole)
  const clause = text.slice(offset, end)
  const formula = joinFormulas(clause, mathSpans(clause, work))
  if (formula !== null) return { answer: formula.answer, end: offset + formula.end }
  const words = clause.replace(/\*\*/g, '').replace(/"/g, '').trim()
  if (words === '') return null
  const isSentence = /^\p{L}{2,} .* /u.test(words)
  if (!isSentence && parse(normalizeAnswer(words, work), work) !== null) return { answer: words, end, plain: true }
  const fraction = loneFraction(clause)
  if (fraction !== null) return { answer: fraction.answer, end: offset + fraction.end }
  const number =
    lastNumber(clause, work)?.only === true ? lastNumber(clause, work) : isSentence ? firstNumber(clause, work) : null
  if (number === null || offersAnother(clause.slice(0, number.start))) return { answer: words, end, plain: true }
  return { answer: clause.slice(number.start, number.end), end: offset + number.end, plain: true }
}

/** What follows the last answer phrase of the text. */
export function findPhrase(text: string, work: Work): Found | null {
  const start = lastPhrase(text)
  return start === -1 ? null : answerFrom(text, start, work)
}
