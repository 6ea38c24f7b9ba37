/**
 * Floating-point value of an expression at a point, with a bound on its rounding error. Two closed forms are compared by
 * value at seeded random points; the bound is what lets "equal" be told from "too close to say", without an absolute
 * tolerance that tiny answers could hide under.
 *
 * Source of the error rules: first-order running error analysis (Higham, Accuracy and Stability, section 3.3).
 */
import { type Node, some } from './ast.js'
import { determinant } from './determinant.js'
import { exactValue } from './exact.js'
import type { Work } from './limits.js'
import { type Rational, toNumber } from './rational.js'

export interface Value {
  readonly re: number
  readonly im: number
  /** Bound on the distance to the true value, to first order. */
  readonly error: number
}

const EPSILON = 2 ** -52
const UNDEFINED: Value = { re: NaN, im: NaN, error: Infinity }

const size = (a: Value): number => Math.hypot(a.re, a.im)
const real = (re: number, error: number): Value => ({ re, im: 0, error: error + EPSILON * Math.abs(re) })
export const isReal = (a: Value): boolean => Math.abs(a.im) <= a.error
const isDefined = (a: Value): boolean => Number.isFinite(a.re) && Number.isFinite(a.im) && Number.isFinite(a.error)

function sum(a: Value, b: Value, sign: 1 | -1): Value {
  const re = a.re + sign * b.re
  const im = a.im + sign * b.im
  return { re, im, error: a.error + b.error + EPSILON * Math.hypot(re, im) }
}

function product(a: Value, b: Value): Value {
  const [x, y] = [size(a), size(b)]
  return {
    re: a.re * b.re - a.im * b.im,
    im: a.re * b.im + a.im * b.re,
    error: x * b.error + y * a.error + a.error * b.error + 4 * EPSILON * x * y,
  }
}

function quotient(a: Value, b: Value): Value {
  const y = size(b)
  if (y <= 4 * b.error) return UNDEFINED
  const norm = y * y
  const re = (a.re * b.re + a.im * b.im) / norm
  const im = (a.im * b.re - a.re * b.im) / norm
  const ratio = Math.hypot(re, im)
  return { re, im, error: (a.error + ratio * b.error) / (y - b.error) + 6 * EPSILON * ratio }
}

/** x^y for real x, y where the result is real; NaN where it is not. */
function realPower(base: Value, exponent: Value, exact: Rational | null): Value {
  let re = base.re ** exponent.re
  if (Number.isNaN(re) && base.re < 0 && exact !== null && exact.denominator % 2n === 1n) {
    // Odd roots of negative numbers: the real branch.
    re = (exact.numerator % 2n === 0n ? 1 : -1) * Math.abs(base.re) ** exponent.re
  }
  const x = Math.abs(base.re)
  const relative =
    (x === 0 ? 0 : Math.abs(exponent.re) * (base.error / x) + Math.abs(Math.log(x)) * exponent.error) + 4 * EPSILON
  return { re, im: 0, error: Math.abs(re) * relative + (x === 0 ? base.error : 0) }
}

function powerOf(base: Value, exponent: Value, exact: Rational | null): Value {
  const b = size(base)
  if (b === 0 || (b <= base.error && exponent.re <= 0)) return b === 0 && exponent.re > 0 ? real(0, 0) : UNDEFINED
  if (isReal(base) && isReal(exponent)) {
    const value = realPower(base, exponent, exact)
    if (!Number.isNaN(value.re)) return value
  }
  // exp(exponent · log base), principal branch.
  const logarithm: Value = {
    re: Math.log(b),
    im: Math.atan2(base.im, base.re),
    error: base.error / b + 2 * EPSILON * (1 + Math.abs(Math.log(b))),
  }
  const scaled = product(exponent, logarithm)
  const modulus = Math.exp(scaled.re)
  return {
    re: modulus * Math.cos(scaled.im),
    im: modulus * Math.sin(scaled.im),
    error: modulus * (scaled.error + 4 * EPSILON * (1 + size(scaled))),
  }
}

const HALF: Rational = { numerator: 1n, denominator: 2n }

function squareRoot(a: Value): Value {
  if (!isReal(a)) return powerOf(a, real(0.5, 0), HALF)
  const root = Math.sqrt(Math.abs(a.re))
  const error = root === 0 ? Math.sqrt(a.error) : a.error / root + EPSILON * root
  return a.re < 0 ? { re: 0, im: root, error } : { re: root, im: 0, error }
}

