/**
 * Exact value of an expression, where it has one: a rational built by arithmetic, integer powers, factorials and
 * binomials. `null` covers all else: symbols, roots, division by zero, and results past the size limit.
 */
import { type Node, substitute, whole } from './ast.js'
import { determinant } from './determinant.js'
import type { Work } from './limits.js'
import {
  add,
  binomial,
  divide,
  factorial,
  floor,
  integer,
  modulo,
  multiply,
  negate,
  power,
  type Rational,
} from './rational.js'

const HUNDRED = integer(100n)

export function exactValue(node: Node, work: Work): Rational | null {
  work.spend(1)
  switch (node.kind) {
    case 'number':
      return node.value
    case 'mixed':
      return add(node.whole, node.fraction, work)
    case 'negate': {
      const child = exactValue(node.child, work)
      return child === null ? null : negate(child)
    }
    case 'percent': {
      const child = exactValue(node.child, work)
      return child === null ? null : divide(child, HUNDRED, work)
    }
    case 'degree':
      return exactValue(node.child, work)
    case 'quantity':
      return exactValue(node.value, work)
    case 'big':
      return exactSeries(node, work)
    case 'binary': {
      const left = exactValue(node.left, work)
      const right = left === null ? null : exactValue(node.right, work)
      if (left === null || right === null) return null
      switch (node.operator) {
        case '+':
          return add(left, right, work)
        case '-':
          return add(left, negate(right), work)
        case '*':
          return multiply(left, right, work)
        case '/':
          return divide(left, right, work)
        case '^':
          return power(left, right, work)
        case 'mod':
          return modulo(left, right)
      }
    }
    // Every operator above returns.
    case 'call': {
      if (node.name === 'det') {
        const expansion = determinant(node.args[0])
        return expansion === null ? null : exactValue(expansion, work)
      }
      const values: Rational[] = []
      for (const argument of node.args) {
        const value = exactValue(argument, work)
        if (value === null) return null
        values.push(value)
      }
      const [first, second] = values
      if (first === undefined) return null
      switch (node.name) {
        case 'factorial':
          return factorial(first, work)
        case 'binomial':
          return second === undefined ? null : binomial(first, second, work)
        case 'abs':
          return first.numerator < 0n ? negate(first) : first
        case 'floor':
          return floor(first)
        case 'ceil':
          return negate(floor(negate(first)))
        default:
          return null
      }
    }
    default:
      return null
  }
}

/** Terms of one sum or product. */
const MOST_TERMS = 10_000n

/** Σ or Π with whole bounds, term by term. */
function exactSeries(node: Node & { kind: 'big' }, work: Work): Rational | null {
  const [lower, upper] = [exactValue(node.lower, work), exactValue(node.upper, work)]
  if (lower?.denominator !== 1n || upper?.denominator !== 1n) return null
  if (upper.numerator - lower.numerator >= MOST_TERMS) return null
  let total: Rational | null = integer(node.operator === 'sum' ? 0n : 1n)
  for (let k = lower.numerator; k <= upper.numerator && total !== null; k++) {
    const index = whole(k)
    work.spend(4)
    const term = exactValue(
      substitute(node.body, (name) => (name === node.variable ? index : undefined)),
      work,
    )
    if (term === null) return null
    total = node.operator === 'sum' ? add(total, term, work) : multiply(total, term, work)
  }
  return total
}
