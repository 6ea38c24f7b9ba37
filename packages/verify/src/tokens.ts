/**
 * Tokens of a normalised answer, LaTeX or plain. Here, and not in the parser, live the two questions that need the
 * neighbouring characters: what is one number (`1,234`, `10\,080`, `1e-3`), and what is prose.
 */
import { LIMITS, type Work } from './limits.js'
import { closingBrace, isDigit } from './normalize.js'
import { IGNORED_COMMANDS, OPERATOR_COMMANDS, SEPARATOR_WORDS, TEXT_COMMANDS } from './vocabulary.js'

export interface Token {
  readonly type: 'number' | 'word' | 'text' | 'command' | 'symbol' | 'separator' | 'end'
  readonly value: string
  /** White space of any kind before it. */
  readonly spaced: boolean
  /** `\!` or `\,` before it, which inside a number only group digits. */
  readonly kerned: boolean
}

/** The answer is not of a form this package reads. Never leaves the parser, so it says no more. */
export class Unparsable extends Error {}

const isLetter = (character: string | undefined): boolean => character !== undefined && /\p{L}/u.test(character)
const isAsciiLetter = (character: string | undefined): boolean => character !== undefined && /[a-zA-Z]/.test(character)

const SYMBOLS = "+-*/^_=<>≤≥≠≈≡∈∪∩∖±∓()[]{}|,;:!%°'&⟨⟩€£¥"
const IGNORED_CHARACTERS = '$"`'
const TWO_CHARACTERS: ReadonlyMap<string, string> = new Map([
  ['**', '^'],
  ['<=', '≤'],
  ['>=', '≥'],
  ['!=', '≠'],
  ['==', '='],
])

/** End of the number that starts at `start`: digits, a point with digits, an exponent. */
function numberEnd(text: string, start: number): number {
  let end = start
  while (isDigit(text[end])) end++
  if (text[end] === '.' && isDigit(text[end + 1])) {
    end++
    while (isDigit(text[end])) end++
  }
  if (text[end] === 'e' || text[end] === 'E') {
    const digits = text[end + 1] === '-' || text[end + 1] === '+' ? end + 2 : end + 1
    let after = digits
    while (isDigit(text[after])) after++
    if (after > digits && !isLetter(text[after])) end = after
  }
  return end
}

/** Digits after `start` that repeat for ever, `\overline{3}` or `.\overline{3}`: the token's text and its end. */
function repeatingDecimal(text: string, number: string, end: number): readonly [value: string, end: number] | null {
  const match = /^(\.?)\\(?:overline|bar|dot)\{(\d{1,20})\}/.exec(text.slice(end, end + 40))
  if (match === null || number.includes('.') === (match[1] === '.')) return null
  return [`${number}${match[1] ?? ''}(${match[2] ?? ''})`, end + match[0].length]
}

/** `or` and `and` right behind a value, with a name or nothing glued to them: `x=1orW(x)=2`. */
const GLUED = /^(or|and)([a-zA-Z]{0,2})$/

/** @throws Unparsable on a character or construct outside the answer language, and past the token limit. */
export function tokenize(text: string, work: Work): Token[] {
  const tokens: Token[] = []
  let spaced = false
  let kerned = false
  const push = (type: Token['type'], value: string): void => {
    if (tokens.length >= LIMITS.tokens) throw new Unparsable()
    tokens.push({ type, value, spaced, kerned })
    spaced = false
    kerned = false
  }
  const pushText = (content: string): void => {
    const words = content.trim()
    if (words === '') spaced = true
    else if (/^(?:,?\s?(?:and|or)|,|;)$/i.test(words)) push('separator', words)
    else if (words.length === 1 && isLetter(words)) push('word', words)
    else push('text', words)
  }

  for (let i = 0; i < text.length;) {
    work.spend(1)
    const character = text.charAt(i)
    const pair = TWO_CHARACTERS.get(text.slice(i, i + 2))
    if (' \t\r\n~'.includes(character)) {
      spaced = true
      i++
    } else if (isDigit(character) || (character === '.' && isDigit(text[i + 1]))) {
      const end = numberEnd(text, i)
      if (/^0[xXbBoO][\da-fA-F]/.test(text.slice(i, i + 3))) throw new Unparsable()
      const repeating = repeatingDecimal(text, text.slice(i, end), end)
      push('number', repeating?.[0] ?? text.slice(i, end))
      i = repeating?.[1] ?? end
    } else if (isLetter(character)) {
      let end = i
      while (isLetter(text[end])) end++
      const word = text.slice(i, end)
      const glued = /[\d)\]}]/.test(text.charAt(i - 1)) ? GLUED.exec(word) : null
      if (SEPARATOR_WORDS.has(word.toLowerCase())) push('separator', word)
      else if (glued !== null) {
        push('separator', glued[1] ?? word)
        push('word', glued[2] ?? '')
      } else push('word', word)
      i = end
    } else if (character === '\\') {
      let end = i + 1
      while (isAsciiLetter(text[end])) end++
      const name = text.slice(i + 1, end)
      if (name === '') {
        const next = text.charAt(i + 1)
        if (next === '{' || next === '}') push('symbol', `\\${next}`)
        else if (next === '\\') push('symbol', '\\\\')
        else if (next === '%' || next === '$') push('symbol', next)
        else if (next === '|') push('symbol', '|')
        else if (next === '!' || next === ',') kerned = true
        else if (' ;:\n'.includes(next)) spaced = true
        else throw new Unparsable()
        i += 2
      } else if (TEXT_COMMANDS.has(name)) {
        while (text[end] === ' ') end++
        const close = text[end] === '{' ? closingBrace(text, end, work) : -1
        if (close === -1) throw new Unparsable()
        pushText(text.slice(end + 1, close))
        i = close + 1
      } else {
        const operator = OPERATOR_COMMANDS.get(name)
        if (operator !== undefined) push('symbol', operator)
        else if (!IGNORED_COMMANDS.has(name)) push('command', name)
        // `\left.` and `\right.` are invisible brackets.
        if ((name === 'left' || name === 'right') && text[end] === '.') end++
        i = end
      }
    } else if (pair !== undefined) {
      push('symbol', pair)
      i += 2
    } else if (SYMBOLS.includes(character)) {
      push('symbol', character)
      i++
    } else if (IGNORED_CHARACTERS.includes(character)) {
      i++
    } else throw new Unparsable()
  }
  push('end', '')
  return joinThousands(joinSpelledDigits(tokens)).map(timesSign)
}

