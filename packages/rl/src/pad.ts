/**
 * Prioritized Advantage Distillation (PAD) of ReVisual-R1 (arXiv 2506.04207, section 4.1.1): completions whose advantage
 * is (near) zero teach nothing, so the update is made from a sample of the others, the likelier drawn the larger |A|.
 *
 * Two variants, because paper and released code disagree. `paper` is Algorithm 1: a sub-sample without replacement,
 * softmax(|A|/τ) over a closed interval, nothing when nothing qualifies. `released` is what the authors ran: weights
 * |A|^α, strict thresholds, draws with replacement (1.5 N of them, so the batch grows), the whole batch when nothing
 * qualifies.
 */
import { chooseWithReplacement, chooseWithoutReplacement, type Random } from './random.js'
import { maximum, mean } from './statistics.js'

export interface PaperPad {
  readonly variant: 'paper'
  /** T_low > 0: smaller |A| are dropped. The paper gives no number. */
  readonly low: number
  /** T_high: larger |A| are dropped. Default none: with 0/1 rewards a bound drops the rare outcomes of every group. */
  readonly high?: number
  /** ρ: at most ⌈ρN⌉ of the N completions are kept. */
  readonly ratio: number
  /** τ > 0. The paper lets it fall from 1.0 to 0.3. */
  readonly temperature: number
}

export interface ReleasedPad {
  readonly variant: 'released'
  /** Exclusive lower bound of |A|. The authors' configuration: 0.03. */
  readonly low: number
  /** Exclusive upper bound of |A|. The authors' configuration: 0.97. */
  readonly high: number
  /** ⌊ratio · N⌋ draws. The authors' configuration: 1.5. */
  readonly ratio: number
  /** Exponent of the weights (|A| + 1e-8)^α. The authors' configuration: 1.5. */
  readonly alpha: number
  /** False limits the draws to the qualifying completions. Default true. */
  readonly withReplacement?: boolean
}

export type PadSettings = PaperPad | ReleasedPad

export interface PadSelection {
  /** Indices of the completions to learn from; `released` may name one several times. Empty: make no update. */
  readonly indices: readonly number[]
  readonly metrics: { readonly [metric: string]: number }
}

/**
 * Throws a {@link RangeError} that names the setting when one cannot be used. `τ` is left to {@link selectByAdvantage},
 * because it may follow a schedule.
 */
export function checkPad(settings: Omit<PaperPad, 'temperature'> | ReleasedPad): void {
  const refuse = (name: string, value: unknown, allowed: string) => {
    throw new RangeError(`PAD (${settings.variant}): ${name} is ${String(value)}; allowed: ${allowed}.`)
  }
  const { variant, low, high, ratio } = settings
  if (!Number.isFinite(low) || low < 0 || (variant === 'paper' && low === 0)) {
    refuse('low', low, variant === 'paper' ? 'a number > 0, so that zero advantages are dropped' : 'a number ≥ 0')
  }
  if (high !== undefined && !(high > low)) refuse('high', high, `a number > low (${low}), or absent for no bound`)
  if (!(ratio > 0 && ratio < Infinity)) refuse('ratio', ratio, 'a finite number > 0')
  if (variant === 'released' && !(settings.alpha >= 0 && settings.alpha < Infinity)) {
    refuse('alpha', settings.alpha, 'a finite number ≥ 0')
  }
}

/** Algorithm 1, lines 4 to 6, over the sizes of the qualifying advantages. */
function drawPaper(
  sizes: readonly number[],
  total: number,
  { ratio, temperature }: PaperPad,
  random: Random,
): number[] {
  const largest = maximum(sizes)
  const weights = sizes.map((size) => Math.exp((size - largest) / temperature))
  // ρN may carry floating-point noise (0.1 · 30 = 3.0000000000000004), which must not become a whole completion.
  const wanted = Math.ceil(ratio * total - 1e-9)
  return chooseWithoutReplacement(weights, Math.min(wanted, sizes.length), random)
}

