/** The model a run begins with: a folder, or fresh weights of a preset. */
import { existsSync } from 'node:fs'
import { digitsVocabulary } from '@revisual/data'
import { createModel, createNanoTokenizer, loadModel, nanoConfig, type VisionLanguageModel } from '@revisual/model'
import type { Device } from '@revisual/tensor'
import type { RunConfig } from '../config/schema.js'
import { UserError } from '../errors.js'
import { deriveSeed } from './seed.js'

/** @throws {UserError} when the folder does not exist. */
export async function openModel(path: string, device: Device): Promise<VisionLanguageModel> {
  if (!existsSync(path)) throw new UserError(`There is no model folder ${path}.`)
  return loadModel(path, device)
}

export async function startModel({ model, seed }: RunConfig, device: Device): Promise<VisionLanguageModel> {
  if ('path' in model) return openModel(model.path, device)
  const config = nanoConfig()
  const tokenizer = createNanoTokenizer(digitsVocabulary(), config.architecture.text.vocabularySize)
  return createModel(device, { config, tokenizer, seed: deriveSeed(seed, 'weights') })
}
