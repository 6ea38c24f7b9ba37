/**
 * Exact rationals on BigInt. Sizes are estimated before anything is computed: a result that would pass the bit limit, or
 * that does not exist (division by zero), is `null`, and the caller goes on without an exact value.
 */
import { LIMITS, type Work } from './limits.js'

export interface Rational {
  readonly numerator: bigint
  /** Positive; the fraction is in lowest terms. */
  readonly denominator: bigint
}

export const integer = (value: bigint | number): Rational => ({ numerator: BigInt(value), denominator: 1n })

const magnitude = (value: bigint): bigint => (value < 0n ? -value : value)

/** Bits of |value|, at most three too many. */
const bitLength = (value: bigint): number => magnitude(value).toString(16).length * 4

function gcd(a: bigint, b: bigint, work: Work): bigint {
  // About 0.6 divisions a bit, each linear in the length and twice as dear as another step.
  const bits = Math.min(bitLength(a), bitLength(b))
  work.spend(Math.ceil(bits * (1 + bits / 1024)))
  while (b !== 0n) [a, b] = [b, a % b]
  return a
}

/** Reduced fraction, or null for a zero denominator or one of more than the allowed bits. */
export function rational(numerator: bigint, denominator: bigint, work: Work): Rational | null {
  const bits = Math.max(bitLength(numerator), bitLength(denominator))
  // Measuring and copying are linear in the length.
  work.spend(1 + Math.floor(bits / 64))
  if (denominator === 0n || bits > LIMITS.bits) return null
  if (denominator < 0n) [numerator, denominator] = [-numerator, -denominator]
  if (denominator === 1n) return { numerator, denominator }
  const divisor = gcd(magnitude(numerator), denominator, work)
  return { numerator: numerator / divisor, denominator: denominator / divisor }
}

export const negate = (a: Rational): Rational => ({ numerator: -a.numerator, denominator: a.denominator })

export function add(a: Rational, b: Rational, work: Work): Rational | null {
  if (a.denominator === 1n && b.denominator === 1n) return rational(a.numerator + b.numerator, 1n, work)
  return rational(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator, work)
}

export function multiply(a: Rational, b: Rational, work: Work): Rational | null {
  work.spend(1 + Math.ceil((bitLength(a.numerator) / 64) * (bitLength(b.numerator) / 64)))
  return rational(a.numerator * b.numerator, a.denominator * b.denominator, work)
}

export const divide = (a: Rational, b: Rational, work: Work): Rational | null =>
  rational(a.numerator * b.denominator, a.denominator * b.numerator, work)

/** a^exponent for an integer exponent; 0^0 and 0^-n do not exist. */
export function power(a: Rational, exponent: Rational, work: Work): Rational | null {
  if (exponent.denominator !== 1n) return null
  const count = magnitude(exponent.numerator)
  if (a.numerator === 0n) return exponent.numerator > 0n ? integer(0n) : null
  const unit = magnitude(a.numerator) === 1n && a.denominator === 1n
  if (unit) return integer(count % 2n === 0n ? 1n : a.numerator)
  const bits = Math.max(bitLength(a.numerator), bitLength(a.denominator))
  if (count > BigInt(LIMITS.bits) || bits * Number(count) > LIMITS.bits) return null
  work.spend(1 + Math.ceil((bits * Number(count)) / 8))
  const numerator = a.numerator ** count
  const denominator = a.denominator ** count
  if (exponent.numerator >= 0n) return { numerator, denominator }
  return numerator < 0n
    ? { numerator: -denominator, denominator: -numerator }
    : { numerator: denominator, denominator: numerator }
}

/** n! for a small natural n. */
export function factorial(a: Rational, work: Work): Rational | null {
  if (a.denominator !== 1n || a.numerator < 0n || a.numerator > 10_000n) return null
  const n = Number(a.numerator)
  if (n * Math.log2(n + 1) > LIMITS.bits) return null
  // n products, on average half as long as the result.
  work.spend(Math.ceil(n * (1 + (n * Math.log2(n + 1)) / 128)))
  let product = 1n
  for (let factor = 2n; factor <= a.numerator; factor++) product *= factor
  return integer(product)
}

/** n choose k for naturals. */
export function binomial(a: Rational, b: Rational, work: Work): Rational | null {
  if (a.denominator !== 1n || b.denominator !== 1n || a.numerator < 0n || b.numerator < 0n) return null
  if (b.numerator > a.numerator) return integer(0n)
  const k = b.numerator * 2n > a.numerator ? a.numerator - b.numerator : b.numerator
  if (k > BigInt(LIMITS.bits) || bitLength(a.numerator) * Number(k) > LIMITS.bits) return null
  work.spend(Number(k) + 1)
  let result = 1n
  for (let i = 1n; i <= k; i++) result = (result * (a.numerator - k + i)) / i
  return integer(result)
}

/** Largest integer ≤ a. */
export function floor(a: Rational): Rational {
  const quotient = a.numerator / a.denominator
  return integer(a.numerator < 0n && quotient * a.denominator !== a.numerator ? quotient - 1n : quotient)
}

/** a mod b with the sign of b, for integers. */
export function modulo(a: Rational, b: Rational): Rational | null {
  if (a.denominator !== 1n || b.denominator !== 1n || b.numerator === 0n) return null
  const rest = a.numerator % b.numerator
  return integer(rest !== 0n && rest < 0n !== b.numerator < 0n ? rest + b.numerator : rest)
}

export const isEqual = (a: Rational, b: Rational): boolean =>
  a.numerator === b.numerator && a.denominator === b.denominator

/** |a − b| ≤ tolerance, where both are exact and the tolerance is a fraction. */
export function isWithin(a: Rational, b: Rational, tolerance: Rational): boolean {
  const difference = magnitude(a.numerator * b.denominator - b.numerator * a.denominator)
  return difference * tolerance.denominator <= tolerance.numerator * a.denominator * b.denominator
}

/** Nearest double (relative error below 2^-50), also where numerator or denominator alone would overflow. */
export function toNumber(a: Rational): number {
  const shift = bitLength(a.numerator) - bitLength(a.denominator) - 64
  const quotient =
    shift > 0 ? a.numerator / (a.denominator << BigInt(shift)) : (a.numerator << BigInt(-shift)) / a.denominator
  // Two factors: 2^shift alone may leave the range of doubles where the product does not.
  const half = Math.trunc(shift / 2)
  return Number(quotient) * 2 ** half * 2 ** (shift - half)
}
