/**
 * Pratt parser from tokens to {@link Node}. Binding powers, weakest first: separators, relations, ratio, union, sum,
 * product, factors side by side in an argument, postfix, power. Nesting is counted, so depth is bounded by {@link LIMITS} and not by the stack.
 */
import { type BinaryOperator, type Node, type RelationOperator } from './ast.js'
import { LIMITS, type Work } from './limits.js'
import { CLOSING, Cursor, RELATIONS } from './cursor.js'
import { mixedNumber, numberNode, plainFraction } from './literals.js'
import { tokenize, Unparsable } from './tokens.js'
import { skipUnits } from './units.js'
import {
  BINOMIAL_COMMANDS,
  DETERMINANT_ENVIRONMENTS,
  FRACTION_COMMANDS,
  FUNCTIONS,
  MATRIX_ENVIRONMENTS,
  OPAQUE_COMMANDS,
  PERCENT_WORDS,
} from './vocabulary.js'

const POWER = {
  relation: 10,
  ratio: 15,
  union: 20,
  sum: 30,
  product: 40,
  argument: 45,
  postfix: 59,
  power: 60,
} as const

const FENCES: ReadonlyMap<string, readonly string[]> = new Map([
  ['(', [')', ']']],
  ['[', [']', ')']],
  ['⟨', ['⟩']],
  ['\\{', ['\\}']],
  ['{', ['}']],
])

class Parser extends Cursor {
  /** Open `|…|`, in which `|` closes and does not begin a factor. */
  #bars = 0

  answer(): Node {
    const node = this.#list()
    if (this.peek().type !== 'end') throw new Unparsable(`unexpected ${this.peek().value}`)
    return node
  }

