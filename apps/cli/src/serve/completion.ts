/**
 * A checked request into the engine's terms: messages and images to a prompt, parameters to sampling options, defaults from
 * the checkpoint's `generation_config.json`, then OpenAI's.
 */
import { randomInt } from 'node:crypto'
import type { ChatMessage, EngineRequest, ModelPrompt, VisionLanguageModel } from '@revisual/model'
import { messageOf } from '../errors.js'
import { badRequest } from './errors.js'
import { loadImage, type ImageLimits } from './images.js'
import type { ChatRequest } from './request.js'

export interface CompletionLimits extends ImageLimits {
  readonly maxImages: number
  /** Prompt and completion together. */
  readonly maxContext: number
  /** Tokens of a completion that does not say. */
  readonly defaultMaxTokens: number
  /** Most `n`. */
  readonly maxChoices: number
}

/** The images of a conversation, in order, with the parameter that holds each. */
function imageUrls({ messages }: ChatRequest): { url: string; param: string }[] {
  return messages.flatMap(({ content }, index) =>
    typeof content === 'string'
      ? []
      : content.flatMap((part, at) =>
          part.type === 'image_url'
            ? [{ url: part.image_url.url, param: `messages.${index}.content.${at}.image_url.url` }]
            : [],
        ),
  )
}

function chatMessages({ messages }: ChatRequest): ChatMessage[] {
  return messages.map(({ role, content }) => ({
    role: role === 'developer' ? 'system' : role,
    content:
      typeof content === 'string'
        ? content
        : content.map((part) => (part.type === 'text' ? { type: 'text', text: part.text } : { type: 'image' })),
  }))
}

/** The prompt of a conversation. @throws {ApiError} 400 on images or messages that cannot be used. */
export async function promptOf(
  model: VisionLanguageModel,
  request: ChatRequest,
  limits: CompletionLimits,
  signal: AbortSignal,
): Promise<ModelPrompt> {
  const urls = imageUrls(request)
  if (urls.length > limits.maxImages) {
    throw badRequest(`${urls.length} images were given; allowed: ${limits.maxImages}.`, 'messages', 'too_many_images')
  }
  const images: Uint8Array[] = []
  for (const { url, param } of urls) images.push(await loadImage(url, param, limits, signal))
  try {
    return await model.preparePrompt({ messages: chatMessages(request), images })
  } catch (error) {
    // Decoding, sizes and the template depend on the request alone.
    throw badRequest(messageOf(error), 'messages', images.length > 0 ? 'invalid_image' : null)
  }
}

/** Non-negative, as the engine wants it; any integer of the caller has its own. */
const seedOf = (seed: number) => (seed >= 0 ? seed : Number.MAX_SAFE_INTEGER + 1 + seed)

/** What the engine is asked. @throws {ApiError} 400 when it is more than the model or the server allows. */
export function engineRequest(
  model: VisionLanguageModel,
  prompt: ModelPrompt,
  request: ChatRequest,
  limits: CompletionLimits,
): EngineRequest {
  const { generationJson } = model.parts
  const preset = (key: string) => {
    const value = generationJson[key]
    return typeof value === 'number' ? value : undefined
  }
  const n = request.n ?? 1
  if (n > limits.maxChoices)
    throw badRequest(`'n' is ${n}; allowed: at most ${limits.maxChoices}.`, 'n', 'invalid_value')
  const stop = request.stop ?? []
  const bias = Object.entries(request.logit_bias ?? {}).map(([id, value]) => [Number(id), value] as const)
  const greedy = generationJson['do_sample'] === false ? 0 : undefined
  return {
    prompt,
    n,
    seed: request.seed == null ? randomInt(2 ** 47) : seedOf(request.seed),
    maxTokens: maxTokensOf(prompt, request, limits),
    temperature: request.temperature ?? greedy ?? preset('temperature') ?? 1,
    topP: Math.max(request.top_p ?? preset('top_p') ?? 1, 1e-6),
    topK: Math.max(request.top_k ?? preset('top_k') ?? 0, 0),
    minP: request.min_p ?? preset('min_p') ?? 0,
    repetitionPenalty: request.repetition_penalty ?? preset('repetition_penalty') ?? 1,
    presencePenalty: request.presence_penalty ?? 0,
    frequencyPenalty: request.frequency_penalty ?? 0,
    stopStrings: typeof stop === 'string' ? [stop] : stop,
    ...(bias.length > 0 && { logitBias: new Map(bias) }),
    ...(request.logprobs === true && { topLogProbs: request.top_logprobs ?? 0 }),
  }
}

function maxTokensOf({ ids }: ModelPrompt, request: ChatRequest, { maxContext, defaultMaxTokens }: CompletionLimits) {
  const asked = request.max_completion_tokens ?? request.max_tokens
  const room = maxContext - ids.length
  if (room < 1 || (asked != null && asked > room)) {
    throw badRequest(
      `The prompt has ${ids.length} tokens${asked == null ? '' : ` and ${asked} more are asked for`}; ` +
        `allowed: ${maxContext} together. Shorten the messages, use smaller images, or ask for fewer tokens.`,
      'messages',
      'context_length_exceeded',
    )
  }
  return asked ?? Math.min(room, defaultMaxTokens)
}
