/** Equality of two values: exactly where both are rational, else by value at seeded random points. */
import { type Node, some } from './ast.js'
import { exactValue } from './exact.js'
import type { Work } from './limits.js'
import { closeness, collectNames, evaluate, isReal, type Point, samplePoints } from './numeric.js'
import type { ResolvedEquivalence } from './options.js'
import { isEqual, isWithin, type Rational } from './rational.js'

type ScalarRule = 'exact' | 'rounded' | 'numeric'
export interface ScalarVerdict {
  readonly equal: boolean
  readonly decided: boolean
  readonly rule: ScalarRule
}

const POINTS = 8
/** Agreeing points an identity in names needs. */
const AGREEMENTS = 3
const NO_NAMES: Point = new Map()

const hasDecimal = (node: Node): boolean => some(node, (part) => part.kind === 'number' && part.decimals > 0)
const isInteger = (value: Rational | null): boolean => value?.denominator === 1n

/** Sign of ±∞, or 0 for anything else. */
function infinitySign(node: Node): -1 | 0 | 1 {
  if (node.kind === 'constant') return node.name === 'infinity' ? 1 : 0
  if (node.kind !== 'negate') return 0
  const sign = infinitySign(node.child)
  return sign === 0 ? 0 : sign === 1 ? -1 : 1
}

/** Half a unit of the last kept digit. */
const roundingTolerance = (decimals: number): Rational => ({ numerator: 1n, denominator: 2n * 10n ** BigInt(decimals) })

/** Relative size of the tolerance below which rounding may act: tiny values are not all equal. */
const RELATIVE = 1e-2

function compareExact(
  gold: Rational,
  prediction: Rational,
  decimal: boolean,
  options: ResolvedEquivalence,
): ScalarVerdict {
  if (isEqual(gold, prediction)) return { equal: true, decided: true, rule: 'exact' }
  if (!decimal || options.decimals === 'exact' || isInteger(gold)) return { equal: false, decided: true, rule: 'exact' }
  const tolerance = roundingTolerance(options.decimals)
  const large =
    (gold.numerator < 0n ? -gold.numerator : gold.numerator) * tolerance.denominator >= 100n * gold.denominator
  return { equal: large && isWithin(gold, prediction, tolerance), decided: true, rule: 'rounded' }
}

function compareAtPoints(gold: Node, prediction: Node, names: ReadonlySet<string>, work: Work): ScalarVerdict {
  const complex = [gold, prediction].some((side) => some(side, (n) => n.kind === 'constant' && n.name === 'i'))
  let agreements = 0
  for (const point of samplePoints(names, POINTS)) {
    const [a, b] = [evaluate(gold, point, work), evaluate(prediction, point, work)]
    const verdict = closeness(a, b)
    if (verdict === 'equal') agreements++
    // Off the common real domain of both sides principal branches may differ; that decides nothing.
    else if (verdict === 'different' && (complex || (isReal(a) && isReal(b))))
      return { equal: false, decided: true, rule: 'numeric' }
  }
  return { equal: agreements >= AGREEMENTS, decided: agreements >= AGREEMENTS, rule: 'numeric' }
}

/** Equality of two expressions. An undefined or too large value equals nothing. */
export function compareScalars(gold: Node, prediction: Node, options: ResolvedEquivalence, work: Work): ScalarVerdict {
  const infinite = [infinitySign(gold), infinitySign(prediction)] as const
  if (infinite[0] !== 0 || infinite[1] !== 0)
    return { equal: infinite[0] === infinite[1], decided: true, rule: 'exact' }
  const exactGold = exactValue(gold, work)
  const exactPrediction = exactValue(prediction, work)
  const decimal = hasDecimal(gold) || hasDecimal(prediction)
  if (exactGold !== null && exactPrediction !== null) return compareExact(exactGold, exactPrediction, decimal, options)

  const names = new Set<string>()
  collectNames(gold, names)
  collectNames(prediction, names)
  if (names.size > 0) return compareAtPoints(gold, prediction, names, work)

  const [a, b] = [evaluate(gold, NO_NAMES, work), evaluate(prediction, NO_NAMES, work)]
  const verdict = closeness(a, b)
  if (
    verdict === 'different' &&
    decimal &&
    options.decimals !== 'exact' &&
    !isInteger(exactGold) &&
    isReal(a) &&
    isReal(b)
  ) {
    const tolerance = 0.5 * 10 ** -options.decimals
    const equal = Math.abs(a.re) * RELATIVE >= tolerance && Math.abs(a.re - b.re) <= tolerance
    return { equal, decided: true, rule: 'rounded' }
  }
  return { equal: verdict === 'equal', decided: verdict !== 'undecided', rule: 'numeric' }
}

/** Whether two expressions are proportional: equal up to one factor that depends on no name. Gives the factor's sign. */
export function proportionality(gold: Node, prediction: Node, work: Work): -1 | 0 | 1 {
  const names = new Set<string>()
  collectNames(gold, names)
  if (names.size === 0) return 0
  const ofGold = names.size
  collectNames(prediction, names)
  if (names.size !== ofGold) return 0
  let first: { readonly gold: Value; readonly prediction: Value } | null = null
  let agreements = 0
  for (const point of samplePoints(names, POINTS)) {
    const values = { gold: evaluate(gold, point, work), prediction: evaluate(prediction, point, work) }
    if (!isReal(values.gold) || !isReal(values.prediction)) continue
    if (first === null) {
      if (Math.abs(values.gold.re) < 1e-6 || Math.abs(values.prediction.re) < 1e-6) continue
      first = values
      continue
    }
    // g·p₀ = p·g₀
    const left = multiplied(values.gold, first.prediction)
    const right = multiplied(values.prediction, first.gold)
    const verdict = closeness(left, right)
    if (verdict === 'different') return 0
    if (verdict === 'equal') agreements++
  }
  if (first === null || agreements < AGREEMENTS) return 0
  return Math.sign(first.gold.re) === Math.sign(first.prediction.re) ? 1 : -1
}

type Value = ReturnType<typeof evaluate>

const multiplied = (a: Value, b: Value): Value => ({
  re: a.re * b.re,
  im: 0,
  error: Math.abs(a.re) * b.error + Math.abs(b.re) * a.error + 2 ** -51 * Math.abs(a.re * b.re),
})
