/**
 * Whether an answer is finished. A policy that may leave arithmetic to the grader learns to repeat the question
 * (`3245/5`, `\sum_{k=1}^9 k`, `7x/x`), so the profile for rewards asks for final forms.
 */
import { isClosed, namesOf, type Node, some } from './ast.js'
import type { Work } from './limits.js'
import { evaluate } from './numeric.js'

/** Whether the prediction leaves work that the gold does not. Both are known to be equal in value. */
export function isUnevaluated(gold: Node, prediction: Node, work: Work): boolean {
  if (!hasUndone(gold, work) && hasUndone(prediction, work)) return true
  const names = namesOf(gold)
  for (const name of namesOf(prediction)) if (!names.has(name) && gold.kind !== 'text') return !isAssignment(prediction)
  return !dividesByNames(gold) && dividesByNames(prediction)
}

/** `x = 5` for 5 names what it gives. */
const isAssignment = (node: Node): boolean => some(node, ({ kind }) => kind === 'relation' || kind === 'text')

const dividesByNames = (node: Node): boolean =>
  some(
    node,
    (part) =>
      part.kind === 'binary' &&
      part.operator === '/' &&
      some(part.right, ({ kind }) => kind === 'symbol' || kind === 'text'),
  )

const COMPUTED: ReadonlySet<string> = new Set(['factorial', 'binomial', 'abs', 'det', 'floor', 'ceil'])

/** Every denominator up to 6, and 8, 10 and 12, divides this. */
const COMMON = 120

/** Whether a function at a number has a rational value, such as √25, sin(π/6), log₂ 8. */
function hasSimpleValue(node: Node, work: Work): boolean {
  if (!isClosed(node)) return false
  const { re, im } = evaluate(node, new Map(), work)
  const multiple = re * COMMON
  return im === 0 && Math.abs(multiple - Math.round(multiple)) <= 1e-11 * Math.max(1, Math.abs(multiple))
}

/** Arithmetic on numbers that was left undone; reduced fractions, roots, signs and powers of ten are final forms. */
function hasUndone(node: Node, work: Work): boolean {
  return some(node, (part) => {
    if (part.kind === 'big') return true
    if (part.kind === 'call') return (COMPUTED.has(part.name) && isClosed(part)) || hasSimpleValue(part, work)
    if (part.kind === 'symbol') return /^\\(?:int|lim|max|min|gcd)/.test(part.name)
    if (part.kind !== 'binary') return false
    if (part.operator === '*' && isPowerOfTen(part.right)) return false
    const [left, right] = [numberOf(part.left), numberOf(part.right)]
    if (left === null || right === null) return false
    return part.operator !== '/' || right === 1n || commonFactor(left, right)
  })
}

function commonFactor(a: bigint, b: bigint): boolean {
  while (b !== 0n) [a, b] = [b, a % b]
  return a !== 1n && a !== -1n
}

const isPowerOfTen = (node: Node): boolean =>
  node.kind === 'binary' && node.operator === '^' && node.left.kind === 'number' && node.left.value.numerator === 10n

/** A signed integer, 0 for a decimal, which no finished fraction has; null for anything else. */
function numberOf(node: Node): bigint | null {
  if (node.kind === 'negate') return numberOf(node.child)
  if (node.kind !== 'number') return null
  return node.decimals > 0 ? 0n : node.value.numerator
}
