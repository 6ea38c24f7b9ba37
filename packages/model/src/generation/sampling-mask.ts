/**
 * Tokens that are never sampled. A sampled image placeholder would make the next forward pass miscount its images;
 * padding, unknown and unused rows mean nothing. The mask is added to the logits.
 */
import type { VisionLanguageModel } from '../model.js'

/** Added to the logits of forbidden tokens: finite, so that masked softmax stays free of NaN. */
const forbidden = -1e30

const structuralTokens = [
  '<|endoftext|>',
  '<|im_start|>',
  '<|vision_start|>',
  '<|vision_end|>',
  '<|vision_pad|>',
  '<|image_pad|>',
  '<|video_pad|>',
]

/** @returns [V]: 0 for tokens that may be sampled, −1e30 for the others. Stop ids are always allowed. */
export function samplingMask(model: VisionLanguageModel): Float32Array {
  const { config, generation, tokenizer } = model.parts
  const { text, tokens } = config.architecture
  const mask = new Float32Array(text.vocabularySize)
  const forbid = (id: number | null | undefined) => {
    if (id !== null && id !== undefined && id < mask.length) mask[id] = forbidden
  }
  if (tokenizer) {
    for (let id = 0; id < mask.length; id++) if (!tokenizer.usedIds.has(id)) forbid(id)
    structuralTokens.forEach((token) => forbid(tokenizer.tokenToId(token)))
    forbid(tokenizer.unknownTokenId)
  }
  ;[tokens.image, tokens.video, tokens.visionStart, tokens.visionEnd, generation.padId].forEach(forbid)
  for (const id of generation.stopIds) mask[id] = 0
  return mask
}
