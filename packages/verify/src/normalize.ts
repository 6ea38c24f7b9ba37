/**
 * Text-level clean-up before tokens are read: one alphabet for operators, no wrappers (`$…$`, `\boxed{…}`, `**…**`), no
 * closing punctuation. Every pass is a single scan; no regular expression here can look at a character twice.
 */
import type { Work } from './limits.js'

const REPLACEMENTS = new Map<string, string>([
  ...[...'−–—﹣-'].map((minus): [string, string] => [minus, '-']),
  ...[...'×⋅·∙∗'].map((times): [string, string] => [times, '*']),
  ['÷', '/'],
  ['⁄', '/'],
  ['π', '\\pi '],
  ['∞', '\\infty '],
  ['√', '\\sqrt '],
  ['′', "'"],
  ['’', "'"],
  ['≦', '≤'],
  ['≧', '≥'],
  ['（', '('],
  ['）', ')'],
  ['，', ','],
  ['、', ', '],
  ['；', ';'],
  ['：', ':'],
  ['％', '%'],
  ['。', ''],
  ['\u00a0', ' '],
  ['\u2009', ' '],
  ['\u202f', ' '],
  ['\u200b', ''],
  ['½', '\\frac{1}{2}'],
  ['⅓', '\\frac{1}{3}'],
  ['⅔', '\\frac{2}{3}'],
  ['¼', '\\frac{1}{4}'],
  ['¾', '\\frac{3}{4}'],
  ...[...'⁰¹²³⁴⁵⁶⁷⁸⁹'].map((digit, value): [string, string] => [digit, `^{${value}}`]),
])

const WRAPPERS: readonly (readonly [string, string])[] = [
  ['$$', '$$'],
  ['$', '$'],
  ['\\(', '\\)'],
  ['\\[', '\\]'],
  ['**', '**'],
  ['`', '`'],
]

const GROUP_WRAPPERS = [
  '\\boxed',
  '\\fbox',
  '\\text',
  '\\mbox',
  '\\textbf',
  '\\textnormal',
  '\\textrm',
  '\\mathrm',
  '\\mathbf',
]

/** Index of the brace that closes the one at `open`, or −1. */
export function closingBrace(text: string, open: number, work: Work): number {
  let depth = 0
  for (let i = open; i < text.length; i++) {
    work.spend(1)
    const character = text[i]
    if (character === '\\' && (text[i + 1] === '{' || text[i + 1] === '}')) i++
    else if (character === '{') depth++
    else if (character === '}' && --depth === 0) return i
  }
  return -1
}

function unwrapOnce(text: string, work: Work): string {
  for (const [open, close] of WRAPPERS) {
    const inside = text.slice(open.length, text.length - close.length)
    if (
      text.length >= open.length + close.length &&
      text.startsWith(open) &&
      text.endsWith(close) &&
      !inside.includes(close)
    )
      return inside.trim()
  }
  for (const command of GROUP_WRAPPERS) {
    if (!text.startsWith(`${command}{`)) continue
    if (closingBrace(text, command.length, work) === text.length - 1) return text.slice(command.length + 1, -1).trim()
  }
  return text
}

/** Drops closing punctuation and a stray last backslash. */
function trimEnd(text: string): string {
  let end = text.length
  while (end > 0 && '.,;:\\ \n\t\r'.includes(text.charAt(end - 1))) {
    // `\,`, `\;` and `\:` are spacing commands; both characters go.
    end--
  }
  return text.slice(0, end)
}

/** One answer in one alphabet, without wrappers and closing punctuation. Linear in its length. */
export function normalizeAnswer(answer: string, work: Work): string {
  work.spend(answer.length)
  let text = ''
  for (const character of answer) text += REPLACEMENTS.get(character) ?? character
  // `\\frac` is `\frac` after one escape too many; a matrix needs its `\\`.
  if (!text.includes('\\begin')) text = text.replace(/\\\\(?=[a-zA-Z{}])/g, '\\')
  text = text.trim()
  for (let pass = 0; pass < 8; pass++) {
    const next = unwrapOnce(trimEnd(text), work)
    if (next === text) break
    text = next
  }
  return text
}

export const isDigit = (character: string | undefined): boolean =>
  character !== undefined && character >= '0' && character <= '9'

/** Commands that only set type. */
const STYLE =
  /\\(?:text|mbox|textbf|textnormal|textrm|mathrm|mathbf|left|right|displaystyle|dfrac|tfrac|cfrac|[,;:! ])(?![a-zA-Z])/g

/**
 * Key under which two normalised answers are the same text: type-setting commands, white space and braces around groups
 * do not count; the case of words does not, the case of single letters does. Empty when nothing is left.
 */
export function textKey(normalized: string, work: Work): string {
  work.spend(normalized.length)
  const plain = normalized.replace(STYLE, (command) => (command.endsWith('frac') ? '\\frac' : ' '))
  let key = ''
  let spaced = false
  for (const character of plain) {
    if (' \t\r\n$'.includes(character)) {
      spaced = true
      continue
    }
    // `1 2` is not `12`.
    if (spaced && isDigit(character) && isDigit(key.at(-1))) key += ' '
    spaced = false
    key += character
  }
  return key.length > 2 && /^[\p{L}{}()'".,\-!?]+$/u.test(key) ? key.replace(/[{}()]/g, '').toLowerCase() : key
}