/** Real functions: value and bound on |f′| near x. */
const REAL_FUNCTIONS: ReadonlyMap<string, (x: number) => readonly [value: number, slope: number]> = new Map([
  ['sin', (x: number) => [Math.sin(x), 1] as const],
  ['cos', (x: number) => [Math.cos(x), 1] as const],
  ['tan', (x: number) => [Math.tan(x), 1 + Math.tan(x) ** 2] as const],
  ['arcsin', (x: number) => [Math.asin(x), 1 / Math.sqrt(Math.max(1 - x * x, EPSILON))] as const],
  ['arccos', (x: number) => [Math.acos(x), 1 / Math.sqrt(Math.max(1 - x * x, EPSILON))] as const],
  ['arctan', (x: number) => [Math.atan(x), 1] as const],
  ['sinh', (x: number) => [Math.sinh(x), Math.cosh(x)] as const],
  ['cosh', (x: number) => [Math.cosh(x), Math.cosh(x)] as const],
  ['tanh', (x: number) => [Math.tanh(x), 1] as const],
  ['ln', (x: number) => [Math.log(x), 1 / Math.abs(x)] as const],
  ['lg', (x: number) => [Math.log10(x), 1 / Math.abs(x)] as const],
])

const RECIPROCALS: ReadonlyMap<string, string> = new Map([
  ['cot', 'tan'],
  ['sec', 'cos'],
  ['csc', 'sin'],
])
const TRIGONOMETRIC: ReadonlySet<string> = new Set(RECIPROCALS.values())
const DEGREE: Value = real(Math.PI / 180, 0)

function call(node: Node & { kind: 'call' }, point: Point, work: Work): Value {
  const [argument, extra] = node.args
  if (argument === undefined) return UNDEFINED
  if (node.name === 'det') {
    const expansion = determinant(argument)
    return expansion === null ? UNDEFINED : evaluate(expansion, point, work)
  }
  let x = evaluate(argument, point, work)
  switch (node.name) {
    case 'sqrt':
      return squareRoot(x)
    case 'exp':
      return powerOf(real(Math.E, 0), x, null)
    case 'abs':
      return real(size(x), x.error)
    case 'root': {
      if (extra === undefined) return UNDEFINED
      const index = exactValue(extra, work)
      if (index === null || index.denominator !== 1n || index.numerator <= 0n) return UNDEFINED
      return powerOf(x, real(1 / toNumber(index), 0), { numerator: 1n, denominator: index.numerator })
    }
    default:
      break
  }
  const reciprocal = RECIPROCALS.get(node.name)
  if (reciprocal !== undefined) return quotient(real(1, 0), call({ ...node, name: reciprocal }, point, work))
  const rule = REAL_FUNCTIONS.get(node.name === 'log' ? 'ln' : node.name)
  if (rule === undefined || !isReal(x)) return UNDEFINED
  // 90° is 90 as an answer and a right angle as an argument.
  if (TRIGONOMETRIC.has(node.name) && some(argument, (part) => part.kind === 'degree')) x = product(x, DEGREE)
  const [value, slope] = rule(x.re)
  const result = real(value, slope * (x.error + EPSILON * Math.abs(x.re)))
  if (node.name !== 'log' || extra === undefined) return result
  const base = evaluate(extra, point, work)
  if (!isReal(base)) return UNDEFINED
  return quotient(result, real(Math.log(base.re), base.error / Math.abs(base.re)))
}

/** Terms of one sum or product. */
const MOST_TERMS = 10_000
/** Terms that stand for an infinite sum, with a factor that no finite one has. */
const TERMS_OF_INFINITE = 100
const INFINITE_FACTOR = 0.7390851332

/**
 * Σ or Π added up where the bounds are whole numbers at this point. The first terms, times a constant, stand for an
 * infinite one: two of them agree only if their terms do.
 */
function bigOperator(node: Node & { kind: 'big' }, point: Point, work: Work): Value {
  const infinite = infinitySign(node.upper) === 1
  const lower = evaluate(node.lower, point, work).re
  const upper = infinite ? lower + TERMS_OF_INFINITE : evaluate(node.upper, point, work).re
  if (!Number.isInteger(lower) || !Number.isInteger(upper) || upper - lower >= MOST_TERMS) return UNDEFINED
  let total = real(infinite ? INFINITE_FACTOR : 1, 0)
  if (node.operator === 'sum') total = real(0, 0)
  for (let k = lower; k <= upper; k++) {
    // The copy of the point.
    work.spend(4)
    const term = evaluate(node.body, new Map(point).set(node.variable, k), work)
    if (node.operator === 'prod') total = product(total, term)
    else total = sum(total, infinite ? product(term, real(INFINITE_FACTOR, 0)) : term, 1)
  }
  return total
}

