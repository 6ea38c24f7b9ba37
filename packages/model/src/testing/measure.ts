/** Distances between what was computed and what a reference gives. A value that is not a number is infinitely far. */

export function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity
  let largest = 0
  for (let index = 0; index < actual.length; index++) {
    const gap = Math.abs((actual[index] as number) - (expected[index] as number))
    if (!(gap <= largest)) largest = Number.isNaN(gap) ? Infinity : gap
  }
  return largest
}

/** How many places differ; a missing or surplus place counts. */
export function differingPlaces(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let count = Math.abs(actual.length - expected.length)
  for (let index = 0; index < Math.min(actual.length, expected.length); index++) {
    if (actual[index] !== expected[index]) count++
  }
  return count
}

/** Relative to the expected value, which counts as at least `floor`: gradients that should be zero are only nearly so. */
export function relativeDifference(actual: number, expected: number, floor = 1e-3): number {
  const gap = Math.abs(actual - expected) / Math.max(Math.abs(expected), floor)
  return Number.isNaN(gap) ? Infinity : gap
}

/** Largest difference relative to the largest expected value. */
export function scaledDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let scale = 0
  for (let index = 0; index < expected.length; index++) scale = Math.max(scale, Math.abs(expected[index] as number))
  return largestDifference(actual, expected) / Math.max(scale, 1e-6)
}

export function l2(values: ArrayLike<number>): number {
  let squares = 0
  for (let index = 0; index < values.length; index++) squares += (values[index] as number) ** 2
  return Math.sqrt(squares)
}
