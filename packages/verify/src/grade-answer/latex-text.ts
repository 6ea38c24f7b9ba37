/**
 * LaTeX as unicode text, as MathRuler gets it from pylatexenc: fractions become `a/b` with brackets around what is longer
 * than a character, roots `√(x)`, other commands a text that only the same command gives. One pass with a stack; text mode,
 * so `^` and `_` stay as they are.
 */
import { LIMITS, type Work } from '../limits.js'

/** Commands whose text takes part in the comparison that follows. */
const SYMBOLS: ReadonlyMap<string, string> = new Map([
  ['pi', 'pi'],
  ['infty', 'inf'],
  ['cup', 'U'],
  ['cdot', '*'],
  ['times', '*'],
  ['lbrace', '{'],
  ['rbrace', '}'],
  ['quad', ' '],
  ['qquad', ' '],
  ...['left', 'right', 'displaystyle', 'text', 'mathrm', 'mbox', 'textrm', 'operatorname'].map(
    (name): [string, string] => [name, ''],
  ),
  ...[
    'sin',
    'cos',
    'tan',
    'cot',
    'sec',
    'csc',
    'sinh',
    'cosh',
    'tanh',
    'arcsin',
    'arccos',
    'arctan',
    'ln',
    'log',
    'exp',
  ].map((name): [string, string] => [name, name]),
])

/** What a command of one character stands for. */
const spacing = (character: string): string =>
  character === '!' ? '' : character === '\\' ? '\n' : ' ,;:'.includes(character) ? ' ' : character

/** Commands that show their argument in another alphabet; equal only to the same command. */
const BOLD: ReadonlySet<string> = new Set(['textbf', 'textit', 'mathbf', 'mathit'])

/** Letters moved to a private alphabet that no plain letter equals. */
const styled = (text: string): string => text.replace(/[A-Za-z0-9]/g, (letter) => `${letter}\u0332`)

const bracketed = (text: string): string => (text.length > 1 ? `(${text})` : text)

class Reader {
  #at = 0
  #depth = 0
  readonly #text: string
  readonly #work: Work

  constructor(text: string, work: Work) {
    this.#text = text
    this.#work = work
  }

  /** Text up to the end, or to the brace that closes this group. */
  all(closing: boolean): string {
    let out = ''
    while (this.#at < this.#text.length) {
      if (this.#text[this.#at] === '}') {
        if (closing) return out
        this.#at++
        continue
      }
      out += this.#one()
    }
    return out
  }

  #one(): string {
    this.#work.spend(1)
    const character = this.#text.charAt(this.#at++)
    if (character === '{') return this.#group()
    if (character === '~') return ' '
    if (character === '&') return '   '
    return character === '\\' ? this.#command() : character
  }

  #group(): string {
    if (this.#depth >= LIMITS.depth) return ''
    this.#depth++
    const inner = this.all(true)
    this.#depth--
    this.#at++
    return inner
  }

  #name(): string {
    let end = this.#at
    while (/[a-zA-Z]/.test(this.#text.charAt(end))) end++
    const name = this.#text.slice(this.#at, end)
    this.#at = end
    return name
  }

  #argument(): string {
    while (this.#text[this.#at] === ' ') this.#at++
    if (this.#at >= this.#text.length || this.#depth >= LIMITS.depth) return ''
    this.#depth++
    const argument = this.#one()
    this.#depth--
    return argument
  }

  #command(): string {
    const name = this.#name()
    if (name === '') return spacing(this.#text.charAt(this.#at++))
    if (name === 'frac' || name === 'nicefrac') {
      const numerator = bracketed(this.#argument())
      return `${numerator}/${bracketed(this.#argument())}`
    }
    if (name === 'sqrt') return this.#root()
    if (BOLD.has(name)) return styled(this.#argument())
    if (name === 'begin' || name === 'end') {
      this.#argument()
      return name === 'begin' ? '[ ' : ' ]'
    }
    // TeX swallows the space after a command's name.
    while (this.#text[this.#at] === ' ') this.#at++
    return SYMBOLS.get(name) ?? `\\${name}`
  }

  #root(): string {
    let index = ''
    if (this.#text[this.#at] === '[') {
      const close = this.#text.indexOf(']', this.#at)
      if (close !== -1) {
        index = this.#text.slice(this.#at + 1, close)
        this.#at = close + 1
      }
    }
    return `${index}√(${this.#argument()})`
  }
}

const UNICODE: Readonly<Record<string, string>> = { '√': 'sqrt', π: 'pi', '∞': 'inf', '∪': 'U', '·': '*', '×': '*' }

/** The text, in the alphabet that MathRuler's comparison reads: `sqrt`, `pi`, `inf`, `U`, `*`. */
export function latexToText(latex: string, work: Work): string {
  const spaced = latex.replaceAll('\\tfrac', '\\frac').replaceAll('\\dfrac', '\\frac').replaceAll('\\frac', ' \\frac')
  const text = new Reader(spaced, work).all(false)
  return text.replace(/[√π∞∪·×]/g, (symbol) => UNICODE[symbol] ?? symbol).trim()
}
