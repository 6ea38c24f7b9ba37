/**
 * Completing a list of prompts: an engine for the length of the call.
 */
import type { Network } from '../network/forward.js'
import { GenerationEngine, type EngineOptions } from './engine.js'
import type { GenerationLimits, GenerationRequest, SamplingOptions } from './request.js'
import type { GeneratedSequence } from './sequence.js'

/** Here `maxSequences` is 512 unless given. */
export interface GenerationOptions
  extends
    SamplingOptions,
    GenerationLimits,
    Pick<EngineOptions, 'tokenizer' | 'mask' | 'maxSequences' | 'maxCacheTokens'> {
  readonly stopIds: readonly number[]
}

/** A finished sample of one of several requests. */
export interface RequestedSequence extends GeneratedSequence {
  readonly requestIndex: number
}

/**
 * Completes the prompts, all with the same options. Results are ordered by (requestIndex, sampleIndex).
 * @throws {RangeError} a request or an option is malformed, or needs more than the cache can hold.
 */
export async function generate(
  network: Network,
  requests: readonly GenerationRequest[],
  options: GenerationOptions,
): Promise<RequestedSequence[]> {
  const { tokenizer = null, mask, maxSequences = 512, maxCacheTokens, ...sampling } = options
  const engine = new GenerationEngine(network, {
    tokenizer,
    ...(mask && { mask }),
    maxSequences,
    ...(maxCacheTokens !== undefined && { maxCacheTokens }),
  })
  try {
    const generations = requests.map((request) => engine.submit({ ...sampling, ...request }))
    const results = await Promise.all(generations.map(({ result }) => result))
    return results.flatMap((sequences, requestIndex) => sequences.map((sequence) => ({ requestIndex, ...sequence })))
  } finally {
    await engine.close()
  }
}
