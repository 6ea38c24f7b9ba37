/**
 * Values that change over a run, as pure functions of the step: a resumed run needs no schedule state.
 */

export interface RampSchedule {
  /** `constant` stays at `from`; `linear` and `cosine` go from `from` to `to`. */
  readonly kind: 'constant' | 'linear' | 'cosine'
  /** Value right after warm-up. */
  readonly from: number
  /** Value at the last step. Default 0; unused when constant. */
  readonly to?: number
  /** Steps over which the value rises linearly to `from`: step s < warmupSteps has from · (s + 1) / (warmupSteps + 1). */
  readonly warmupSteps?: number
  /** The same as a share of all steps, rounded up. Give one of the two. */
  readonly warmupRatio?: number
}

/** A number, or a number that follows the steps of its stage. */
export type Schedule = number | RampSchedule

/** Throws when a schedule cannot be evaluated; `name` is used in the message. */
export function checkSchedule(schedule: Schedule, name: string): void {
  const refuse = (what: string, value: unknown, allowed: string) => {
    throw new RangeError(`${name}: ${what} is ${String(value)}; allowed: ${allowed}.`)
  }
  const amount = (what: string, value: number | undefined) => {
    if (value !== undefined && !(value >= 0 && value < Infinity)) refuse(what, value, 'a finite number ≥ 0')
  }
  if (typeof schedule === 'number') return amount('the value', schedule)
  const { from, to, warmupSteps, warmupRatio } = schedule
  amount('from', from)
  amount('to', to)
  amount('warmupSteps', warmupSteps)
  if (warmupRatio !== undefined && !(warmupRatio >= 0 && warmupRatio <= 1)) refuse('warmupRatio', warmupRatio, '0 to 1')
  if (warmupRatio !== undefined && warmupSteps !== undefined) {
    throw new RangeError(`${name}: both warmupSteps and warmupRatio are given; give one of them.`)
  }
}

/**
 * Value of a schedule.
 * @param step counted from 0
 * @param totalSteps steps the schedule is laid out for; later steps keep the last value
 */
export function scheduleValue(schedule: Schedule, step: number, totalSteps: number): number {
  if (typeof schedule === 'number') return schedule
  const { kind, from, to = 0 } = schedule
  const warmup = schedule.warmupSteps ?? Math.ceil((schedule.warmupRatio ?? 0) * totalSteps)
  if (step < warmup) return (from * (step + 1)) / (warmup + 1)
  if (kind === 'constant') return from
  const progress = Math.min(1, (step - warmup) / Math.max(1, totalSteps - 1 - warmup))
  return kind === 'linear' ? from + (to - from) * progress : to + (from - to) * 0.5 * (1 + Math.cos(Math.PI * progress))
}

/** PAD's temperature falls linearly over the stage. ReVisual-R1 section 4.1.1: 1.0 → 0.3. */
export interface TemperatureSchedule {
  readonly from: number
  readonly to: number
}

/** Temperature at `step` (from 0) of `totalSteps`. */
export function temperatureAt(schedule: number | TemperatureSchedule, step: number, totalSteps: number): number {
  return scheduleValue(typeof schedule === 'number' ? schedule : { kind: 'linear', ...schedule }, step, totalSteps)
}

/**
 * Coefficient of the entropy bonus, counted in optimizer updates of the stage. Fixed with neither `decay` nor `linearUpdates`,
 * exponential with the first, linear with the second.
 */
export interface EntropySchedule {
  /** c₀: the coefficient at update `warmupUpdates`. */
  readonly coefficient: number
  /** Updates before the bonus begins; the coefficient is 0 until then. Default 0. */
  readonly warmupUpdates?: number
  /** Factor per update from then on. Default 1. */
  readonly decay?: number
  /** Updates over which the coefficient falls linearly to the floor. Give this or `decay`. */
  readonly linearUpdates?: number
  /** The coefficient never falls below this once it has begun. Default 0. */
  readonly floor?: number
}

/**
 * ReVisual-R1 entropy annealing: 0 while `update` < warm-up, then max(floor, c₀ · decay^(update − warm-up)), or
 * max(floor, c₀ − (c₀ − floor) · (update − warm-up)/linearUpdates).
 * @param update optimizer updates of the stage done before this one
 */
export function entropyCoefficient(schedule: EntropySchedule, update: number): number {
  const { coefficient, warmupUpdates = 0, decay = 1, linearUpdates, floor = 0 } = schedule
  if (update < warmupUpdates) return 0
  const since = update - warmupUpdates
  if (linearUpdates !== undefined) {
    return Math.max(floor, coefficient - ((coefficient - floor) * since) / linearUpdates)
  }
  return Math.max(floor, coefficient * decay ** since)
}

/** A coefficient that keeps the entropy near a target (Skywork-OR1, arXiv 2505.22312, section 4; TRL `use_adaptive_entropy`). */
export interface AdaptiveEntropy {
  /** Nats per token. TRL's default is 0.2; a value near the entropy early in training is what acts before a collapse. */
  readonly target: number
  /** Step of the coefficient per update. Default 0.005. */
  readonly delta?: number
  /** Bounds of the coefficient. Default 0 and 1. */
  readonly min?: number
  readonly max?: number
}

/** What the controller remembers; part of the checkpoint. */
export interface AdaptiveEntropyState {
  readonly coefficient: number
  /** Entropy of the last update; null before the first. */
  readonly last: number | null
}

/** The coefficient to apply: 0 while the last entropy was above the target. */
export function adaptiveEntropyCoefficient(
  { coefficient, last }: AdaptiveEntropyState,
  { target }: AdaptiveEntropy,
): number {
  return last !== null && last > target ? 0 : coefficient
}

/** The state after an update with mean entropy `entropy`: the coefficient rises by δ at or below the target, else falls. */
export function afterEntropy(
  { coefficient }: AdaptiveEntropyState,
  entropy: number,
  { target, delta = 0.005, min = 0, max = 1 }: AdaptiveEntropy,
): AdaptiveEntropyState {
  const moved = entropy <= target ? coefficient + delta : coefficient - delta
  return { coefficient: Math.min(max, Math.max(min, moved)), last: entropy }
}
