/**
 * A curriculum: one stream of examples out of several, ordered from easy to hard. `linear` opens one level after the other;
 * `adaptive` draws levels whose success is near a target, where groups have spread and teach most. What it knows of success
 * is part of its cursor, so a resumed run draws the same examples.
 */
import { chooseWithReplacement, createRandom } from './random.js'
import type { DataSource, ExampleOutcome, JsonValue } from './types.js'

export type CurriculumRule =
  | {
      readonly kind: 'linear'
      /** Calls of `next` until all levels are open. In a stage that is steps, but for dynamic sampling, which calls more often. */
      readonly calls: number
    }
  | {
      readonly kind: 'adaptive'
      /** Mean reward that levels should have. Default 0.5. */
      readonly target?: number
      /** How fast success far from the target loses weight: exp(−((rate − target)/width)²/2). Default 0.2. */
      readonly width?: number
      /** Least weight of a level, relative to the most a level can have; levels far off are still looked at. Default 0.05. */
      readonly floor?: number
      /** Of the running mean of rewards. Default 0.9. */
      readonly decay?: number
    }

export interface CurriculumOptions {
  readonly rule: CurriculumRule
  readonly seed: number
}

interface CurriculumState {
  readonly calls: number
  readonly drawn: number
  /** Running mean of rewards by level; null before the first. */
  readonly rates: readonly (number | null)[]
  readonly levels: readonly JsonValue[]
}

/** Weight of every level for the next draw; those of levels that are not open are 0. */
export function levelWeights(rule: CurriculumRule, rates: readonly (number | null)[], calls: number): number[] {
  if (rule.kind === 'linear') {
    const open = 1 + Math.floor((calls * rates.length) / rule.calls)
    return rates.map((_, level) => (level < open ? 1 : 0))
  }
  const { target = 0.5, width = 0.2, floor = 0.05 } = rule
  // A level nobody has tried counts as one at the target.
  return rates.map((rate) => Math.max(floor, Math.exp(-((((rate ?? target) - target) / width) ** 2) / 2)))
}

function check(levels: number, rule: CurriculumRule): void {
  if (levels === 0) throw new RangeError('A curriculum needs at least one level.')
  if (rule.kind === 'linear' && !(Number.isInteger(rule.calls) && rule.calls >= 1)) {
    throw new RangeError(`Curriculum: calls is ${rule.calls}; allowed: an integer ≥ 1.`)
  }
  if (rule.kind === 'linear') return
  const { width = 0.2, floor = 0.05, decay = 0.9 } = rule
  if (!(width > 0)) throw new RangeError(`Curriculum: width is ${width}; allowed: a number > 0.`)
  if (!(floor > 0 && floor <= 1)) throw new RangeError(`Curriculum: floor is ${floor}; allowed: above 0, at most 1.`)
  if (!(decay >= 0 && decay < 1)) throw new RangeError(`Curriculum: decay is ${decay}; allowed: 0 to below 1.`)
}

/**
 * Examples of several sources, easy ones first in `levels`. Ends when the levels that are open have ended.
 * @throws {RangeError} for settings out of range
 */
export function curriculumSource<Example extends { readonly id: string }>(
  levels: readonly DataSource<Example>[],
  { rule, seed }: CurriculumOptions,
): DataSource<Example> {
  check(levels.length, rule)
  let calls = 0
  let drawn = 0
  let rates: (number | null)[] = levels.map(() => null)
  /** Levels of the examples that await their outcome; empty between steps. */
  let pending: { readonly id: string; readonly level: number }[] = []

  async function one(weights: readonly number[]): Promise<Example | null> {
    const left = [...weights]
    while (left.some((weight) => weight > 0)) {
      const [level = 0] = chooseWithReplacement(left, 1, createRandom(seed, 'curriculum', drawn))
      const [example] = await (levels[level] as DataSource<Example>).next(1)
      if (example) {
        drawn++
        pending.push({ id: example.id, level })
        return example
      }
      left[level] = 0
    }
    return null
  }

  return {
    async next(count) {
      const weights = levelWeights(rule, rates, calls)
      calls++
      const examples: Example[] = []
      while (examples.length < count) {
        const example = await one(weights)
        if (!example) break
        examples.push(example)
      }
      return examples
    },
    observe(outcomes: readonly ExampleOutcome[]) {
      const { decay = 0.9 } = rule.kind === 'adaptive' ? rule : {}
      for (const { id, reward } of outcomes) {
        // The first of its name: levels may share ids, and outcomes come in the order of the draws.
        const at = pending.findIndex((one) => one.id === id)
        const level = pending[at]?.level
        if (level === undefined) continue
        pending.splice(at, 1)
        if (reward === null) continue
        const before = rates[level] ?? null
        rates[level] = before === null ? reward : decay * before + (1 - decay) * reward
      }
      pending = []
    },
    state(): JsonValue {
      const state: CurriculumState = { calls, drawn, rates, levels: levels.map((level) => level.state()) }
      return state as unknown as JsonValue
    },
    restore(saved: JsonValue) {
      const state = saved as unknown as CurriculumState
      if (state.levels.length !== levels.length) {
        throw new Error(
          `The cursor is of a curriculum of ${state.levels.length} levels; this one has ${levels.length}.`,
        )
      }
      calls = state.calls
      drawn = state.drawn
      rates = [...state.rates]
      pending = []
      levels.forEach((level, index) => level.restore(state.levels[index] as JsonValue))
    },
  }
}
