/**
 * From per-token terms to one number. The one idea: denominators are those of the whole optimizer batch and are given, never
 * counted in the micro-batch at hand, so the sum over micro-batches is the same for every split. (Counting locally is where
 * most trainers have had a normalisation bug.)
 */

/**
 * How per-token terms become one number, for a batch of N sequences:
 *
 * | mode                       | Σ over                | names elsewhere                                                      |
 * | -------------------------- | --------------------- | -------------------------------------------------------------------- |
 * | `token-mean`               | terms / tokens        | DAPO 2503.14476; TRL `dapo`, verl `token-mean`, EasyR1 `token`       |
 * | `sequence-mean`            | terms / (N · length)  | GRPO 2402.03300; TRL `grpo`, verl `seq-mean-token-mean`, EasyR1 `seq` |
 * | `sequence-sum`             | terms / N             | verl `seq-mean-token-sum`; with GSPO's ratio TRL `luspo` 2602.05261  |
 * | `sequence-sum-constant`    | terms / (N · length of the setting) | Dr. GRPO 2503.20783; TRL `dr_grpo`, verl `seq-mean-token-sum-norm` |
 * | `token-sum`                | terms                 | verl `token-sum`                                                     |
 * | `constant`                 | terms / denominator   | open-instruct `loss_denominator`                                     |
 * | `local-token-mean`         | terms / (batches · tokens of the sequence's local batch) | TRL `bnpo`; local batch = group: DAPO as its text has it |
 */
export type Aggregation =
  | 'token-mean'
  | 'sequence-mean'
  | 'sequence-sum'
  | 'token-sum'
  | 'local-token-mean'
  | { readonly kind: 'sequence-sum-constant'; readonly length: number }
  | { readonly kind: 'constant'; readonly denominator: number }

/** Sizes of the whole optimizer batch: all micro-batches of one optimizer step together. */
export interface Denominators {
  readonly tokens: number
  readonly sequences: number
  /** Local batches of `local-token-mean`. Default 1. */
  readonly localBatches?: number
  /** Added to every length and token count. EasyR1 adds 1e-8; default 0. */
  readonly epsilon?: number
}

/** Per sequence, per completion token. Losses read any array of numbers, and compute in float64. */
export type TokenValues = readonly ArrayLike<number>[]

/** Denominators of a batch given by the completion lengths of its sequences. Empty sequences have no term and count nothing. */
export function denominatorsOf(lengths: readonly number[]): Denominators {
  const filled = lengths.filter((length) => length > 0)
  return { tokens: filled.reduce((total, length) => total + length, 0), sequences: filled.length }
}

/**
 * Tokens of the local batch of every sequence, for `local-token-mean`.
 * @param batchOf which local batch each sequence of the whole optimizer batch is in
 */
export function localTokenCounts(
  lengths: readonly number[],
  batchOf: readonly number[],
): { readonly tokens: readonly number[]; readonly batches: number } {
  const totals = new Map<number, number>()
  lengths.forEach((length, index) => {
    const batch = batchOf[index] as number
    if (length > 0) totals.set(batch, (totals.get(batch) ?? 0) + length)
  })
  return { tokens: batchOf.map((batch) => totals.get(batch) ?? 0), batches: totals.size }
}

/** Throws a {@link RangeError} when an aggregation cannot be used. */
export function checkAggregation(aggregation: Aggregation): void {
  if (typeof aggregation === 'string') return
  const [name, value] =
    aggregation.kind === 'constant' ? ['denominator', aggregation.denominator] : ['length', aggregation.length]
  if (!(Number(value) > 0 && Number(value) < Infinity)) {
    throw new RangeError(`Policy loss: aggregation.${name} is ${value}; allowed: a finite number > 0.`)
  }
}

/**
 * Factor of every token term of a sequence of `length` tokens.
 * @param localTokens tokens of the sequence's local batch; `local-token-mean` alone reads it
 */
export function tokenWeight(
  aggregation: Aggregation,
  length: number,
  denominators: Denominators,
  localTokens = denominators.tokens,
): number {
  const { tokens, sequences, localBatches = 1, epsilon = 0 } = denominators
  if (typeof aggregation === 'object') {
    return aggregation.kind === 'constant' ? 1 / aggregation.denominator : 1 / (sequences * aggregation.length)
  }
  switch (aggregation) {
    case 'token-mean':
      return 1 / (tokens + epsilon)
    case 'sequence-mean':
      return 1 / (sequences * (length + epsilon))
    case 'sequence-sum':
      return 1 / sequences
    case 'token-sum':
      return 1
    case 'local-token-mean':
      return 1 / (localBatches * (localTokens + epsilon))
  }
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
