/** Equations and inequalities: what value they give a name, which interval they describe, when two say the same. */
import { binary, INFINITY, isClosed, negated, type Node, type RelationOperator, substitute } from './ast.js'
import type { Work } from './limits.js'
import { ascending, flip } from './real-sets.js'
import { proportionality } from './scalar.js'

type Relation = Node & { readonly kind: 'relation' }
type Equal = (gold: Node, prediction: Node) => boolean

/** `x`, `x_1`, `f(2)`, `|AB|`, `AB`, `A:B`, `(x, y)`, `\frac{NO}{BO}`, `\lim …`: something that can only be named. */
function isName(node: Node): boolean {
  switch (node.kind) {
    case 'symbol':
    case 'text':
      return true
    case 'constant':
      return node.name === 'i' || node.name === 'e'
    case 'call':
      return node.name === 'abs' && node.args.every(isName)
    case 'sequence':
    case 'ratio':
      return node.items.every(isName)
    case 'matrix':
      return false
    case 'binary':
      if (node.operator === '/') return isName(node.left) && isName(node.right)
      // f(2) reads as a product of f and 2.
      return node.operator === '*' && isName(node.left) && (isName(node.right) || node.right.kind === 'number')
    default:
      return false
  }
}

/** Cuts `… ≈ approximation` off, unless only a name would be left. */
function withoutApproximation(relation: Relation): Relation {
  const cut = relation.operators.indexOf('≈')
  if (cut === -1) return relation
  const [first] = relation.operands
  if (cut === 0 && first !== undefined && isName(first))
    return { ...relation, operators: relation.operators.map((operator) => (operator === '≈' ? '=' : operator)) }
  return {
    ...relation,
    operands: relation.operands.slice(0, cut + 1),
    operators: relation.operators.slice(0, cut),
  }
}

/**
 * Value a chain of equations (or a membership) gives: the last operand, if the first is a name, or (`chains: 'true'`) a
 * closed value equal to it, or if the sides have different units, which makes it a conversion. `'last'`: also of any chain
 * of three or more sides, for golds. Null for inequalities, general equations and false numeric equations.
 */
export function assignedValue(relation: Relation, equal: Equal, chains: 'true' | 'none' | 'last'): Node | null {
  if (chains === 'none' && relation.operators.includes('≈')) return null
  const { operands, operators } = withoutApproximation(relation)
  const [first] = operands
  const last = operands.at(-1)
  if (first === undefined || last === undefined) return null
  if (operators.length === 0) return first
  if (operators.some((operator) => operator !== '=' && operator !== '∈')) return null
  if (isName(first)) return last
  if (chains === 'none' || operators.includes('∈')) return null
  if (chains === 'last' && operands.length > 2) return last
  const units = [first, last].map((side) => (side.kind === 'quantity' ? side.unit : ''))
  return isClosed(first) && (units[0] !== units[1] || equal(last, first)) ? last : null
}

const MINUS_INFINITY = negated(INFINITY)

/** `a < x ≤ b` as `(a, b]`, `x ≥ a` as `[a, ∞)`; null for relations of another shape. */
export function relationToInterval(relation: Relation): Node | null {
  const rising = ascending(relation)
  // |z| is a name of a value, but 1 ≤ |z| ≤ 2 says something of z.
  if (rising === null || rising.operands.some((operand) => operand.kind === 'call' && operand.name === 'abs'))
    return null
  const { operands, operators } = rising
  const [a, b, c] = operands
  const [first, second] = operators
  if (a === undefined || b === undefined || first === undefined) return null
  const sequence = (open: string, low: Node, high: Node, close: string): Node => ({
    kind: 'sequence',
    open,
    close,
    items: [low, high],
  })
  if (c !== undefined && second !== undefined && operands.length === 3 && isName(b))
    return sequence(first === '≤' ? '[' : '(', a, c, second === '≤' ? ']' : ')')
  if (operands.length !== 2) return null
  if (isName(a)) return sequence('(', MINUS_INFINITY, b, first === '≤' ? ']' : ')')
  if (isName(b)) return sequence(first === '≤' ? '[' : '(', a, INFINITY, ')')
  return null
}

const difference = (left: Node, right: Node): Node => binary('-', left, right)

const sameOperators = (a: readonly RelationOperator[], b: readonly RelationOperator[]): boolean =>
  a.length === b.length && a.every((operator, i) => operator === b[i])

/** Chains `name = … = value` shrink to their ends. */
function shrink(relation: Relation): Relation {
  const exact = withoutApproximation(relation)
  const [first] = exact.operands
  const last = exact.operands.at(-1)
  const equations = exact.operators.length > 1 && exact.operators.every((operator) => operator === '=')
  return equations && first !== undefined && last !== undefined && isName(first)
    ? { kind: 'relation', operands: [first, last], operators: ['='] }
    : exact
}

/** f and x of `f(x)`, which reads as a product of names. */
function application(node: Node | undefined): readonly [head: string, argument: string] | null {
  if (node?.kind !== 'binary' || node.applied !== true) return null
  const { left, right } = node
  return left.kind === 'symbol' && right.kind === 'symbol' ? [left.name, right.name] : null
}

/** `f(t) = t^2` in the letter of `f(x) = x^2`: the argument of a definition is bound. */
function withArgumentOf(gold: Relation, prediction: Relation): Relation {
  const [g, p] = [application(gold.operands[0]), application(prediction.operands[0])]
  if (g === null || p === null || g[0] !== p[0] || g[1] === p[1]) return prediction
  const [, to] = g
  const [head, from] = p
  const swap = (name: string): Node | undefined =>
    name === from && from !== head
      ? { kind: 'symbol', name: to }
      : name === to
        ? { kind: 'symbol', name: from }
        : undefined
  return { ...prediction, operands: prediction.operands.map((operand) => substitute(operand, swap)) }
}

/** Operand by operand, the same read backwards, or (for one operator) proportional differences of the sides. */
export function compareRelations(gold: Relation, prediction: Relation, equal: Equal, work: Work): boolean {
  const g = shrink(gold)
  const p = withArgumentOf(g, shrink(prediction))
  const operandsEqual = (operands: readonly Node[]): boolean =>
    g.operands.length === operands.length &&
    g.operands.every((operand, i) => {
      const other = operands[i]
      return other !== undefined && equal(operand, other)
    })
  if (sameOperators(g.operators, p.operators) && operandsEqual(p.operands)) return true
  if (sameOperators(g.operators, [...p.operators].reverse().map(flip)) && operandsEqual([...p.operands].reverse()))
    return true

  const [goldLeft, goldRight] = g.operands
  const [left, right] = p.operands
  const [goldOperator] = g.operators
  const [operator] = p.operators
  if (g.operators.length !== 1 || p.operators.length !== 1 || goldOperator === undefined || operator === undefined)
    return false
  if (goldLeft === undefined || goldRight === undefined || left === undefined || right === undefined) return false
  if (goldOperator === '∈' || goldOperator === '≡') return false
  const sign = proportionality(difference(goldLeft, goldRight), difference(left, right), work)
  return sign !== 0 && goldOperator === (sign === 1 ? operator : flip(operator))
}
