/**
 * A batch of prompts with completions as one forward pass, reduced to what losses read: log-prob and entropy of every
 * completion token. Only the hidden rows that predict completion tokens meet the output matrix.
 */
import type { TokenBatch, TokenScores } from '@revisual/rl'
import { linearLogProb, type Tensor } from '@revisual/tensor'
import { layoutOptions, layOutTokens } from '../network/batch.js'
import { headWeight } from '../network/decoder.js'
import { forward, type Network } from '../network/forward.js'
import { pickRows } from '../network/rows.js'
import type { ModelPrompt } from '../prompt.js'

/** Lazy scores of all completion tokens, sequences end to end, [T] each. */
export interface LazyScores {
  readonly logProbs: Tensor
  readonly entropies: Tensor
}

/** Completion tokens in the batch. */
export function tokenCount(batch: TokenBatch<ModelPrompt>): number {
  return batch.sequences.reduce((sum, { completionIds }) => sum + completionIds.length, 0)
}

/** Builds the forward pass of a batch with at least one completion token. */
export function scoreTokens(network: Network, batch: TokenBatch<ModelPrompt>, samplingMask: Float32Array): LazyScores {
  const { device, architecture, weights } = network
  const { text } = architecture
  if (!(batch.temperature > 0)) {
    throw new RangeError(
      `Token batch: temperature is ${batch.temperature}; it must be > 0 (1 for supervised learning).`,
    )
  }
  const sequences = batch.sequences.filter(({ completionIds }) => completionIds.length > 0)
  // The last token is predicted, never fed.
  const fed = sequences.map(({ prompt, completionIds }) => ({ prompt, continuation: completionIds.slice(0, -1) }))
  const sharing = new Set(fed.map(({ prompt }) => prompt)).size < fed.length
  const layout = layOutTokens(fed, layoutOptions(architecture), sharing ? 'shared' : 'packed')
  const predictors = sequences.flatMap(({ completionIds }, index) => {
    const [last, next] = [layout.lastPromptPlace[index] as number, layout.continuationPlace[index] as number]
    return completionIds.map((_, t) => (t === 0 ? last : next + t - 1))
  })
  const targets = sequences.flatMap(({ completionIds }) => completionIds)
  const outside = targets.find((id) => !(id >= 0 && id < text.vocabularySize))
  if (outside !== undefined) {
    throw new RangeError(`Token batch: completion id ${outside} is outside the vocabulary of ${text.vocabularySize}.`)
  }
  const { hidden } = forward(network, layout)
  return linearLogProb(
    pickRows(hidden, Uint32Array.from(predictors)),
    headWeight(weights, text),
    device.tensor(Uint32Array.from(targets)),
    {
      temperature: batch.temperature,
      ...(batch.vocabulary === 'sampling' ? { mask: device.tensor(samplingMask) } : {}),
    },
  )
}

/** Cuts a flat array into one array per sequence. */
function perSequence(batch: TokenBatch<ModelPrompt>, flat: Float32Array): Float32Array[] {
  let offset = 0
  return batch.sequences.map(({ completionIds }) => flat.slice(offset, (offset += completionIds.length)))
}

/** Evaluates lazy scores. */
export async function readScores(
  { device }: Network,
  batch: TokenBatch<ModelPrompt>,
  { logProbs, entropies }: LazyScores,
): Promise<TokenScores> {
  const [logProbValues, entropyValues] = await device.read([logProbs, entropies])
  return {
    logProbs: perSequence(batch, logProbValues as Float32Array),
    entropies: perSequence(batch, entropyValues as Float32Array),
  }
}
