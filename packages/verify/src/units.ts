/** Units after a value: they do not count, but whatever else stands there does. */
import type { Node } from './ast.js'
import { CLOSING, type Cursor, RELATIONS } from './cursor.js'
import { HEDGE_WORDS, UNITS } from './vocabulary.js'

const isUnitText = (text: string): boolean =>
  !/\d/.test(text) && text.split(/[^\p{L}]+/u).every((word) => !HEDGE_WORDS.has(word.toLowerCase()))

/** Skips units after a value: known words, and any `\text{}` that offers no second value. Leaves the cursor where it was if anything else follows. */
export function skipUnits(cursor: Cursor, left: Node, skipArgument: () => void): boolean {
  if (left.kind === 'text' || left.kind === 'relation') return false
  const start = cursor.position
  let divided = false
  for (;;) {
    const token = cursor.peek()
    if (token.type !== 'word' && token.type !== 'text') break
    if (token.type === 'word' && (!UNITS.has(token.value) || (token.value.length === 1 && !token.spaced && !divided)))
      break
    if (token.type === 'text' && !isUnitText(token.value)) break
    cursor.position++
    if (cursor.is('^')) {
      cursor.position++
      skipArgument()
    }
    divided = cursor.is('/') && ['word', 'text'].includes(cursor.peek(1).type)
    if (divided) cursor.position++
  }
  const after = cursor.peek()
  const ends =
    after.type === 'end' ||
    after.type === 'separator' ||
    (after.type === 'symbol' && (CLOSING.has(after.value) || RELATIONS.has(after.value) || ',;'.includes(after.value)))
  if (cursor.position > start && ends) return true
  cursor.position = start
  return false
}
