/**
 * Exact value of an expression, where it has one: a rational built by arithmetic, integer powers, factorials and
 * binomials. `null` covers all else: symbols, roots, division by zero, and results past the size limit.
 */
import { type Node } from './ast.js'
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
