/** Small sums that several metrics share. All take plain numbers and refuse nothing: the mean of nothing is NaN. */

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

export function mean(values: readonly number[]): number {
  return sum(values) / values.length
}

/** Standard deviation with divisor n − ddof; ddof 1 is the convention of TRL, verl and EasyR1. 0 for a single value. */
export function standardDeviation(values: readonly number[], ddof: 0 | 1 = 1): number {
  if (values.length === 1) return 0
  const centre = mean(values)
  return Math.sqrt(sum(values.map((value) => (value - centre) ** 2)) / (values.length - ddof))
}

export function maximum(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), -Infinity)
}

export function minimum(values: readonly number[]): number {
  return values.reduce((least, value) => Math.min(least, value), Infinity)
}
