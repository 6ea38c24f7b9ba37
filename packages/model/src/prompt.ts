/**
 * A prompt as the model reads it: messages through the chat template, images and videos through the processor, placeholders
 * expanded to one token per merged cell, M-RoPE positions. Made once per prompt; everything after works on plain arrays.
 */
import type { ModelConfig } from './config/architecture.js'
import type { AlphaMode, EncodedImage } from './images/decode.js'
import { defaultVideoBudget, prepareImage, type PreparedImage, type ProcessorConfig } from './images/processor.js'
import { prepareVideo, type VideoFrames } from './images/video.js'
import { ropeIndex, type RopeIndex } from './positions/rope-index.js'
import type { ChatMessage, ChatTemplate } from './text/chat-template.js'
import { expandPlaceholders } from './text/placeholders.js'
import type { Tokenizer } from './text/tokenizer.js'

export interface ModelPrompt extends RopeIndex {
  /** The rendered template, placeholders not expanded. */
  readonly text: string
  /** Token ids with every placeholder repeated once per visual token. */
  readonly ids: readonly number[]
  /** Images and videos in the order of their tokens. */
  readonly images: readonly PreparedImage[]
}

/** A conversation with its images and videos, each in the order of the messages' parts of its kind. */
export interface PromptInput {
  readonly messages: readonly ChatMessage[]
  readonly images?: readonly EncodedImage[]
  readonly videos?: readonly VideoFrames[]
  /** Bounds of an image's area in pixels. Default: the checkpoint's, which allow 16,384 tokens an image. */
  readonly minPixels?: number
  readonly maxPixels?: number
  /** What becomes of transparency. Default `white`. */
  readonly alpha?: AlphaMode
}

/** One user turn: the images, then the question. */
export function questionPrompt(question: string, images: readonly EncodedImage[] = []): PromptInput {
  if (images.length === 0) return { messages: [{ role: 'user', content: question }] }
  const content = [...images.map(() => ({ type: 'image' }) as const), { type: 'text', text: question } as const]
  return { messages: [{ role: 'user', content }], images }
}

/** What turns messages into a prompt. */
export interface Processing {
  readonly config: ModelConfig
  readonly tokenizer: Tokenizer
  readonly template: ChatTemplate
  readonly processor: ProcessorConfig
}

/**
 * Ids with placeholders expanded, and positions.
 * @param images images and videos in the order of their tokens.
 * @throws {RangeError} when tokens and images do not match.
 */
export function promptFromIds(
  config: ModelConfig,
  text: string,
  ids: readonly number[],
  images: readonly PreparedImage[],
): ModelPrompt {
  const { tokens, vision, videoTime } = config.architecture
  const options = { imageTokenId: tokens.image, videoTokenId: tokens.video, mergeSize: vision.mergeSize, videoTime }
  return { text, ids, images, ...ropeIndex(ids, images, options) }
}

/**
 * Prepares a prompt.
 * @throws {RangeError} when parts and images or videos do not match, or the prompt is empty.
 */
export async function preparePrompt(processing: Processing, input: PromptInput): Promise<ModelPrompt> {
  const { config, tokenizer, template } = processing
  const { minPixels, maxPixels, alpha } = input
  const processor = {
    ...processing.processor,
    ...(minPixels === undefined ? {} : { minPixels }),
    ...(maxPixels === undefined ? {} : { maxPixels }),
  }
  const budget = processor.video ?? defaultVideoBudget(config.architecture)
  const runs = template.render(input.messages, tokenizer)
  const [images, videos] = await Promise.all([
    Promise.all((input.images ?? []).map((image) => prepareImage(image, processor, alpha))),
    Promise.all((input.videos ?? []).map((video) => prepareVideo(video, processor, budget, alpha))),
  ])
  const { ids, items } = expandPlaceholders(runs, { images, videos }, config.architecture, tokenizer)
  if (ids.length === 0) throw new RangeError('The prompt is empty: give at least one message with content.')
  return promptFromIds(config, runs.map((run) => run.text).join(''), ids, items)
}
