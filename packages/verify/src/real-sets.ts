/**
 * Sets of reals as sorted, disjoint pieces, so that `(-∞,3] ∪ (2,5)`, `(-∞,5)`, `x < 5` and `ℝ ∖ [5,∞)` can be compared.
 * Ends keep their expression and are ordered by their value as a double.
 */
import {
  binary,
  INFINITY,
  isClosed,
  namesOf,
  negated,
  type Node,
  type RelationOperator,
  substitute,
  whole,
} from './ast.js'
import { LIMITS, type Work } from './limits.js'
import { evaluate, infinitySign, isReal } from './numeric.js'

interface End {
  readonly node: Node
  readonly value: number
  readonly closed: boolean
}

export interface Piece {
  readonly low: End
  readonly high: End
}

export type RealSet = readonly Piece[]

type Relation = Node & { readonly kind: 'relation' }

const end = (node: Node, value: number, closed: boolean): End => ({ node, value, closed })
const LEFT_END = end(negated(INFINITY), -Infinity, false)
const RIGHT_END = end(INFINITY, Infinity, false)
const REALS: RealSet = [{ low: LEFT_END, high: RIGHT_END }]

/** Two ends at the same place, up to the rounding of their values. */
const same = (a: number, b: number): boolean =>
  a === b || (Number.isFinite(a - b) && Math.abs(a - b) <= 1e-12 * Math.max(Math.abs(a), Math.abs(b)))

function endOf(node: Node, closed: boolean, work: Work): End | null {
  const sign = infinitySign(node)
  if (sign !== 0) return end(node, sign * Infinity, false)
  if (!isClosed(node)) return null
  const value = evaluate(node, new Map(), work)
  return Number.isFinite(value.re) && isReal(value) ? end(node, value.re, closed) : null
}

function piece(low: End | null, high: End | null): RealSet | null {
  if (low === null || high === null) return null
  if (same(low.value, high.value)) return low.closed && high.closed ? [{ low, high }] : null
  return low.value < high.value ? [{ low, high }] : null
}

/** Sorted, with pieces that overlap or touch made one. */
function merged(pieces: RealSet): RealSet {
  const sorted = [...pieces].sort((a, b) => a.low.value - b.low.value || Number(b.low.closed) - Number(a.low.closed))
  const out: Piece[] = []
  for (const next of sorted) {
    const last = out.at(-1)
    const touches =
      last !== undefined &&
      (same(last.high.value, next.low.value) ? last.high.closed || next.low.closed : next.low.value < last.high.value)
    if (last === undefined || !touches) out.push(next)
    else out[out.length - 1] = { low: last.low, high: further(last.high, next.high) }
  }
  return out
}

function further(a: End, b: End): End {
  if (same(a.value, b.value)) return a.closed ? a : b
  return a.value > b.value ? a : b
}

/** What lies outside the pieces. */
function complement(pieces: RealSet): RealSet {
  const gaps: Piece[] = []
  let low: End = LEFT_END
  for (const { low: from, high: to } of merged(pieces)) {
    const gap = piece(low, { ...from, closed: !from.closed && Number.isFinite(from.value) })
    if (gap !== null) gaps.push(...gap)
    low = { ...to, closed: !to.closed && Number.isFinite(to.value) }
  }
  const rest = low.value === Infinity ? null : piece(low, RIGHT_END)
  return rest === null ? gaps : [...gaps, ...rest]
}

export const union = (sets: readonly RealSet[]): RealSet => merged(sets.flat())
export const intersection = (a: RealSet, b: RealSet): RealSet => complement(union([complement(a), complement(b)]))

/** Set of an interval, a finite set, ℝ, or what is made of them; null for anything else. */
export function realSetOf(node: Node, work: Work): RealSet | null {
  work.spend(2)
  switch (node.kind) {
    case 'symbol':
      return node.name === '\\mathbb R' || node.name === 'ℝ' ? REALS : null
    case 'sequence': {
      const [low, high] = node.items
      if (node.items.length !== 2 || low === undefined || high === undefined || node.open === '⟨') return null
      return piece(endOf(low, node.open === '[', work), endOf(high, node.close === ']', work))
    }
    case 'set': {
      const pieces = node.items.map((item) => piece(endOf(item, true, work), endOf(item, true, work)))
      return pieces.includes(null) ? null : merged(pieces.flatMap((part) => part ?? []))
    }
    case 'union': {
      const parts = node.parts.map((part) => realSetOf(part, work))
      return parts.includes(null) || parts.length > LIMITS.elements ? null : merged(parts.flatMap((part) => part ?? []))
    }
    case 'setOperation': {
      const [left, right] = [realSetOf(node.left, work), realSetOf(node.right, work)]
      if (left === null || right === null) return null
      return intersection(left, node.operator === '∩' ? right : complement(right))
    }
    default:
      return null
  }
}