  /** Parses a part in which an outer `|` is not open. */
  #fenced<Result>(parse: () => Result): Result {
    const bars = this.#bars
    this.#bars = 0
    const result = this.nested(parse)
    this.#bars = bars
    return result
  }

  // -------------------------------------------------------------------------------------------- collections

  #atListEnd(): boolean {
    const token = this.peek()
    return token.type === 'end' || (token.type === 'symbol' && CLOSING.has(token.value))
  }

  /** Items between separators. With both kinds, `;` separates groups of comma items. */
  #list(): Node {
    const groups: Node[][] = [[]]
    let count = 0
    let commas = false
    while (!this.#atListEnd()) {
      if (++count > LIMITS.elements) throw new Unparsable('too many elements')
      groups.at(-1)?.push(this.#expression(0))
      if (this.#atListEnd()) break
      let separators = 0
      let semicolon = false
      while (this.peek().type === 'separator' || this.is(',') || this.is(';')) {
        const token = this.next()
        if (token.value === ';') semicolon = true
        separators++
      }
      if (separators === 0) throw new Unparsable(`unexpected ${this.peek().value}`)
      if (semicolon) groups.push([])
      else commas = true
    }
    const filled = groups.filter((group) => group.length > 0)
    const items = commas && filled.length > 1 ? filled.map(groupNode) : filled.flat()
    const [only] = items
    if (only === undefined) throw new Unparsable('nothing to read')
    return items.length === 1 ? only : { kind: 'list', items }
  }

  #fence(open: string): Node {
    return this.#fenced(() => {
      const closers = FENCES.get(open) ?? []
      if (open === '\\{' && this.accept('\\}')) return { kind: 'set', items: [] }
      const inner = this.#list()
      const close = this.next().value
      if (!closers.includes(close)) throw new Unparsable(`${open} closed by ${close}`)
      const items = inner.kind === 'list' ? inner.items : [inner]
      if (open === '\\{') return { kind: 'set', items }
      if (open === '{' || (items.length === 1 && open !== '⟨')) return inner
      return { kind: 'sequence', open, close, items }
    })
  }

  #matrix(): Node {
    const environment = this.name()
    if (DETERMINANT_ENVIRONMENTS.has(environment)) return { kind: 'symbol', name: `\\${environment}${this.rest()}` }
    if (!MATRIX_ENVIRONMENTS.has(environment)) throw new Unparsable(`environment ${environment}`)
    if (environment === 'array' && this.is('{')) this.name()
    return this.#fenced(() => {
      const rows: Node[][] = [[]]
      for (;;) {
        if (this.peek().type === 'command' && this.peek().value === 'end') break
        if (this.accept('\\\\')) rows.push([])
        else if (!this.accept('&')) rows.at(-1)?.push(this.#expression(0))
      }
      this.position++
      this.name()
      return { kind: 'matrix', rows: rows.filter((row) => row.length > 0) }
    })
  }

  // -------------------------------------------------------------------------------------------- expressions

  #expression(minimum: number): Node {
    return this.nested(() => {
      let left = this.#prefix(minimum)
      for (;;) {
        const next = this.#infix(left, minimum)
        if (next === null) return left
        left = next
      }
    })
  }

  /** Continues `left` by one operator that binds at least as strongly as `minimum`, or gives null. */
  #infix(left: Node, minimum: number): Node | null {
    const token = this.peek()
    if (token.type === 'end' || token.type === 'separator') return null
    if (token.type === 'symbol') {
      const { value } = token
      if (RELATIONS.has(value)) return minimum > POWER.relation ? null : this.#relation(left)
      switch (value) {
        case ':':
          return minimum > POWER.ratio ? null : this.#ratio(left)
        case '∪':
          return minimum > POWER.union ? null : this.#union(left)
        case '+':
        case '-':
          return minimum > POWER.sum ? null : this.#binary(left, value, POWER.sum + 1)
        case '±':
        case '∓':
          if (minimum > POWER.sum) return null
          this.position++
          return { kind: 'plusMinus', mirrored: value === '∓', left, right: this.#expression(POWER.sum + 1) }
        case '*':
        case '/':
          return minimum > POWER.product ? null : this.#binary(left, value, POWER.product + 1)
        case '^':
          return minimum > POWER.power ? null : this.#power(left)
        case '!':
          if (minimum > POWER.postfix) return null
          this.position++
          return { kind: 'call', name: 'factorial', args: [left] }
        case '%':
          if (minimum > POWER.postfix) return null
          this.position++
          return { kind: 'percent', child: left }
        case '°':
          if (minimum > POWER.postfix) return null
          this.position++
          return { kind: 'degree', child: left }
        case '(':
        case '[':
        case '{':
          break
        case '|':
          if (this.#bars > 0) return null
          break
        default:
          return null
      }
    }
    if ((token.type === 'word' || token.type === 'text') && minimum <= POWER.product) {
      if (PERCENT_WORDS.has(token.value.toLowerCase())) {
        this.position++
        return { kind: 'percent', child: left }
      }
      if (skipUnits(this, left, () => this.#argument())) return left
    }
    if (token.type === 'command') {
      if (token.value === 'bmod' || token.value === 'mod')
        return minimum > POWER.product ? null : this.#binary(left, 'mod', POWER.product + 1)
      if (token.value === 'end' || token.value === 'rfloor' || token.value === 'rceil') return null
      if (minimum >= POWER.argument && FUNCTIONS.has(token.value)) return null
      if (token.value === 'circ') {
        this.position++
        return { kind: 'degree', child: left }
      }
    }
    return minimum === POWER.argument || minimum <= POWER.product ? this.#product(left) : null
  }

  #binary(left: Node, operator: BinaryOperator, minimum: number): Node {
    this.position++
    return { kind: 'binary', operator, left, right: this.#expression(minimum) }
  }

  /** Factors side by side. A number beside a number is not a product, a proper fraction after an integer is added. */
  #product(left: Node): Node {
    const start = this.peek()
    if (start.type === 'number' && left.kind === 'number') {
      const fraction = this.#expression(POWER.product)
      return mixedNumber(left, fraction)
    }
    if (start.type === 'number' && ['percent', 'degree', 'mixed', 'negate'].includes(left.kind))
      throw new Unparsable('two numbers side by side')
    const right = this.#expression(POWER.argument + 1)
    if (left.kind === 'text' || right.kind === 'text') throw new Unparsable('words beside a value')
    if (
      left.kind === 'number' &&
      left.decimals === 0 &&
      start.type === 'command' &&
      FRACTION_COMMANDS.has(start.value)
    ) {
      if (plainFraction(right) !== null) return mixedNumber(left, right)
    }
    return { kind: 'binary', operator: '*', left, right }
  }

  #power(left: Node): Node {
    this.position++
    if (this.is('{') && this.peek(1).value === 'circ' && this.is('}', 2)) this.position++
    if (this.peek().value === 'circ' || this.is('°')) {
      this.position++
      if (this.is('}')) this.position++
      return { kind: 'degree', child: left }
    }
    if (left.kind === 'symbol' && (this.is("'") || (this.is('{') && this.is("'", 1)))) {
      const braced = this.accept('{')
      let name = left.name
      while (this.accept("'")) name += "'"
      if (braced) this.expect('}')
      return { kind: 'symbol', name }
    }
    return { kind: 'binary', operator: '^', left, right: this.#expression(POWER.power) }
  }

  #relation(first: Node): Node {
    const operands = [first]
    const operators: RelationOperator[] = []
    while (this.peek().type === 'symbol' && RELATIONS.has(this.peek().value)) {
      if (operands.length > LIMITS.elements) throw new Unparsable('too many relations')
      operators.push(this.next().value as RelationOperator)
      operands.push(this.#expression(POWER.relation + 1))
    }
    return { kind: 'relation', operands, operators }
  }

  #ratio(first: Node): Node {
    const items = [first]
    while (this.accept(':')) items.push(this.#expression(POWER.ratio + 1))
    return { kind: 'ratio', items }
  }

  #union(first: Node): Node {
    const parts = [first]
    while (this.accept('∪')) {
      if (parts.length > LIMITS.elements) throw new Unparsable('too many parts')
      parts.push(this.#expression(POWER.union + 1))
    }
    return { kind: 'union', parts }
  }

  // -------------------------------------------------------------------------------------------- operands

  /** One operand. A sign takes the factors beside it (`-2x`, `-2 1/2`), except in an exponent. */
  #prefix(minimum: number): Node {
    const token = this.next()
    switch (token.type) {
      case 'number':
        return this.#subscripted(numberNode(token.value, this.work), token.value)
      case 'word':
        return this.#word(token.value)
      case 'text':
        return { kind: 'text', text: token.value }
      case 'command':
        return this.#command(token.value)
      default:
        break
    }
    const { value } = token
    const signed = Math.max(minimum, POWER.argument)
    if (value === '+') return this.#expression(signed)
    if (value === '-') return { kind: 'negate', child: this.#expression(signed) }
    if (value === '±' || value === '∓')
      return { kind: 'plusMinus', mirrored: value === '∓', left: null, right: this.#expression(POWER.sum + 1) }
    if (value === '|') {
      this.#bars++
      const inner = this.nested(() => this.#expression(POWER.relation + 1))
      this.#bars--
      this.expect('|')
      return { kind: 'call', name: 'abs', args: [inner] }
    }
    if (FENCES.has(value)) return this.#fence(value)
    throw new Unparsable(`unexpected ${value}`)
  }

  #word(word: string): Node {
    const lower = word.toLowerCase()
    if (FUNCTIONS.has(lower) && word.length > 1) return this.#call(lower)
    if (lower === 'pi') return { kind: 'constant', name: 'pi' }
    if (lower === 'infinity' || lower === 'infty' || lower === 'inf') return { kind: 'constant', name: 'infinity' }
    if (word.length > 3 || /[^a-zA-Z]/.test(word)) return { kind: 'text', text: word }
    // Up to three letters side by side are a product, of which the last may carry a subscript.
    let product: Node | null = null
    for (const [i, letter] of [...word].entries()) {
      const last = i === word.length - 1
      const factor: Node =
        letter === 'e' || letter === 'i'
          ? { kind: 'constant', name: letter }
          : last
            ? this.#subscripted({ kind: 'symbol', name: letter }, letter)
            : { kind: 'symbol', name: letter }
      product = product === null ? factor : { kind: 'binary', operator: '*', left: product, right: factor }
    }
    if (product === null) throw new Unparsable('empty word')
    return product
  }

  /** A subscript makes another name of a name, and of a number (a base) a name of its own. */
  #subscripted(node: Node, name: string): Node {
    let subscripted = node
    while (this.accept("'")) subscripted = { kind: 'symbol', name: (name += "'") }
    if (!this.accept('_')) return subscripted
    return { kind: 'symbol', name: `${name}_${this.verbatim()}` }
  }

  #command(name: string): Node {
    if (FRACTION_COMMANDS.has(name)) {
      const left = this.#argument()
      return { kind: 'binary', operator: '/', left, right: this.#argument() }
    }
    if (BINOMIAL_COMMANDS.has(name)) {
      const n = this.#argument()
      return { kind: 'call', name: 'binomial', args: [n, this.#argument()] }
    }
    if (FUNCTIONS.has(name)) return this.#call(name)
    if (OPAQUE_COMMANDS.has(name)) return { kind: 'symbol', name: `\\${name}${this.rest()}` }
    switch (name) {
      case 'pi':
        return { kind: 'constant', name: 'pi' }
      case 'emptyset':
      case 'varnothing':
        return { kind: 'set', items: [] }
      case 'infty':
        return { kind: 'constant', name: 'infinity' }
      case 'lfloor':
      case 'lceil': {
        const inner = this.#fenced(() => this.#expression(POWER.relation + 1))
        const close = this.next()
        if (close.value !== name.replace('l', 'r')) throw new Unparsable(`\\${name} not closed`)
        return { kind: 'call', name: name.slice(1), args: [inner] }
      }
      case 'begin': {
        return this.#matrix()
      }
      case 'circ':
      case 'end':
        throw new Unparsable(`unexpected \\${name}`)
      default:
        return this.#subscripted({ kind: 'symbol', name: `\\${name}` }, `\\${name}`)
    }
  }

  /** `\sin x`, `\sin^2 x`, `\sqrt[3]{x}`, `\log_2 8`. */
  #call(name: string): Node {
    if (name === 'sqrt') {
      if (this.is('[')) {
        this.position++
        const index = this.#fenced(() => this.#expression(0))
        this.expect(']')
        return { kind: 'call', name: 'root', args: [this.#argument(), index] }
      }
      return { kind: 'call', name: 'sqrt', args: [this.#argument()] }
    }
    let base: Node | null = null
    let exponent: Node | null = null
    for (;;) {
      if (name === 'log' && base === null && this.accept('_')) base = this.#argument()
      else if (exponent === null && this.accept('^')) exponent = this.#argument()
      else break
    }
    const parenthesised = this.is('(')
    const argument = parenthesised ? this.#prefix(POWER.power) : this.#expression(POWER.argument)
    const inverse =
      exponent?.kind === 'negate' && exponent.child.kind === 'number' && exponent.child.value.numerator === 1n
    if (inverse && ['sin', 'cos', 'tan'].includes(name)) return { kind: 'call', name: `arc${name}`, args: [argument] }
    const call: Node = { kind: 'call', name, args: base === null ? [argument] : [argument, base] }
    return exponent === null ? call : { kind: 'binary', operator: '^', left: call, right: exponent }
  }

  /** A LaTeX argument: a group, one command, or one character (`\frac12` is one half). */
  #argument(): Node {
    const token = this.peek()
    if (token.type === 'number' && token.value.length > 1 && /^\d+$/.test(token.value)) {
      this.tokens[this.position] = { ...token, value: token.value.slice(1), spaced: false, kerned: false }
      this.work.spend(1)
      return numberNode(token.value.charAt(0), this.work)
    }
    if (token.type === 'word' && token.value.length > 1 && token.value.length <= 3) {
      this.tokens[this.position] = { ...token, value: token.value.slice(1), spaced: false, kerned: false }
      return this.#word(token.value.charAt(0))
    }
    return this.nested(() => this.#prefix(POWER.power))
  }
}

const groupNode = (items: Node[]): Node => {
  const [only] = items
  return only !== undefined && items.length === 1 ? only : { kind: 'sequence', open: '(', close: ')', items }
}

/** Tree of a normalised answer; null if it is not of a form this package reads. */
export function parse(normalized: string, work: Work): Node | null {
  if (normalized.length > LIMITS.answerLength) return null
  try {
    return new Parser(tokenize(normalized, work), work).answer()
  } catch (error) {
    if (!(error instanceof Unparsable)) throw error
    work.spend(normalized.length)
    return /^[\p{L} ,.'"()-]+$/u.test(normalized) ? { kind: 'text', text: normalized } : null
  }
}
