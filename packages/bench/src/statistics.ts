/**
 * Estimates with their uncertainty, as functions of counts. Every one names its formula's source; none knows of tasks.
 */

/** 97.5 % quantile of the standard normal distribution: two-sided 95 % intervals. */
const z95 = 1.959963984540054

export type Interval = readonly [low: number, high: number]

/**
 * Wilson score interval for a proportion (E. B. Wilson, JASA 22, 1927), 95 %. Honest where the normal interval is
 * not: near 0 and 1, and for small n; never empty, never outside [0, 1].
 * @param proportion in [0, 1]. @param n trials; need not be whole. With none, [0, 1].
 */
export function wilsonInterval(proportion: number, n: number): Interval {
  if (n <= 0) return [0, 1]
  const z2 = z95 * z95
  const centre = (proportion + z2 / (2 * n)) / (1 + z2 / n)
  const half = (z95 / (1 + z2 / n)) * Math.sqrt((proportion * (1 - proportion)) / n + z2 / (4 * n * n))
  // Exact at the ends, where rounding would leave 1e-17.
  return [proportion === 0 ? 0 : Math.max(0, centre - half), proportion === 1 ? 1 : Math.min(1, centre + half)]
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/**
 * Standard error of the mean of clustered 0/1 scores: `√( C/(C−1) · Σ_c (Σ_{i∈c} (s_i − mean))² ) / n` (Liang and
 * Zeger 1986; as in inspect_ai). 0 with fewer than two clusters.
 * @param clusters scores by cluster, e.g. the samples of one problem.
 */
export function clusteredStandardError(clusters: readonly (readonly number[])[]): number {
  const count = clusters.length
  if (count < 2) return 0
  const all = clusters.flat()
  const centre = mean(all)
  const squares = clusters.map((scores) => scores.reduce((sum, score) => sum + score - centre, 0) ** 2)
  return Math.sqrt((count / (count - 1)) * squares.reduce((a, b) => a + b, 0)) / all.length
}

/**
 * 95 % interval of an accuracy from several samples per problem: Wilson's, at the effective number of trials
 * `p(1 − p)/se²` under the clustered standard error (Kish's design effect), kept between the number of problems
 * and the number of samples. With one sample per problem it is Wilson's interval.
 */
export function accuracyInterval(problems: readonly (readonly number[])[]): Interval {
  const samples = problems.flat()
  if (samples.length === 0) return [0, 1]
  const proportion = mean(samples)
  const effective = (proportion * (1 - proportion)) / clusteredStandardError(problems) ** 2
  const n = Number.isNaN(effective) ? problems.length : Math.min(samples.length, Math.max(problems.length, effective))
  return wilsonInterval(proportion, n)
}

/**
 * Unbiased pass@k of one problem: `1 − C(n−c, k)/C(n, k)`, the chance that k of the n samples, drawn without replacement,
 * hold a right one (Chen et al., arXiv 2107.03374, eq. 1).
 * @param n samples. @param correct right ones among them.
 * @throws {RangeError} unless 1 ≤ k ≤ n.
 */
export function passAtK(n: number, correct: number, k: number): number {
  if (!(k >= 1 && k <= n))
    throw new RangeError(`pass@k needs 1 ≤ k ≤ n; k is ${k}, n is ${n}. Take more samples per problem.`)
  let allWrong = 1
  for (let i = 0; i < k; i++) allWrong *= Math.max(0, n - correct - i) / (n - i)
  return 1 - allWrong
}

/**
 * Exact two-sided McNemar test: the probability, if both runs were equally good, of a split of the discordant pairs at
 * least as uneven (binomial with p = ½).
 * @param onlyA problems only the first run got right. @param onlyB only the second.
 */
export function mcNemarExact(onlyA: number, onlyB: number): number {
  const n = onlyA + onlyB
  const fewer = Math.min(onlyA, onlyB)
  // In logs: 0.5 ** n underflows beyond a thousand pairs.
  let logTerm = -n * Math.LN2
  let tail = Math.exp(logTerm)
  for (let i = 1; i <= fewer; i++) {
    logTerm += Math.log((n - i + 1) / i)
    tail += Math.exp(logTerm)
  }
  return Math.min(1, 2 * tail)
}

/** Mean of paired differences with its normal 95 % interval, `mean ± 1.96 · sd/√n` (sd with n − 1). */
export function pairedDifference(differences: readonly number[]): {
  readonly difference: number
  readonly ci95: Interval
} {
  const n = differences.length
  const difference = mean(differences)
  const variance = n < 2 ? 0 : differences.reduce((sum, d) => sum + (d - difference) ** 2, 0) / (n - 1)
  const half = z95 * Math.sqrt(variance / n)
  return { difference, ci95: [difference - half, difference + half] }
}
