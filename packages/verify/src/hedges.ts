/** Values that a completion offers beside its answer. A policy that may name several is paid for not deciding. */
import type { Work } from './limits.js'
import { clauseEnd } from './phrases.js'
import { closedBoxes, lastNumber, mathSpans } from './scan.js'

const HEDGE_LIST =
  'or|alternatively|alternately|perhaps|maybe|possibly|probably|otherwise|either|might|wait|unless|instead'
const wordsOf = (list: string): RegExp => new RegExp(`(?<![\\p{L}])(?:${list})(?![\\p{L}])`, 'giu')
const HEDGES = wordsOf(HEDGE_LIST)
const STRICT_HEDGES = wordsOf(`${HEDGE_LIST}|actually|could|else|both|correction`)

/** Characters after the answer that are looked at. */
const TAIL = 400
/** Characters between a hedge word and its value. */
const REACH = 40
const MOST = 4

/** The first thing of a clause that could be an answer. */
function valueIn(clause: string, work: Work): string | null {
  const span = closedBoxes(clause, work)[0] ?? mathSpans(clause, work)[0] ?? lastNumber(clause, work)
  return span === null || span === undefined ? null : clause.slice(span.start, span.end)
}

const CONTINUES = /^[\s$]{0,8}[/+*^-][\s$]{0,8}[\d\\]/

/** Values that hedge words introduce in the text after the answer. */
export function alternativesAfter(tail: string, strict: boolean, work: Work): string[] {
  // `\\boxed{5} / 6`: the box is but a part of what is said.
  const values = strict && CONTINUES.test(tail.slice(0, REACH)) ? [''] : []
  for (const match of tail.slice(0, TAIL).matchAll(strict ? STRICT_HEDGES : HEDGES)) {
    const start = match.index + match[0].length
    const value = valueIn(tail.slice(start, Math.min(clauseEnd(tail, start, work), start + REACH)), work)
    if (value !== null) values.push(value)
    if (values.length >= MOST) break
  }
  return values
}

const BEFORE = /(?<![\p{L}])(?:or|alternatively|maybe|perhaps)[\s,]{0,4}(?:\$\$?|\\\(|\\\[)?\s{0,4}$/iu

/** The value in "6 or \boxed{5}": what a hedge word right before the answer continues. */
export function alternativesBefore(head: string, work: Work): string[] {
  const near = head.slice(-REACH)
  const match = BEFORE.exec(near)
  if (match === null) return []
  const clause = near.slice(0, match.index)
  const formula = mathSpans(clause, work).at(-1)
  const number = lastNumber(clause, work)
  const span = formula ?? number
  return span === null ? [] : [clause.slice(span.start, span.end)]
}
