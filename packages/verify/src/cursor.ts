/** Place in a token list, with the counted nesting that bounds the parser's recursion. */
import { LIMITS, type Work } from './limits.js'
import { type Token, Unparsable } from './tokens.js'

export const RELATIONS: ReadonlySet<string> = new Set(['=', '≠', '<', '≤', '>', '≥', '∈', '≈', '≡'])
const OPENING: ReadonlySet<string> = new Set(['(', '[', '{', '\\{', '⟨'])
export const CLOSING: ReadonlySet<string> = new Set([')', ']', '}', '\\}', '⟩'])

export class Cursor {
  readonly tokens: Token[]
  readonly work: Work
  position = 0
  depth = 0

  constructor(tokens: Token[], work: Work) {
    this.tokens = tokens
    this.work = work
  }

  peek(offset = 0): Token {
    const token = this.tokens[Math.min(this.position + offset, this.tokens.length - 1)]
    if (token === undefined) throw new Unparsable()
    return token
  }

  next(): Token {
    this.work.spend(1)
    const token = this.peek()
    if (token.type === 'end') throw new Unparsable()
    this.position++
    return token
  }

  is(value: string, offset = 0): boolean {
    const token = this.peek(offset)
    return token.type === 'symbol' && token.value === value
  }

  accept(value: string): boolean {
    if (!this.is(value)) return false
    this.position++
    return true
  }

  expect(value: string): void {
    if (!this.accept(value)) throw new Unparsable()
  }

  nested<Result>(parse: () => Result): Result {
    if (++this.depth > LIMITS.depth) throw new Unparsable()
    const result = parse()
    this.depth--
    return result
  }

  /** Words of a braced argument, such as the name of an environment. */
  name(): string {
    this.expect('{')
    let name = ''
    while (!this.accept('}')) name += this.next().value
    return name
  }

  /** Text of the next token or braced group, for names. */
  verbatim(): string {
    if (!this.is('{')) return this.next().value
    this.position++
    let depth = 1
    let text = ''
    for (;;) {
      const token = this.next()
      if (token.type === 'symbol' && token.value === '{') depth++
      if (token.type === 'symbol' && token.value === '}' && --depth === 0) return text
      text += token.value
    }
  }

  /** Text up to the next relation, separator or closing bracket outside brackets. */
  rest(): string {
    let text = ''
    let depth = 0
    for (;;) {
      const token = this.peek()
      if (token.type === 'end') break
      if (depth === 0 && (token.type === 'separator' || (token.type === 'symbol' && token.value === ','))) break
      if (depth === 0 && token.type === 'symbol' && (RELATIONS.has(token.value) || CLOSING.has(token.value))) break
      if (token.type === 'symbol' && OPENING.has(token.value)) depth++
      if (token.type === 'symbol' && CLOSING.has(token.value)) depth--
      text += ` ${this.next().value}`
    }
    return text
  }
}
