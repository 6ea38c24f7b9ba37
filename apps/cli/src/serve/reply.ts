/**
 * What is sent back: the parts of `chat.completion` and `chat.completion.chunk` objects.
 */
import type { FinishReason, GeneratedToken } from '@revisual/model'
import type { TokenTexts } from './token-text.js'

/** Fields every object of one answer shares. */
export interface ReplyHead {
  readonly id: string
  readonly created: number
  readonly model: string
  readonly system_fingerprint: string
}

/** OpenAI clients know no minus infinity. */
const leastLogProb = -9999

export function logProbsOf(tokens: readonly GeneratedToken[], texts: TokenTexts) {
  const entry = (id: number, logProb: number) => ({ ...texts.of(id), logprob: Math.max(logProb, leastLogProb) })
  return {
    content: tokens.map(({ id, logProb, modelLogProb = logProb, top = [] }) => ({
      ...entry(id, modelLogProb),
      top_logprobs: top.map((other) => entry(other.id, other.logProb)),
    })),
    refusal: null,
  }
}

export const finishReasonOf = (reason: FinishReason | null) =>
  reason === null ? null : reason === 'length' ? 'length' : 'stop'

export function usageOf(promptTokens: number, completionTokens: number) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: 0 },
  }
}

/** A streamed object. */
export function chunkOf(head: ReplyHead, choices: readonly unknown[], usage?: ReturnType<typeof usageOf> | null) {
  return { ...head, object: 'chat.completion.chunk', choices, ...(usage === undefined ? {} : { usage }) }
}
