/** From rows to prompts: the question with the run's system turn and suffix, and its images. */
import { imageBytes, type ImageRef } from '@revisual/data'
import { questionPrompt, type ModelPrompt, type VisionLanguageModel } from '@revisual/model'
import type { RunConfig } from '../config/schema.js'

interface Question {
  readonly question: string
  readonly images: readonly ImageRef[]
  /** System turn of the task; takes precedence over the run's. */
  readonly system?: string
}

/** Makes the prompt of a question. */
export type PromptMaker = (question: Question) => Promise<ModelPrompt>

export function promptMaker(model: VisionLanguageModel, { system, suffix }: RunConfig['prompt']): PromptMaker {
  return async ({ question, images, system: own }) => {
    const encoded = await Promise.all(images.map(imageBytes))
    const user = questionPrompt(suffix === '' ? question : `${question}${suffix}`, encoded)
    const instruction = own ?? system
    if (instruction === null) return model.preparePrompt(user)
    return model.preparePrompt({ ...user, messages: [{ role: 'system', content: instruction }, ...user.messages] })
  }
}