function drawReleased(sizes: readonly number[], total: number, settings: ReleasedPad, random: Random): number[] {
  const { ratio, alpha, withReplacement = true } = settings
  const weights = sizes.map((size) => (size + 1e-8) ** alpha)
  const wanted = Math.floor(total * ratio)
  return withReplacement
    ? chooseWithReplacement(weights, wanted, random)
    : chooseWithoutReplacement(weights, Math.min(wanted, sizes.length), random)
}

/** Shares of correct and of wrong completions that were selected; of those that there are. */
function keptRates(indices: readonly number[], correct: readonly boolean[]): { readonly [metric: string]: number } {
  const selected = new Set(indices)
  const rate = (name: string, wanted: boolean) => {
    const such = correct.flatMap((is, index) => (is === wanted ? [index] : []))
    return such.length === 0 ? {} : { [name]: such.filter((index) => selected.has(index)).length / such.length }
  }
  return { ...rate('pad/kept_correct_rate', true), ...rate('pad/kept_wrong_rate', false) }
}

/**
 * Chooses the completions to learn from.
 *
 * Metrics: `pad/num_effective_samples` (|A| within the thresholds) and `pad/frac_effective`, `pad/num_selected_samples`
 * (repeats counted), `pad/num_dropped_samples` (never selected), `pad/avg_selected_advantage` and
 * `pad/avg_original_advantage` (means of |A|), `pad/frac_below_low`, `pad/frac_above_high`, for the paper's variant
 * `pad/temperature`, and where it is known which completions are correct, `pad/kept_correct_rate` and `pad/kept_wrong_rate`:
 * the shares of correct and of wrong completions that were selected at all.
 *
 * @param advantages one per completion; their absolute values count
 * @param random the draw's own stream, e.g. `createRandom(seed, 'pad', stage, step)`
 * @param correct which completions are correct, for metrics alone
 */
export function selectByAdvantage(
  advantages: readonly number[],
  settings: PadSettings,
  random: Random,
  correct?: readonly boolean[],
): PadSelection {
  checkPad(settings)
  const { variant, low, high = Infinity } = settings
  if (variant === 'paper' && !(settings.temperature > 0)) {
    throw new RangeError(`PAD (paper): temperature is ${settings.temperature}; allowed: a number > 0.`)
  }
  const sizes = advantages.map(Math.abs)
  const isLow = variant === 'paper' ? (size: number) => size < low : (size: number) => size <= low
  const isHigh = variant === 'paper' ? (size: number) => size > high : (size: number) => size >= high
  const effective = sizes.flatMap((size, index) => (isLow(size) || isHigh(size) ? [] : [index]))
  const effectiveSizes = effective.map((index) => sizes[index] as number)
  let indices: number[]
  if (effective.length === 0) {
    indices = variant === 'paper' ? [] : advantages.map((_, index) => index)
  } else {
    const drawn =
      variant === 'paper'
        ? drawPaper(effectiveSizes, sizes.length, settings, random)
        : drawReleased(effectiveSizes, sizes.length, settings, random)
    indices = drawn.map((position) => effective[position] as number)
  }
  // One order for one selection, whatever order it was drawn in.
  indices.sort((a, b) => a - b)
  const orZero = (value: number) => (Number.isNaN(value) ? 0 : value)
  return {
    indices,
    metrics: {
      'pad/num_effective_samples': effective.length,
      'pad/frac_effective': orZero(effective.length / sizes.length),
      'pad/num_selected_samples': indices.length,
      'pad/num_dropped_samples': sizes.length - new Set(indices).size,
      'pad/avg_selected_advantage': orZero(mean(indices.map((index) => sizes[index] as number))),
      'pad/avg_original_advantage': orZero(mean(sizes)),
      'pad/frac_below_low': orZero(sizes.filter(isLow).length / sizes.length),
      'pad/frac_above_high': orZero(sizes.filter(isHigh).length / sizes.length),
      ...(variant === 'paper' ? { 'pad/temperature': settings.temperature } : {}),
      ...(correct ? keptRates(indices, correct) : {}),
    },
  }
}