/** `1.5 x 10^3`: a letter x between a number and a power of ten, or apart between two numbers. */
function timesSign(token: Token, i: number, tokens: readonly Token[]): Token {
  if (token.type !== 'word' || token.value.toLowerCase() !== 'x') return token
  const [before, after] = [tokens[i - 1], tokens[i + 1]]
  if (before?.type !== 'number' || after?.type !== 'number') return token
  const power = after.value === '10' && isSymbol(tokens[i + 2], '^')
  return power || (token.spaced && after.spaced) ? { ...token, type: 'symbol', value: '*' } : token
}

const isDigitToken = (token: Token | undefined): boolean => token?.type === 'number' && /^\d$/.test(token.value)

/**
 * Joins digits written apart, `1 6` for 16, as models write them whose tokenizer keeps digits apart. Not before a `/`:
 * `2 2/3` is a mixed number.
 */
function joinSpelledDigits(tokens: readonly Token[]): Token[] {
  const joined: Token[] = []
  for (let i = 0; i < tokens.length;) {
    let end = i + 1
    if (isDigitToken(tokens[i])) while (isDigitToken(tokens[end]) && tokens[end]?.spaced === true) end++
    const run = tokens.slice(i, end)
    const [first] = run
    if (first === undefined) break
    if (isSymbol(tokens[end], '/')) joined.push(...run)
    else joined.push({ ...first, value: run.map(({ value }) => value).join('') })
    i = end
  }
  return joined
}

const isGroup = (token: Token | undefined): boolean => token?.type === 'number' && /^\d{3}(?:\.\d+)?$/.test(token.value)
const isLeadingGroup = (token: Token | undefined): boolean =>
  token?.type === 'number' && /^[1-9]\d{0,2}$/.test(token.value)
const isSymbol = (token: Token | undefined, value: string): boolean => token?.type === 'symbol' && token.value === value

/**
 * Joins digit groups to one number. `{,}`, a kern and a space always group. A bare comma groups only outside brackets
 * and only if every bare comma there does, so that `1,234` is a number while `1,23`, `(1,234)` and `32, 349` are not.
 */
function joinThousands(tokens: readonly Token[]): Token[] {
  const depths: number[] = []
  let depth = 0
  for (const token of tokens) {
    if (token.type === 'symbol' && ['(', '[', '\\{', '⟨'].includes(token.value)) depth++
    depths.push(depth)
    if (token.type === 'symbol' && [')', ']', '\\}', '⟩'].includes(token.value)) depth--
  }
  const isBareComma = (i: number): boolean =>
    isSymbol(tokens[i], ',') && depths[i] === 0 && tokens[i + 1]?.spaced === false && !isSymbol(tokens[i - 1], '{')
  const commasGroup = tokens.every(
    (_, i) => !isBareComma(i) || (isGroup(tokens[i + 1]) && (isLeadingGroup(tokens[i - 1]) || isGroup(tokens[i - 1]))),
  )

  /** Tokens between the group that ends before `i` and the next group; −1 if none follows. */
  const groupGap = (i: number): number => {
    const next = tokens[i]
    if (isGroup(next) && (next?.spaced === true || next?.kerned === true)) return 0
    if (isSymbol(next, '{') && isSymbol(tokens[i + 1], ',') && isSymbol(tokens[i + 2], '}') && isGroup(tokens[i + 3]))
      return 3
    if (!isSymbol(next, ',') || !isGroup(tokens[i + 1])) return -1
    if (tokens[i + 1]?.kerned === true) return 1
    return commasGroup && isBareComma(i) ? 1 : -1
  }

  const joined: Token[] = []
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]
    if (token === undefined) break
    let value = token.value
    if (isLeadingGroup(token)) {
      for (let gap = groupGap(i + 1); gap !== -1 && !value.includes('.'); gap = groupGap(i + 1)) {
        i += gap + 1
        value += tokens[i]?.value ?? ''
      }
    }
    joined.push({ ...token, value })
  }
  return joined
}
