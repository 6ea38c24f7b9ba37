/**
 * Two runs on the same problems. Paired, because the problems' difficulty is then no part of the noise: a difference can be
 * certain while the two intervals overlap.
 */
import { mcNemarExact, mean, pairedDifference, type Interval } from './statistics.js'
import type { SampleRecord } from './types.js'

export interface Comparison {
  /** Problems, the same in both runs. */
  readonly n: number
  /** Accuracy of the second run less that of the first. */
  readonly difference: number
  readonly ci95: Interval
  /** Problems by who got them right; with several samples of a problem, by whether more than half were right. */
  readonly counts: {
    readonly both: number
    readonly onlyFirst: number
    readonly onlySecond: number
    readonly neither: number
  }
  /** Exact two-sided McNemar test on `onlyFirst` and `onlySecond`. */
  readonly pValue: number
  /** Ids of the problems only one run got right. */
  readonly flips: { readonly lost: readonly string[]; readonly won: readonly string[] }
}

/**
 * Compares two runs.
 * @throws {RangeError} when they are not about the same problems.
 */
export function compareRuns(first: readonly SampleRecord[], second: readonly SampleRecord[]): Comparison {
  const a = accuracyById(first)
  const b = accuracyById(second)
  const missing = [...a.keys()].filter((id) => !b.has(id))
  const extra = [...b.keys()].filter((id) => !a.has(id))
  if (missing.length + extra.length > 0 || a.size === 0) {
    const example = [...missing, ...extra][0]
    throw new RangeError(
      `Runs can be compared on the same problems only: ${missing.length} of the first are not in the second, ${extra.length} of the second not in the first` +
        `${example === undefined ? '' : ` (such as '${example}')`}. Evaluate both with the same task, seed and limit, at least one problem.`,
    )
  }
  const pairs = [...a].map(([id, before]) => ({ id, before, after: b.get(id) as number }))
  const passed = (accuracy: number) => accuracy > 0.5
  const lost = pairs.filter(({ before, after }) => passed(before) && !passed(after)).map(({ id }) => id)
  const won = pairs.filter(({ before, after }) => !passed(before) && passed(after)).map(({ id }) => id)
  const both = pairs.filter(({ before, after }) => passed(before) && passed(after)).length
  return {
    n: pairs.length,
    ...pairedDifference(pairs.map(({ before, after }) => after - before)),
    counts: {
      both,
      onlyFirst: lost.length,
      onlySecond: won.length,
      neither: pairs.length - both - lost.length - won.length,
    },
    pValue: mcNemarExact(lost.length, won.length),
    flips: { lost, won },
  }
}

function accuracyById(samples: readonly SampleRecord[]): Map<string, number> {
  const scores = new Map<string, number[]>()
  for (const { id, correct } of samples) scores.set(id, [...(scores.get(id) ?? []), Number(correct)])
  return new Map([...scores].map(([id, values]) => [id, mean(values)]))
}