/** a and b of `a·x + b`, with the sign of a; null if the expression is not linear in `name` alone. */
function linear(
  node: Node,
  name: string,
  work: Work,
): { readonly a: Node; readonly b: Node; readonly sign: number } | null {
  const at = (x: number): Node => substitute(node, (other) => (other === name ? whole(BigInt(x)) : undefined))
  const values = [0, 1, 2, 5].map((x) => evaluate(at(x), new Map(), work))
  if (values.some((value) => !Number.isFinite(value.re) || !isReal(value))) return null
  const [f0, f1, f2, f5] = values.map(({ re }) => re) as [number, number, number, number]
  const slope = f1 - f0
  const scale = 1e-9 * (Math.abs(f0) + Math.abs(f5) + Math.abs(slope))
  if (slope === 0 || Math.abs(f2 - f0 - 2 * slope) > scale || Math.abs(f5 - f0 - 5 * slope) > scale) return null
  return { a: binary('-', at(1), at(0)), b: at(0), sign: Math.sign(slope) }
}

const DIRECTED: readonly RelationOperator[] = ['<', '>', '≤', '≥']

/** The operator with its sides exchanged. */
export const flip = (operator: RelationOperator): RelationOperator =>
  DIRECTED[DIRECTED.indexOf(operator) ^ 1] ?? operator

/** The relation read so that all its operators are < or ≤; null if they are not all of one direction. */
export function ascending(relation: Relation): Relation | null {
  const isRising = (operator: RelationOperator): boolean => '<≤'.includes(operator)
  if (relation.operators.every(isRising)) return relation
  const operators = relation.operators.map(flip).reverse()
  return operators.every(isRising) ? { ...relation, operands: [...relation.operands].reverse(), operators } : null
}

/** Solutions of `low < f < high`, where f is linear in one name or the absolute value of that. */
function solved(f: Node, low: End, high: End, work: Work): RealSet | null {
  if (f.kind === 'call' && f.name === 'abs' && f.args[0] !== undefined) {
    const negative = ({ node, value, closed }: End): End => end(negated(node), -value, closed)
    const inside = high.value < 0 ? [] : solved(f.args[0], negative(high), high, work)
    const reaches = low.value < 0 || (low.value === 0 && low.closed)
    const outside = reaches
      ? []
      : solved(f.args[0], negative({ ...low, closed: !low.closed }), { ...low, closed: !low.closed }, work)
    return inside === null || outside === null ? null : intersection(inside, complement(outside))
  }
  const names = namesOf(f)
  const [name] = names
  const form = names.size === 1 && name !== undefined ? linear(f, name, work) : null
  if (form === null) return null
  const solve = ({ node, value, closed }: End): End | null =>
    Number.isFinite(value)
      ? endOf(binary('/', binary('-', node, form.b), form.a), closed, work)
      : form.sign > 0 === value > 0
        ? RIGHT_END
        : LEFT_END
  return form.sign > 0 ? piece(solve(low), solve(high)) : piece(solve(high), solve(low))
}

/** Reals that satisfy a relation in one name: `a < x ≤ b`, `2x + 1 ≥ 5`, `1 ≤ |x| ≤ 2`, `x ≠ 3`. Null if it is not solved. */
export function solutionSet(relation: Relation, work: Work): RealSet | null {
  const [x, value] = relation.operands
  if (relation.operators.join() === '≠' && x !== undefined && value !== undefined) {
    const point = endOf(value, true, work)
    return x.kind === 'symbol' && point !== null ? complement([{ low: point, high: point }]) : null
  }
  const rising = ascending(relation)
  if (rising === null) return null
  const { operands, operators } = rising
  const [first, second, third] = operands
  const [before, after] = operators
  if (first === undefined || second === undefined || before === undefined) return null
  if (operands.length === 3 && third !== undefined) {
    const [low, high] = [endOf(first, before === '≤', work), endOf(third, after === '≤', work)]
    return low === null || high === null ? null : solved(second, low, high, work)
  }
  if (operands.length !== 2) return null
  if (isClosed(first)) {
    const low = endOf(first, before === '≤', work)
    return low === null ? null : solved(second, low, RIGHT_END, work)
  }
  const high = endOf(second, before === '≤', work)
  return high === null ? null : solved(first, LEFT_END, high, work)
}
