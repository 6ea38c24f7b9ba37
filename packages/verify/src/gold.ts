/** The answer in a gold: an answer by itself, or a worked solution that ends in one. */
import { extract, findBoxed, type ResolvedExtraction } from './extract.js'
import type { Work } from './limits.js'
import { normalizeAnswer } from './normalize.js'
import { parse } from './parse.js'

/** Longer golds that do not read as an answer are worked solutions. */
const LONGEST_BARE_GOLD = 200

export interface Gold {
  readonly answer: string
  /** It stood in plain text, not in LaTeX delimiters or a box. */
  readonly plain: boolean
}

/** Its box if it has one, all of it if that reads as an answer, else the answer of a worked solution. */
export function goldAnswer(gold: string, options: ResolvedExtraction, work: Work): Gold {
  const { choices } = options
  const from = (found: { readonly answer: string | null; readonly plain: boolean }): Gold => ({
    answer: found.answer ?? gold,
    plain: found.plain,
  })
  if (choices !== undefined) return from(extract(gold, { ...options, rules: ['choice'] }, work))
  const boxed = findBoxed(gold, 'join', work)
  if (boxed !== null) return { answer: boxed.answer, plain: false }
  const open = gold.lastIndexOf('\\boxed{')
  if (open !== -1) return { answer: gold.slice(open + '\\boxed{'.length), plain: false }
  if (parse(normalizeAnswer(gold, work), work) !== null) return { answer: gold, plain: !/[\\$]/.test(gold) }
  const rules = gold.length > LONGEST_BARE_GOLD ? options.rules : (['answer-tag', 'answer-phrase'] as const)
  return from(extract(gold, { ...options, rules }, work))
}
