/**
 * The two normal forms of MathRuler 0.1.0: that of the MATH data set (Hendrycks) and its own. Both are kept as they are,
 * with their oddities, because curves of EasyR1 and ReVisual-R1 were made with them.
 */
import type { Work } from '../limits.js'
import { latexToText } from './latex-text.js'
import { integerText, isNearInteger, pythonFloat } from './python.js'

/** Content of a `\text{}` around the whole answer, up to its last brace. */
function withoutText(answer: string): string {
  return answer.startsWith('\\text{') && answer.endsWith('}') && answer.length > 7 && !answer.includes('\n')
    ? answer.slice(6, -1)
    : answer
}

/** `\frac12` to `\frac{1}{2}`; null where the original gives up. */
function bracedFractions(text: string): string | null {
  const [first = '', ...parts] = text.split('\\frac')
  let out = first
  for (const part of parts) {
    if (part === '') return null
    if (part.startsWith('{')) {
      out += `\\frac${part}`
      continue
    }
    if (part.length < 2) return text
    const [a = '', b = ''] = part
    out += b === '{' ? `\\frac{${a}}${part.slice(1)}` : `\\frac{${a}}{${b}}${part.slice(2)}`
  }
  return out
}

/** `\sqrt3` to `\sqrt{3}`; null where the original gives up. */
function bracedRoots(text: string): string | null {
  const [first = '', ...parts] = text.split('\\sqrt')
  let out = first
  for (const part of parts) {
    if (part === '') return null
    out += part.startsWith('{') ? `\\sqrt${part}` : `\\sqrt{${part.charAt(0)}}${part.slice(1)}`
  }
  return out
}

const PLAIN_FRACTION = /^(0|-?[1-9]\d*)\/(0|-?[1-9]\d*)$/

/** Normal form of the MATH data set: string clean-up only. */
export function hendrycksForm(answer: string): string {
  const bare = withoutText(answer.trim()).trim()
  let text = bare
    .replace(/\n|\\!/g, '')
    .replaceAll('\\\\', '\\')
    .replace(/[td]frac/g, 'frac')
    .replace(/\\left|\\right/g, '')
    .replace(/\^\{\\circ\}|\^\\circ|\\\$/g, '')
  const units = text.split('\\text{ ')
  if (units.length > 2) return bare
  text = (units[0] ?? '').replaceAll('\\%', '').replaceAll(' .', ' 0.').replaceAll('{.', '{0.')
  if (text === '') return text
  if (text.startsWith('.')) text = `0${text}`
  const sides = text.split('=')
  if (sides.length === 2 && (sides[0] ?? '').length <= 2) text = sides[1] ?? ''
  const roots = bracedRoots(text)
  if (roots === null) return bare
  const fractions = bracedFractions(roots.replaceAll(' ', ''))
  if (fractions === null) return bare
  if (fractions === '0.5') return '\\frac{1}{2}'
  const plain = PLAIN_FRACTION.exec(fractions)
  return plain === null ? fractions : `\\frac{${plain[1] ?? ''}}{${plain[2] ?? ''}}`
}

const UNITS = [
  ...['degree', 'cm', 'centimeter', 'meter', 'mile', 'second', 'minute', 'hour', 'day', 'week', 'month', 'year'],
  ...['foot', 'feet', 'inch', 'yard'],
].map((unit) => new RegExp(`${unit}(?:es)?s?(?: {0,40}\\^[0-9]+| {0,40})`, 'g'))

/** Drops commas that group thousands. */
export function withoutThousands(text: string): string {
  let current = text
  // Every pass drops every other comma at least, so the passes are few.
  for (let pass = 0; pass < 40; pass++) {
    const next = current.replace(/(\d),(\d\d\d)($|\D)/g, '$1$2$3')
    if (next === current) break
    current = next
  }
  return current
}

/** `float(text)` of digits with thousands, if it is within 1e-7 of an integer. */
function integerOf(text: string): number | null {
  const value = pythonFloat(withoutThousands(text))
  return value !== null && isNearInteger(value) ? value : null
}

export const isIntegerText = (text: string): boolean => integerOf(text) !== null

/** MathRuler's own normal form: without units and signs of money and per cent, LaTeX as text, lower case. */
export function rulerForm(answer: string, work: Work): string {
  work.spend(answer.length * 20)
  let text = withoutText(answer)
    .replaceAll('\\%', '%')
    .replace(/\\?\$|%/g, '')
    .replaceAll(' or ', ' , ')
    .replaceAll(' and ', ' , ')
    .replaceAll('million', '*10^6')
    .replaceAll('billion', '*10^9')
    .replaceAll('trillion', '*10^12')
  for (const unit of UNITS) text = text.replace(unit, '')
  text = text.replace(/\^ {0,40}\\circ/g, '')
  if (text.startsWith('{') && text.endsWith('}')) text = text.slice(1, -1)
  text = text.replace(/,\\! {0,40}/g, '')
  const value = pythonFloat(text)
  if (value !== null && isNearInteger(value)) text = integerText(Math.round(value))
  if (text.includes('\\')) text = latexToText(text, work)
  text = text
    .replace(/- {1,400}/g, '-')
    .replace(/([0-9]) {1,400}([0-9])/g, '$1+$2')
    .replace(/[ {}]/g, '')
    .toLowerCase()
  const integer = integerOf(text)
  const digits = integer === null ? null : pythonFloat(text.replaceAll(',', ''))
  return digits === null ? text : integerText(digits)
}