/** Sign of ±∞, or 0 for anything else. */
export function infinitySign(node: Node): -1 | 0 | 1 {
  if (node.kind === 'constant') return node.name === 'infinity' ? 1 : 0
  if (node.kind !== 'negate') return 0
  const sign = infinitySign(node.child)
  return sign === 0 ? 0 : sign === 1 ? -1 : 1
}

/** Values of the names. */
export type Point = ReadonlyMap<string, number>

/** Value at a point. Undefined operations, unknown names and collections give NaN, which equals nothing. */
export function evaluate(node: Node, point: Point, work: Work): Value {
  work.spend(1)
  switch (node.kind) {
    case 'number':
      return real(toNumber(node.value), 0)
    case 'mixed':
      return real(toNumber(node.whole) + toNumber(node.fraction), 0)
    case 'symbol': {
      const value = point.get(node.name)
      return value === undefined ? UNDEFINED : { re: value, im: 0, error: 0 }
    }
    case 'constant':
      if (node.name === 'i') return { re: 0, im: 1, error: 0 }
      return node.name === 'infinity' ? UNDEFINED : real(node.name === 'pi' ? Math.PI : Math.E, 0)
    case 'negate': {
      const child = evaluate(node.child, point, work)
      return { re: -child.re, im: -child.im, error: child.error }
    }
    case 'percent':
      return quotient(evaluate(node.child, point, work), real(100, 0))
    case 'degree':
      return evaluate(node.child, point, work)
    case 'quantity':
      return evaluate(node.value, point, work)
    case 'big':
      return bigOperator(node, point, work)
    case 'binary': {
      const left = evaluate(node.left, point, work)
      const right = evaluate(node.right, point, work)
      switch (node.operator) {
        case '+':
          return sum(left, right, 1)
        case '-':
          return sum(left, right, -1)
        case '*':
          return product(left, right)
        case '/':
          return quotient(left, right)
        case '^':
          return powerOf(left, right, exactValue(node.right, work))
        case 'mod':
          return UNDEFINED
      }
    }
    // Every operator above returns.
    case 'call': {
      const exact = ['factorial', 'binomial', 'floor', 'ceil'].includes(node.name) ? exactValue(node, work) : null
      return exact === null ? call(node, point, work) : real(toNumber(exact), 0)
    }
    default:
      return UNDEFINED
  }
}

export type Closeness = 'equal' | 'different' | 'undecided'

/** Safety factor on the error bounds, which are of first order. */
const MARGIN = 16
/** A difference may hide in rounding only up to this size, relative to the values or (near zero) to 1. */
const RESOLUTION = 1e-8

/** Compares two values by their own error bounds. */
export function closeness(a: Value, b: Value): Closeness {
  if (!isDefined(a) || !isDefined(b)) return 'undecided'
  const distance = Math.hypot(a.re - b.re, a.im - b.im)
  const tolerance = MARGIN * (a.error + b.error)
  if (distance > tolerance) return 'different'
  const scale = Math.max(size(a), size(b))
  const nearZero = scale <= tolerance && tolerance <= RESOLUTION
  return nearZero || tolerance <= RESOLUTION * scale || distance === 0 ? 'equal' : 'undecided'
}

/**
 * Seeded points: the first half positive, the others of both signs; names in `whole` get small whole numbers. Same names,
 * same points.
 */
export function samplePoints(names: ReadonlySet<string>, count: number, whole: ReadonlySet<string>): Point[] {
  let state = 0x9e3779b9
  const random = (): number => {
    // mulberry32
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const sorted = [...names].sort()
  return Array.from({ length: count }, (_, i) => {
    const point = new Map<string, number>()
    for (const name of sorted) {
      const value = 0.3 + 1.9 * random()
      if (whole.has(name)) point.set(name, 2 + Math.floor(10 * value) + i)
      else point.set(name, i >= count / 2 && random() < 0.7 ? -value : value)
    }
    return point
  })
}
