/**
 * What is said of a handful of timings: the median, because a shared machine has outliers on one side only, and the
 * extremes, because a median alone hides whether it can be believed.
 */

/** Middle value, or the mean of the two middle ones; NaN of nothing. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return NaN
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

export function summarise(values) {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), samples: values.length }
}

/** Steps per sample so that a sample takes about `target` milliseconds, and samples so that a case stays affordable. */
export function plan(stepMs, { target, rounds, budget }) {
  const iterations = Math.min(1000, Math.max(1, Math.round(target / Math.max(stepMs, 1e-3))))
  const affordable = Math.floor(budget / (iterations * Math.max(stepMs, 1e-3)))
  return { iterations, rounds: Math.max(3, Math.min(rounds, affordable)) }
}

/** Largest difference of two samples of a result, relative to the largest value of the first; infinite where one is NaN. */
export function disagreement(expected, actual) {
  if (expected.length !== actual.length) return Infinity
  const scale = expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-30)
  const gaps = expected.map((value, index) => Math.abs(value - actual[index]) / scale)
  return gaps.some(Number.isNaN) ? Infinity : Math.max(0, ...gaps)
}
