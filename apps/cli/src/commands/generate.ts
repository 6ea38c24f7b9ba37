/** `revisual generate <model> [prompt]`: completions of one prompt, to look at a model by hand. */
import { readFile } from 'node:fs/promises'
import { createPolicy } from '@revisual/model'
import type { ImageRef } from '@revisual/data'
import { messageOf, UserError } from '../errors.js'
import { openModel } from '../train/model.js'
import { promptMaker } from '../train/prompts.js'
import { withDevice } from './session.js'

export interface GenerateOptions {
  readonly images: readonly string[]
  readonly system: string | null
  readonly n: number
  readonly maxTokens: number
  readonly temperature: number
  readonly topP: number
  readonly topK: number
  readonly seed: number
  readonly json: boolean
}

async function readImage(path: string): Promise<ImageRef> {
  try {
    // The format is recognised from the bytes.
    return { kind: 'bytes', bytes: await readFile(path), mime: 'application/octet-stream' }
  } catch (error) {
    throw new UserError(`The image ${path} cannot be read: ${messageOf(error)}`)
  }
}

export async function generateText(modelPath: string, question: string, options: GenerateOptions): Promise<void> {
  const images = await Promise.all(options.images.map(readImage))
  await withDevice(async (device) => {
    const model = await openModel(modelPath, device)
    const prompt = await promptMaker(model, { system: options.system, suffix: '' })({ question, images })
    const { n, seed, maxTokens, temperature, topP, topK } = options
    const completions = await createPolicy(model).sample([{ prompt, n, seed }], { maxTokens, temperature, topP, topK })
    for (const { text, completionIds, logProbs, finishReason } of completions) {
      const record = {
        text,
        tokens: completionIds.length,
        logProb: logProbs.reduce((sum, each) => sum + each, 0),
        finishReason,
      }
      process.stdout.write(`${options.json ? JSON.stringify(record) : text}\n`)
    }
  })
}
