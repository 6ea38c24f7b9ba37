/** Number tokens and mixed numbers as nodes. */
import type { Node } from './ast.js'
import { LIMITS, type Work } from './limits.js'
import { integer, type Rational, rational } from './rational.js'
import { Unparsable } from './tokens.js'

/** `0.1(6)`: the value of the digits with the period once, less the value without, over 10^period − 1. */
function repeatingNode(literal: string, work: Work): Node {
  const [start = '', period = ''] = literal.slice(0, -1).split('(')
  const [whole = '', fraction = ''] = start.split('.')
  const digits = BigInt(whole + fraction + period) - BigInt(whole + fraction)
  const value = rational(digits, 10n ** BigInt(fraction.length) * (10n ** BigInt(period.length) - 1n), work)
  if (value === null) throw new Unparsable()
  return { kind: 'number', value, decimals: 0 }
}

/** Exact value of a number token such as `12`, `.5`, `1.50e-3`, `0.1(6)`. */
export function numberNode(literal: string, work: Work): Node {
  if (literal.endsWith(')')) return repeatingNode(literal, work)
  const [mantissa = '', exponentText] = literal.toLowerCase().split('e')
  const [whole = '', fraction = ''] = mantissa.split('.')
  const exponent = exponentText === undefined ? 0 : Number(exponentText)
  const shift = exponent - fraction.length
  if (Math.abs(shift) > LIMITS.answerLength) throw new Unparsable()
  work.spend(Math.abs(shift))
  const digits = BigInt(whole + fraction)
  const scale = 10n ** BigInt(Math.abs(shift))
  const value = shift >= 0 ? rational(digits * scale, 1n, work) : rational(digits, scale, work)
  if (value === null) throw new Unparsable()
  return { kind: 'number', value, decimals: Math.max(0, -shift, fraction.length) }
}

/** Value of n/d with plain natural numbers, or null. */
export function plainFraction(node: Node): Rational | null {
  if (node.kind !== 'binary' || node.operator !== '/') return null
  if (node.left.kind !== 'number' || node.right.kind !== 'number') return null
  if (node.left.decimals > 0 || node.right.decimals > 0 || node.right.value.numerator === 0n) return null
  return node.left.value.numerator < node.right.value.numerator
    ? { numerator: node.left.value.numerator, denominator: node.right.value.numerator }
    : null
}

/** @throws Unparsable unless `whole` is an integer and `node` a proper fraction. */
export function mixedNumber(whole: Node, node: Node): Node {
  const fraction = plainFraction(node)
  if (whole.kind !== 'number' || whole.decimals > 0 || fraction === null) throw new Unparsable()
  return { kind: 'mixed', whole: integer(whole.value.numerator), fraction }
}
