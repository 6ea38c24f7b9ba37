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
  | { readonly kind: 'binary'; readonly operator: BinaryOperator; readonly left: Node; readonly right: Node }
  /** Left operand absent for a sign. `mirrored` is ∓, whose sign is the opposite of that of ±. */
  | { readonly kind: 'plusMinus'; readonly mirrored: boolean; readonly left: Node | null; readonly right: Node }
  | { readonly kind: 'call'; readonly name: string; readonly args: readonly Node[] }
  | { readonly kind: 'percent'; readonly child: Node }
  | { readonly kind: 'degree'; readonly child: Node }
  | { readonly kind: 'list'; readonly items: readonly Node[] }
  | { readonly kind: 'set'; readonly items: readonly Node[] }
  | { readonly kind: 'sequence'; readonly open: string; readonly close: string; readonly items: readonly Node[] }
  | { readonly kind: 'union'; readonly parts: readonly Node[] }
  | { readonly kind: 'ratio'; readonly items: readonly Node[] }
  | { readonly kind: 'matrix'; readonly rows: readonly (readonly Node[])[] }
  | { readonly kind: 'relation'; readonly operands: readonly Node[]; readonly operators: readonly RelationOperator[] }
  | { readonly kind: 'text'; readonly text: string }

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
