/**
 * Comparison of numbers that were rounded on the way.
 */
export interface Tolerance {
  /** Allowed part of the expected value. Default 1e-5. */
  readonly relative?: number
  /** Allowed difference on top. Default 1e-6. */
  readonly absolute?: number
}

/** A value that is not as expected. */
export class NotCloseError extends Error {
  override readonly name = 'NotCloseError'
}

function excess(actual: number, expected: number, { relative = 1e-5, absolute = 1e-6 }: Tolerance): number {
  if (Object.is(actual, expected) || actual === expected || (Number.isNaN(actual) && Number.isNaN(expected)))
    return -Infinity
  const difference = Math.abs(actual - expected)
  return Number.isFinite(difference) ? difference - absolute - relative * Math.abs(expected) : Infinity
}

/**
 * Passes when |actual − expected| ≤ absolute + relative · |expected| for every element. NaN equals NaN, infinities equal
 * themselves.
 *
 * @param what Named in the error.
 * @throws {NotCloseError} with the worst element and how many others are off.
 */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance = {},
  what = 'values',
): void {
  if (actual.length !== expected.length) {
    throw new NotCloseError(`${what}: ${actual.length} elements; ${expected.length} were expected.`)
  }
  let worst = -1
  let largest = 0
  let count = 0
  for (let i = 0; i < actual.length; i++) {
    const over = excess(actual[i] ?? NaN, expected[i] ?? NaN, tolerance)
    if (over <= 0) continue
    count++
    if (over > largest) [worst, largest] = [i, over]
  }
  if (count === 0) return
  const { relative = 1e-5, absolute = 1e-6 } = tolerance
  throw new NotCloseError(
    `${what}: ${count} of ${actual.length} elements are off, the worst at ${worst}: ${actual[worst] ?? NaN}, expected ${expected[worst] ?? NaN} ` +
      `(difference ${Math.abs((actual[worst] ?? NaN) - (expected[worst] ?? NaN))}, allowed ${absolute} + ${relative} × |expected|).`,
  )
}
