/** A policy as a backend of `@revisual/bench`: prompts in, texts out. Every request has its own seed and one sample. */
import type { Backend, Generation, GenerationRequest } from '@revisual/bench'
import type { ModelPolicy } from '@revisual/model'
import type { Completion } from '@revisual/rl'
import type { PromptMaker } from '../train/prompts.js'

export interface SamplingLimits {
  readonly topP: number
  readonly topK: number
}

const generationOf = ({ text, completionIds, finishReason }: Completion): Generation =>
  finishReason === 'aborted' ? { error: 'aborted' } : { text, tokens: completionIds.length, finishReason }

export function policyBackend(
  name: string,
  policy: Pick<ModelPolicy, 'sample'>,
  prompt: PromptMaker,
  limits: SamplingLimits,
): Backend {
  return {
    name,
    async generate(requests, { signal }) {
      const [first] = requests
      if (!first) return []
      const { maxTokens, temperature } = first
      const other = requests.find((request) => request.maxTokens !== maxTokens || request.temperature !== temperature)
      if (other) throw new RangeError(`Request '${other.id}' asks for other sampling than the rest of its batch.`)
      const sampled = await Promise.all(
        requests.map(async (request: GenerationRequest) => ({
          prompt: await prompt(request),
          n: 1,
          seed: request.seed,
        })),
      )
      const completions = await policy.sample(sampled, { maxTokens, temperature, ...limits, ...(signal && { signal }) })
      return completions.map(generationOf)
    },
  }
}
