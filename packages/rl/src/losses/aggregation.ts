/**
 * From per-token terms to one number. The one idea: denominators are those of the whole optimizer batch and are given, never
 * counted in the micro-batch at hand, so the sum over micro-batches is the same for every split. (Counting locally is where
 * most trainers have had a normalisation bug.)
 */

/**
 * `token-mean`: Σ terms / tokens (DAPO's). `sequence-mean`: the mean over sequences of their token means (GRPO's).
 */
export type Aggregation = 'token-mean' | 'sequence-mean'

/** Sizes of the whole optimizer batch: all micro-batches of one optimizer step together. */
export interface Denominators {
  readonly tokens: number
  readonly sequences: number
}

/** Per sequence, per completion token. Losses read any array of numbers, and compute in float64. */
export type TokenValues = readonly ArrayLike<number>[]

/** Denominators of a batch given by the completion lengths of its sequences. Empty sequences have no term and count nothing. */
export function denominatorsOf(lengths: readonly number[]): Denominators {
  const filled = lengths.filter((length) => length > 0)
  return { tokens: filled.reduce((total, length) => total + length, 0), sequences: filled.length }
}

/** Factor of every token term of a sequence of `length` tokens. */
export function tokenWeight(aggregation: Aggregation, length: number, denominators: Denominators): number {
  return aggregation === 'token-mean' ? 1 / denominators.tokens : 1 / (denominators.sequences * length)
}

/** Throws unless `denominators` can hold a batch of these sequences. */
export function checkDenominators({ tokens, sequences }: Denominators, values: TokenValues): void {
  const own = denominatorsOf(values.map(({ length }) => length))
  // Not equal but at least: a micro-batch is a part of what the denominators describe.
  if (!(tokens >= own.tokens && sequences >= own.sequences)) {
    throw new RangeError(
      `Denominators are ${tokens} tokens and ${sequences} sequences, but this micro-batch alone has ${own.tokens} and ${own.sequences}. ` +
        `Give the totals of the whole optimizer batch.`,
    )
  }
}

/** Throws unless two arguments of a loss describe the same tokens. */
export function checkSameShape(name: string, values: TokenValues, logProbs: TokenValues): void {
  if (values.length !== logProbs.length) {
    throw new RangeError(
      `${name} has ${values.length} sequences, logProbs ${logProbs.length}; give one array per sequence.`,
    )
  }
  const wrong = values.findIndex((sequence, index) => sequence.length !== logProbs[index]?.length)
  if (wrong >= 0) {
    throw new RangeError(
      `${name}[${wrong}] has ${values[wrong]?.length} tokens, logProbs[${wrong}] ${logProbs[wrong]?.length}; give one value per completion token.`,
    )
  }
}
