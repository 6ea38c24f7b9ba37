/** Equality of two values: exactly where both are rational, else by value at seeded random points. */
import { binary, isClosed, namesOf, negated, type Node, some, whole } from './ast.js'
import { exactValue } from './exact.js'
import type { Work } from './limits.js'
import { closeness, evaluate, infinitySign, isReal, type Point, samplePoints } from './numeric.js'
import type { ResolvedEquivalence } from './options.js'
import { isEqual, isWithin, type Rational, toNumber } from './rational.js'

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

/** Half a unit of the last kept digit. */
const roundingTolerance = (decimals: number): Rational => ({ numerator: 1n, denominator: 2n * 10n ** BigInt(decimals) })

/** Rounding acts on values of at least this many tolerances: tiny values are not all equal. */
const LEAST_TOLERANCES = 20

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
    (gold.numerator < 0n ? -gold.numerator : gold.numerator) * tolerance.denominator >=
    BigInt(LEAST_TOLERANCES) * gold.denominator
  return { equal: large && isWithin(gold, prediction, tolerance), decided: true, rule: 'rounded' }
}

function compareAtPoints(gold: Node, prediction: Node, names: ReadonlySet<string>, work: Work): ScalarVerdict {
  const complex = [gold, prediction].some((side) => some(side, (n) => n.kind === 'constant' && n.name === 'i'))
  let agreements = 0
  for (const point of samplePoints(names, POINTS, wholeNames(gold, prediction))) {
    const [a, b] = [evaluate(gold, point, work), evaluate(prediction, point, work)]
    const verdict = closeness(a, b)
    if (verdict === 'equal') agreements++
    // Off the common real domain of both sides principal branches may differ; that decides nothing.
    else if (verdict === 'different' && (complex || (isReal(a) && isReal(b))))
      return { equal: false, decided: true, rule: 'numeric' }
  }
  return { equal: agreements >= AGREEMENTS, decided: agreements >= AGREEMENTS, rule: 'numeric' }
}

/** Significant digits from which on a decimal gold is taken for a rounded value. */
const LEAST_DIGITS = 3

/** Whether a gold such as 33.3 is a closed form such as 100/3 rounded to the digits that the gold shows. */
function roundsToGold(gold: Node, prediction: Node, value: Value, options: ResolvedEquivalence): boolean {
  const literal = gold.kind === 'negate' ? gold.child : gold
  if (options.decimals === 'exact' || literal.kind !== 'number' || literal.decimals === 0) return false
  if (hasDecimal(prediction) || !isReal(value)) return false
  const digits = toNumber(literal.value) * 10 ** literal.decimals
  if (Math.abs(digits) < 10 ** (LEAST_DIGITS - 1)) return false
  const signed = gold.kind === 'negate' ? -digits : digits
  return Math.abs(value.re * 10 ** literal.decimals - signed) <= 0.5
}

/** Names in the bounds of sums: they count. */
function wholeNames(...nodes: readonly Node[]): ReadonlySet<string> {
  const names = new Set<string>()
  for (const node of nodes)
    some(node, (part) => {
      if (part.kind === 'big')
        for (const bound of [part.lower, part.upper]) namesOf(bound).forEach((name) => names.add(name))
      return false
    })
  return names
}

const isAngle = (node: Node): boolean => (node.kind === 'negate' ? isAngle(node.child) : node.kind === 'degree')
const mentionsPi = (node: Node): boolean => some(node, (part) => part.kind === 'constant' && part.name === 'pi')

/** Degrees without their sign, times π/180. */
function inRadians(node: Node): Node {
  if (node.kind === 'negate') return negated(inRadians(node.child))
  const perDegree = binary('/', { kind: 'constant', name: 'pi' }, whole(180n))
  return binary('*', node.kind === 'degree' ? node.child : node, perDegree)
}

/** Equality of two expressions. An undefined or too large value equals nothing. */
export function compareScalars(gold: Node, prediction: Node, options: ResolvedEquivalence, work: Work): ScalarVerdict {
  if (isAngle(gold) !== isAngle(prediction) && isClosed(gold) && isClosed(prediction)) {
    const [degrees, other] = isAngle(gold) ? [gold, prediction] : [prediction, gold]
    // 90° is 90 as a bare number, and π/2 where π shows that radians are meant.
    if (mentionsPi(other) && !mentionsPi(degrees)) return compareScalars(inRadians(degrees), other, options, work)
  }
  const infinite = [infinitySign(gold), infinitySign(prediction)] as const
  if (infinite[0] !== 0 || infinite[1] !== 0)
    return { equal: infinite[0] === infinite[1], decided: true, rule: 'exact' }
  const exactGold = exactValue(gold, work)
  const exactPrediction = exactValue(prediction, work)
  const decimal = hasDecimal(gold) || hasDecimal(prediction)
  if (exactGold !== null && exactPrediction !== null) {
    const outcome = compareExact(exactGold, exactPrediction, decimal, options)
    const rounded =
      !outcome.equal && roundsToGold(gold, prediction, { re: toNumber(exactPrediction), im: 0, error: 0 }, options)
    return rounded ? { equal: true, decided: true, rule: 'rounded' } : outcome
  }

  const names = new Set([...namesOf(gold), ...namesOf(prediction)])
  if (names.size > 0) return compareAtPoints(gold, prediction, names, work)

  const [a, b] = [evaluate(gold, NO_NAMES, work), evaluate(prediction, NO_NAMES, work)]
  const verdict = closeness(a, b)
  if (verdict === 'different' && roundsToGold(gold, prediction, b, options))
    return { equal: true, decided: true, rule: 'rounded' }
  if (
    verdict === 'different' &&
    decimal &&
    options.decimals !== 'exact' &&
    !isInteger(exactGold) &&
    isReal(a) &&
    isReal(b)
  ) {
    const tolerance = 0.5 * 10 ** -options.decimals
    const equal = Math.abs(a.re) >= LEAST_TOLERANCES * tolerance && Math.abs(a.re - b.re) <= tolerance
    return { equal, decided: true, rule: 'rounded' }
  }
  return { equal: verdict === 'equal', decided: verdict !== 'undecided', rule: 'numeric' }
}

/** Whether two expressions are proportional: equal up to one factor that depends on no name. Gives the factor's sign. */
export function proportionality(gold: Node, prediction: Node, work: Work): -1 | 0 | 1 {
  const names = namesOf(gold)
  const others = namesOf(prediction)
  if (names.size === 0 || names.size !== others.size || [...others].some((name) => !names.has(name))) return 0
  let first: { readonly gold: Value; readonly prediction: Value } | null = null
  let agreements = 0
  for (const point of samplePoints(names, POINTS, wholeNames(gold, prediction))) {
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
