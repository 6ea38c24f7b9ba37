/**
 * A prompt as the model reads it: messages through the chat template, images through the processor, image placeholders
 * expanded to one token per merged cell, M-RoPE positions. Made once per prompt; everything after works on plain arrays.
 */
import type { ModelConfig } from './config/architecture.js'
import type { EncodedImage } from './images/decode.js'
import { prepareImage, type PreparedImage, type ProcessorConfig } from './images/processor.js'
import { ropeIndex, type RopeIndex } from './positions/rope-index.js'
import type { ChatMessage, ChatTemplate } from './text/chat-template.js'
import type { Tokenizer } from './text/tokenizer.js'

export interface ModelPrompt extends RopeIndex {
  /** The rendered template, placeholders not expanded. */
  readonly text: string
  /** Token ids with every image placeholder repeated once per visual token. */
  readonly ids: readonly number[]
  readonly images: readonly PreparedImage[]
}

/** A conversation and its images, in the order of the messages' image parts. */
export interface PromptInput {
  readonly messages: readonly ChatMessage[]
  readonly images?: readonly EncodedImage[]
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

/** Ids with image placeholders expanded, and positions. */
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
 * @throws {RangeError} when image parts and images do not match, or the prompt is empty.
 */
export async function preparePrompt(processing: Processing, input: PromptInput): Promise<ModelPrompt> {
  const { config, tokenizer, template, processor } = processing
  const { tokens, vision } = config.architecture
  const runs = template.render(input.messages, tokenizer)
  const rendered = tokenizer.encodeRuns(runs)
  const images = await Promise.all((input.images ?? []).map((image) => prepareImage(image, processor)))
  const placeholders = rendered.filter((id) => id === tokens.image).length
  if (placeholders !== images.length) {
    throw new RangeError(
      `The messages hold ${placeholders} image parts, but ${images.length} images were given. Give one image per part.`,
    )
  }
  let image = 0
  const ids = rendered.flatMap((id) => {
    if (id !== tokens.image) return [id]
    const [t, h, w] = (images[image++] as PreparedImage).grid
    return new Array<number>((t * h * w) / vision.mergeSize ** 2).fill(tokens.image)
  })
  if (ids.length === 0) throw new RangeError('The prompt is empty: give at least one message with content.')
  return promptFromIds(config, runs.map((run) => run.text).join(''), ids, images)
}
