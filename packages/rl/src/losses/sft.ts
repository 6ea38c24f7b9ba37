/**
 * Supervised fine-tuning: the mean negative log-likelihood of the completion tokens, at the same door as the policy loss.
 */
import {
  checkDenominators,
  checkSameShape,
  tokenWeight,
  type Aggregation,
  type Denominators,
  type TokenValues,
} from './aggregation.js'

/** Additive over micro-batches. */
export interface SftLossSums {
  readonly tokens: number
  readonly sequences: number
  readonly loss: number
  readonly entropy: number
}

export interface SftLossResult {
  readonly loss: number
  readonly logProbGradients: readonly Float64Array[]
  readonly sums: SftLossSums
}

/**
 * Value and gradient of the loss of one micro-batch: −Σ w·log π with w = 1/tokens, or 1/(sequences · length).
 *
 * @param denominators token and sequence counts of the whole optimizer batch
 */
export function sftLoss(
  { logProbs, entropies }: { readonly logProbs: TokenValues; readonly entropies: TokenValues },
  { aggregation }: { readonly aggregation: Aggregation },
  denominators: Denominators,
): SftLossResult {
  checkDenominators(denominators, logProbs)
  checkSameShape('entropies', entropies, logProbs)
  const sums = { tokens: 0, sequences: 0, loss: 0, entropy: 0 }
  const logProbGradients = logProbs.map((sequence, index) => {
    const { length } = sequence
    const weight = length === 0 ? 0 : tokenWeight(aggregation, length, denominators)
    sums.tokens += length
    sums.sequences += length > 0 ? 1 : 0
    for (let t = 0; t < length; t++) {
      sums.loss -= weight * (sequence[t] as number)
      sums.entropy += entropies[index]?.[t] as number
    }
    return new Float64Array(length).fill(-weight)
  })
  return { loss: sums.loss, logProbGradients, sums }
}

/** Sums of several micro-batches together. */
export function addSftLossSums(parts: readonly SftLossSums[]): SftLossSums {
  const total = { tokens: 0, sequences: 0, loss: 0, entropy: 0 }
  for (const part of parts) for (const key of Object.keys(total) as (keyof SftLossSums)[]) total[key] += part[key]
  return total
}

/** `loss` in nats per token (or mean over sequences) and mean token `entropy`. */
export function sftLossMetrics({ loss, entropy, tokens }: SftLossSums): { readonly [metric: string]: number } {
  return { loss, entropy: entropy / tokens }
}
