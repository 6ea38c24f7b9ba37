/** Units after a value: whether the words there are units, and one name for each unit. */
import { CLOSING, type Cursor, RELATIONS } from './cursor.js'
import { HEDGE_WORDS, isUnit, measure } from './vocabulary.js'

/** Whether two units may stand for each other: equal, or one of them is no measure. */
export function unitsAgree(a: string, b: string): boolean {
  const isMeasure = (unit: string): boolean => unit !== '' && !unit.includes('?')
  return a === b || !isMeasure(a) || !isMeasure(b)
}

const isUnitText = (text: string): boolean =>
  !/\d/.test(text) && text.split(/[^\p{L}]+/u).every((word) => !HEDGE_WORDS.has(word.toLowerCase()))

/** `square feet` as `ft^2`; words that are no measure as `?`. */
function canonical(words: readonly string[]): string {
  let power = ''
  const parts: string[] = []
  for (const word of words) {
    if (word === 'square' || word === 'sq') power = '^2'
    else if (word === 'cubic' || word === 'cu') power = '^3'
    else if (word === 'per' || word === '/') parts.push('/')
    else if (word.startsWith('^')) parts.push(word)
    else {
      parts.push((measure(word) ?? '?') + power)
      power = ''
    }
  }
  return parts.join('')
}

/** Measure words written in Han characters, without "or", "and", "to", "not". */
const isHanUnit = (word: string): boolean => /^\p{Script=Han}{1,6}$/u.test(word) && !/[或和与及至到不非]/.test(word)

/** `a.m.` and `p.m.` tell two times of day apart. */
const halfDay = (words: readonly string[]): string | null => /^([ap]m)$/.exec(words.join('').toLowerCase())?.[1] ?? null

/**
 * Reads units after a value: known words, and any `\text{}` that offers no second value. Gives their canonical form, or
 * null, with the cursor where it was, if anything else follows.
 */
export function readUnits(cursor: Cursor, readExponent: () => string): string | null {
  const start = cursor.position
  const words: string[] = []
  let divided = false
  for (;;) {
    const token = cursor.peek()
    if (token.type !== 'word' && token.type !== 'text') break
    if (token.type === 'word' && isHanUnit(token.value)) {
      cursor.position++
      words.push('?')
      continue
    }
    if (token.type === 'word' && (!isUnit(token.value) || (token.value.length === 1 && !token.spaced && !divided)))
      break
    if (token.type === 'text' && !isUnitText(token.value)) break
    cursor.position++
    words.push(...token.value.split(/[\s.,]+/).filter((word) => word !== ''))
    if (cursor.is('^')) {
      cursor.position++
      words.push(`^${readExponent()}`)
    }
    divided = cursor.is('/') && ['word', 'text'].includes(cursor.peek(1).type)
    if (divided) {
      cursor.position++
      words.push('/')
    }
  }
  const after = cursor.peek()
  const ends =
    after.type === 'end' ||
    after.type === 'separator' ||
    (after.type === 'symbol' && (CLOSING.has(after.value) || RELATIONS.has(after.value) || ',;±'.includes(after.value)))
  if (cursor.position > start && ends) return halfDay(words) ?? canonical(words)
  cursor.position = start
  return null
}
