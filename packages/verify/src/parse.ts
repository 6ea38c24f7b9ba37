/**
 * Pratt parser from tokens to {@link Node}. Binding powers, weakest first: separators, relations, ratio, union, sum,
 * product, factors side by side in an argument, postfix, power. Nesting is counted, so depth is bounded by {@link LIMITS} and not by the stack.
 */
import { binary, type BinaryOperator, INFINITY, mapChildren, negated, type Node, type RelationOperator } from './ast.js'
import { LIMITS, type Work } from './limits.js'
import { CLOSING, Cursor, RELATIONS } from './cursor.js'
import { mixedNumber, numberNode, plainFraction } from './literals.js'
import { tokenize, Unparsable } from './tokens.js'
import { readUnits } from './units.js'
import {
  BINOMIAL_COMMANDS,
  DETERMINANT_ENVIRONMENTS,
  FRACTION_COMMANDS,
  FUNCTIONS,
  MATRIX_ENVIRONMENTS,
  MULTIPLIERS,
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
    if (this.peek().type !== 'end') throw new Unparsable()
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
    const words = new Set<string>()
    let count = 0
    let commas = false
    while (!this.#atListEnd()) {
      if (++count > LIMITS.elements) throw new Unparsable()
      groups.at(-1)?.push(this.#expression(0))
      if (this.#atListEnd()) break
      let separators = 0
      let semicolon = false
      while (this.peek().type === 'separator' || this.is(',') || this.is(';')) {
        const token = this.next()
        if (token.value === ';') semicolon = true
        if (token.type === 'separator') words.add(joinWord(token.value))
        separators++
      }
      if (separators === 0) throw new Unparsable()
      if (semicolon) groups.push([])
      else commas = true
    }
    const filled = groups.filter((group) => group.length > 0)
    const items = commas && filled.length > 1 ? filled.map(groupNode) : solutions(filled.flat())
    const [only] = items
    if (only === undefined) throw new Unparsable()
    if (items.length === 1) return only
    const [joiner] = words
    return words.size === 1 && (joiner === 'and' || joiner === 'or')
      ? { kind: 'list', items, joiner }
      : { kind: 'list', items }
  }

  #fence(open: string): Node {
    return this.#fenced(() => {
      const closers = FENCES.get(open) ?? []
      if (open === '\\{' && this.accept('\\}')) return { kind: 'set', items: [] }
      const inner = this.#list()
      const close = this.next().value
      if (!closers.includes(close)) throw new Unparsable()
      const items = inner.kind === 'list' ? inner.items : [inner]
      if (open === '\\{') return { kind: 'set', items }
      if (open === '{' || (items.length === 1 && open !== '⟨')) return inner
      return { kind: 'sequence', open, close, items }
    })
  }

  #matrix(): Node {
    const environment = this.name()
    const determinant = DETERMINANT_ENVIRONMENTS.has(environment)
    if (!determinant && !MATRIX_ENVIRONMENTS.has(environment)) throw new Unparsable()
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
      const matrix: Node = { kind: 'matrix', rows: rows.filter((row) => row.length > 0) }
      return determinant ? { kind: 'call', name: 'det', args: [matrix] } : matrix
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
          return minimum > POWER.union ? null : { kind: 'union', parts: this.#chain(left, '∪', POWER.union) }
        case '∩':
        case '∖':
          if (minimum > POWER.union) return null
          this.position++
          return { kind: 'setOperation', operator: value, left, right: this.#expression(POWER.union + 1) }
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
        case '$':
        case '€':
        case '£':
        case '¥':
          if (minimum > POWER.postfix) return null
          this.position++
          return { kind: 'quantity', value: left, unit: value }
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
      const zeros = MULTIPLIERS.get(token.value.toLowerCase())
      if (zeros !== undefined && left.kind === 'number') {
        this.position++
        const factor = numberNode(`1e${zeros}`, this.work)
        return binary('*', left, factor)
      }
      const unit =
        left.kind === 'text' || left.kind === 'relation' ? null : readUnits(this, () => exponentText(this.#argument()))
      if (unit !== null) return { kind: 'quantity', value: left, unit }
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
    return binary(operator, left, this.#expression(minimum))
  }

  /** Factors side by side. A number beside a number is not a product, a proper fraction after an integer is added. */
  #product(left: Node): Node {
    const start = this.peek()
    if (start.type === 'number' && left.kind === 'number') {
      const fraction = this.#expression(POWER.product)
      return mixedNumber(left, fraction)
    }
    if (start.type === 'number' && ['percent', 'degree', 'mixed', 'negate'].includes(left.kind)) throw new Unparsable()
    const right = this.#expression(POWER.argument + 1)
    if (left.kind === 'text' || right.kind === 'text') throw new Unparsable()
    if (
      left.kind === 'number' &&
      left.decimals === 0 &&
      start.type === 'command' &&
      FRACTION_COMMANDS.has(start.value)
    ) {
      if (plainFraction(right) !== null) return mixedNumber(left, right)
    }
    return left.kind === 'symbol' && start.value === '('
      ? { kind: 'binary', operator: '*', left, right, applied: true }
      : binary('*', left, right)
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
    return binary('^', left, this.#expression(POWER.power))
  }

  #relation(first: Node): Node {
    const operands = [first]
    const operators: RelationOperator[] = []
    while (this.peek().type === 'symbol' && RELATIONS.has(this.peek().value)) {
      if (operands.length > LIMITS.elements) throw new Unparsable()
      operators.push(this.next().value as RelationOperator)
      operands.push(this.#expression(POWER.relation + 1))
    }
    return { kind: 'relation', operands, operators }
  }

  #ratio(first: Node): Node {
    const digits = this.peek(1).type === 'number' && !this.peek(1).spaced ? this.peek(1).value : ''
    const items = this.#chain(first, ':', POWER.ratio)
    const clock = items.length === 2 && first.kind === 'number' && /^[0-5]\d$/.test(digits)
    return clock ? { kind: 'ratio', items, clock } : { kind: 'ratio', items }
  }

  /** Operands around one operator. */
  #chain(first: Node, operator: string, power: number): Node[] {
    const items = [first]
    while (this.accept(operator)) {
      if (items.length > LIMITS.elements) throw new Unparsable()
      items.push(this.#expression(power + 1))
    }
    return items
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
    if (value === '-') return negated(this.#expression(signed))
    if (value === '±' || value === '∓')
      return { kind: 'plusMinus', mirrored: value === '∓', left: null, right: this.#expression(POWER.sum + 1) }
    if (value === '|') {
      this.#bars++
      const inner = this.nested(() => this.#expression(POWER.relation + 1))
      this.#bars--
      this.expect('|')
      return { kind: 'call', name: inner.kind === 'matrix' ? 'det' : 'abs', args: [inner] }
    }
    if (FENCES.has(value)) return this.#fence(value)
    if ('$€£¥'.includes(value))
      return { kind: 'quantity', value: this.#expression(Math.max(minimum, POWER.argument)), unit: value }
    throw new Unparsable()
  }

  #word(word: string): Node {
    const lower = word.toLowerCase()
    if (FUNCTIONS.has(lower) && word.length > 1) return this.#call(lower)
    if (lower === 'pi') return { kind: 'constant', name: 'pi' }
    if (lower === 'infinity' || lower === 'infty' || lower === 'inf') return INFINITY
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
      product = product === null ? factor : binary('*', product, factor)
    }
    if (product === null) throw new Unparsable()
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
      return binary('/', left, this.#argument())
    }
    if (BINOMIAL_COMMANDS.has(name)) {
      const n = this.#argument()
      return { kind: 'call', name: 'binomial', args: [n, this.#argument()] }
    }
    if (FUNCTIONS.has(name)) return this.#call(name)
    if (name === 'sum' || name === 'prod') return this.#series(name) ?? this.#opaque(name)
    if (OPAQUE_COMMANDS.has(name)) return this.#opaque(name)
    switch (name) {
      case 'pi':
        return { kind: 'constant', name: 'pi' }
      case 'emptyset':
      case 'varnothing':
        return { kind: 'set', items: [] }
      case 'infty':
        return INFINITY
      case 'lfloor':
      case 'lceil': {
        const inner = this.#fenced(() => this.#expression(POWER.relation + 1))
        const close = this.next()
        if (close.value !== name.replace('l', 'r')) throw new Unparsable()
        return { kind: 'call', name: name.slice(1), args: [inner] }
      }
      case 'begin':
        return this.#matrix()
      case 'det':
        return { kind: 'call', name: 'det', args: [this.#expression(POWER.argument)] }
      case 'mathbb':
        return this.#subscripted({ kind: 'symbol', name: `\\mathbb ${this.verbatim()}` }, '\\mathbb')
      case 'circ':
      case 'end':
        throw new Unparsable()
      default:
        return this.#subscripted({ kind: 'symbol', name: `\\${name}` }, `\\${name}`)
    }
  }

  /** What can only be named: equal to the same text. */
  #opaque(name: string): Node {
    return { kind: 'symbol', name: `\\${name}${this.rest()}` }
  }

  /** `\sum_{k=1}^{n} a_k`; null, with the cursor where it was, for any other shape. */
  #series(operator: 'sum' | 'prod'): Node | null {
    const { position, depth } = this
    try {
      this.expect('_')
      const start = this.#argument()
      this.expect('^')
      const upper = this.#argument()
      const body = this.#expression(POWER.sum + 1)
      const [variable, lower] = start.kind === 'relation' ? start.operands : []
      if (
        start.kind === 'relation' &&
        start.operators.join() === '=' &&
        variable !== undefined &&
        lower !== undefined
      ) {
        const name = variable.kind === 'symbol' ? variable.name : variable.kind === 'constant' ? variable.name : null
        if (variable.kind === 'constant' && name !== null) {
          // In Σ_{i=1}^n the letter i counts.
          const counted = renameConstant(body, variable.name, name)
          return { kind: 'big', operator, variable: name, lower, upper, body: counted }
        }
        if (name !== null) return { kind: 'big', operator, variable: name, lower, upper, body }
      }
    } catch (error) {
      if (!(error instanceof Unparsable)) throw error
    }
    this.position = position
    this.depth = depth
    return null
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
    return exponent === null ? call : binary('^', call, exponent)
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

/** Name that an equation gives a value to. */
const assigned = (node: Node): string | null => {
  const [name] = node.kind === 'relation' && node.operators[0] === '=' ? node.operands : []
  return name?.kind === 'symbol' ? name.name : null
}

/** `p=5, q=2, p=7, q=2`: where the same names start again, so does another solution. */
function solutions(items: Node[]): Node[] {
  const names = items.map(assigned)
  const period = names.indexOf(names[0] ?? null, 1)
  if (period < 2 || items.length % period !== 0 || names.some((name, i) => name === null || name !== names[i % period]))
    return items
  return Array.from({ length: items.length / period }, (_, i) => groupNode(items.slice(i * period, (i + 1) * period)))
}

const joinWord = (separator: string): string => {
  const word = /(and|or)$/i.exec(separator.trim())?.[1]
  return word?.toLowerCase() ?? separator
}

const exponentText = (node: Node): string => (node.kind === 'number' ? String(node.value.numerator) : '?')

/** Copy of a tree in which the constant is the name of a variable. */
function renameConstant(node: Node, constant: string, name: string): Node {
  if (node.kind === 'constant') return node.name === constant ? { kind: 'symbol', name } : node
  return mapChildren(node, (child) => renameConstant(child, constant, name))
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
