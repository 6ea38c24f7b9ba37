/**
 * What an answer can be once parsed. One type for numbers, expressions and collections: whether `(1,2)` is a point or an
 * interval is not visible in the text, so brackets are kept and compared.
 */
import type { Rational } from './rational.js'

export type RelationOperator = '=' | '≠' | '<' | '≤' | '>' | '≥' | '∈' | '≈' | '≡'
export type BinaryOperator = '+' | '-' | '*' | '/' | '^' | 'mod'
type ConstantName = 'pi' | 'e' | 'i' | 'infinity'

export type Node =
  /** `decimals`: digits after the point in the text; 0 for integers. */
  | { readonly kind: 'number'; readonly value: Rational; readonly decimals: number }
  | { readonly kind: 'mixed'; readonly whole: Rational; readonly fraction: Rational }
  | { readonly kind: 'symbol'; readonly name: string }
  | { readonly kind: 'constant'; readonly name: ConstantName }
  | { readonly kind: 'negate'; readonly child: Node }
  /** `applied`: a name before brackets, `f(x)`, which may also be a product. */
  | {
      readonly kind: 'binary'
      readonly operator: BinaryOperator
      readonly left: Node
      readonly right: Node
      readonly applied?: boolean
    }
  /** Left operand absent for a sign. `mirrored` is ∓, whose sign is the opposite of that of ±. */
  | { readonly kind: 'plusMinus'; readonly mirrored: boolean; readonly left: Node | null; readonly right: Node }
  | { readonly kind: 'call'; readonly name: string; readonly args: readonly Node[] }
  | { readonly kind: 'percent'; readonly child: Node }
  | { readonly kind: 'degree'; readonly child: Node }
  /** A value with its unit, in the canonical form of `units.ts`. */
  | { readonly kind: 'quantity'; readonly value: Node; readonly unit: string }
  /** `joiner`: the word between all items, if there is one. */
  | { readonly kind: 'list'; readonly items: readonly Node[]; readonly joiner?: 'and' | 'or' }
  | { readonly kind: 'set'; readonly items: readonly Node[] }
  | { readonly kind: 'sequence'; readonly open: string; readonly close: string; readonly items: readonly Node[] }
  | { readonly kind: 'union'; readonly parts: readonly Node[] }
  | { readonly kind: 'setOperation'; readonly operator: '∖' | '∩'; readonly left: Node; readonly right: Node }
  /** `clock`: written like a time of day. */
  | { readonly kind: 'ratio'; readonly items: readonly Node[]; readonly clock?: boolean }
  | { readonly kind: 'matrix'; readonly rows: readonly (readonly Node[])[] }
  | { readonly kind: 'relation'; readonly operands: readonly Node[]; readonly operators: readonly RelationOperator[] }
  /** Σ or Π of `body` over the whole numbers from `lower` to `upper`. */
  | {
      readonly kind: 'big'
      readonly operator: 'sum' | 'prod'
      readonly variable: string
      readonly lower: Node
      readonly upper: Node
      readonly body: Node
    }
  | { readonly kind: 'text'; readonly text: string }

export const binary = (operator: BinaryOperator, left: Node, right: Node): Node => ({
  kind: 'binary',
  operator,
  left,
  right,
})
export const negated = (child: Node): Node => ({ kind: 'negate', child })
export const whole = (numerator: bigint): Node => ({
  kind: 'number',
  value: { numerator, denominator: 1n },
  decimals: 0,
})
export const INFINITY: Node = { kind: 'constant', name: 'infinity' }

/** Direct parts of a node. */
function children(node: Node): readonly Node[] {
  switch (node.kind) {
    case 'number':
    case 'mixed':
    case 'symbol':
    case 'constant':
    case 'text':
      return []
    case 'negate':
    case 'percent':
    case 'degree':
      return [node.child]
    case 'binary':
      return [node.left, node.right]
    case 'plusMinus':
      return node.left === null ? [node.right] : [node.left, node.right]
    case 'call':
      return node.args
    case 'quantity':
      return [node.value]
    case 'setOperation':
      return [node.left, node.right]
    case 'big':
      return [node.lower, node.upper, node.body]
    case 'list':
    case 'set':
    case 'sequence':
    case 'ratio':
      return node.items
    case 'union':
      return node.parts
    case 'matrix':
      return node.rows.flat()
    case 'relation':
      return node.operands
  }
}

/** Whether `test` holds anywhere in the tree. */
export function some(node: Node, test: (node: Node) => boolean): boolean {
  const pending: Node[] = [node]
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (test(next)) return true
    pending.push(...children(next))
  }
  return false
}

/** Copy of a node with `change` applied to its direct parts. */
export function mapChildren(node: Node, change: (child: Node) => Node): Node {
  switch (node.kind) {
    case 'number':
    case 'mixed':
    case 'symbol':
    case 'constant':
    case 'text':
      return node
    case 'negate':
    case 'percent':
    case 'degree':
      return { ...node, child: change(node.child) }
    case 'binary':
    case 'setOperation': {
      const left = change(node.left)
      return { ...node, left, right: change(node.right) }
    }
    case 'plusMinus': {
      const left = node.left === null ? null : change(node.left)
      return { ...node, left, right: change(node.right) }
    }
    case 'quantity':
      return { ...node, value: change(node.value) }
    case 'big':
      return { ...node, lower: change(node.lower), upper: change(node.upper), body: change(node.body) }
    case 'call':
      return { ...node, args: node.args.map(change) }
    case 'list':
    case 'set':
    case 'sequence':
    case 'ratio':
      return { ...node, items: node.items.map(change) }
    case 'union':
      return { ...node, parts: node.parts.map(change) }
    case 'matrix':
      return { ...node, rows: node.rows.map((row) => row.map(change)) }
    case 'relation':
      return { ...node, operands: node.operands.map(change) }
  }
}

/** Copy of a tree with every symbol replaced by what `replacement` gives for its name, if anything. */
export function substitute(node: Node, replacement: (name: string) => Node | undefined): Node {
  if (node.kind === 'symbol') return replacement(node.name) ?? node
  return mapChildren(node, (child) => substitute(child, replacement))
}

/** Names in the order in which they first occur. */
export function namesOf(node: Node): ReadonlySet<string> {
  const names = new Set<string>()
  const visit = (part: Node): void => {
    if (part.kind === 'symbol') names.add(part.name)
    children(part).forEach(visit)
  }
  visit(node)
  return names
}

/** Whether a tree has no names and no words, so that it is one value. */
export const isClosed = (node: Node): boolean => !some(node, ({ kind }) => kind === 'symbol' || kind === 'text')
