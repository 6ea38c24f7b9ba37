/**
 * Learning-rate schedules: pure functions from the number of updates already made to the rate of the next one. The
 * formulas are those of transformers (`get_constant_schedule_with_warmup`, `get_linear_schedule_with_warmup`,
 * `get_cosine_schedule_with_warmup`; cosine: arXiv 1608.03983), with a floor.
 */

/** Learning rate of update `step` + 1, for step ≥ 0. */
export type Schedule = (step: number) => number

export interface ConstantOptions {
  /** Rate after the warm-up. */
  readonly peak: number
  /** Updates over which the rate rises linearly from 0. Default 0. */
  readonly warmup?: number
}

export interface DecayOptions extends ConstantOptions {
  /** Update at which the floor is reached. */
  readonly steps: number
  /** Rate at the end and after it. Default 0. */
  readonly floor?: number
}

function check(
  { peak, warmup = 0, steps = warmup, floor = 0 }: ConstantOptions & Partial<DecayOptions>,
  what: string,
): void {
  if (!(peak >= 0) || !(floor >= 0) || floor > peak || !(warmup >= 0) || !(steps >= warmup)) {
    throw new RangeError(
      `${what}: peak ${peak}, floor ${floor}, warmup ${warmup} and steps ${steps} must satisfy 0 ≤ floor ≤ peak and 0 ≤ warmup ≤ steps.`,
    )
  }
}

/** Fraction of the decay done at `step`, 0 at the end of the warm-up and 1 from `steps` on. */
function progress(step: number, warmup: number, steps: number): number {
  return Math.min(1, (step - warmup) / Math.max(1, steps - warmup))
}

function withWarmup(peak: number, warmup: number, after: Schedule): Schedule {
  return (step) => (step < warmup ? (peak * step) / warmup : after(step))
}

/** Warm-up, then the same rate for ever. */
export function constant(options: ConstantOptions): Schedule {
  check(options, 'constant()')
  const { peak, warmup = 0 } = options
  return withWarmup(peak, warmup, () => peak)
}

/** Warm-up, then a straight line from `peak` to `floor`. */
export function linearDecay(options: DecayOptions): Schedule {
  check(options, 'linearDecay()')
  const { peak, warmup = 0, steps, floor = 0 } = options
  return withWarmup(peak, warmup, (step) => floor + (peak - floor) * (1 - progress(step, warmup, steps)))
}

/** Warm-up, then half a cosine from `peak` to `floor`. */
export function cosineDecay(options: DecayOptions): Schedule {
  check(options, 'cosineDecay()')
  const { peak, warmup = 0, steps, floor = 0 } = options
  return withWarmup(
    peak,
    warmup,
    (step) => floor + (peak - floor) * 0.5 * (1 + Math.cos(Math.PI * progress(step, warmup, steps))),
  )
}
