/**
 * Models as Hugging Face folders: what transformers reads and writes. A folder is written under a temporary name and
 * renamed, so that a reader never sees half of one.
 */
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Device } from '@revisual/tensor'
import { ConfigError, isJsonObject, type JsonObject } from '../config/json.js'
import { parseConfig } from '../config/parse.js'
import { processorConfigJson } from '../images/processor.js'
import { fallbackParts, generationParts, parametersOf, VisionLanguageModel } from '../model.js'
import { Tokenizer } from '../text/tokenizer.js'
import { readFolderWeights, writeValues } from './weights.js'

async function readJson(directory: string, file: string): Promise<JsonObject | null> {
  const path = join(directory, file)
  if (!existsSync(path)) return null
  try {
    const json: unknown = JSON.parse(await readFile(path, 'utf8'))
    if (isJsonObject(json)) return json
  } catch (cause) {
    throw new ConfigError(`${path} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}.`, { cause })
  }
  throw new ConfigError(`${path} must hold a JSON object.`)
}

/** The chat template from wherever the folder keeps it: its own file (new, old), or the tokenizer's config. */
async function readChatTemplate(directory: string, tokenizerConfig: JsonObject): Promise<string | null> {
  const path = join(directory, 'chat_template.jinja')
  if (existsSync(path)) return readFile(path, 'utf8')
  const old = await readJson(directory, 'chat_template.json')
  const template = old?.['chat_template'] ?? tokenizerConfig['chat_template']
  return typeof template === 'string' ? template : null
}

/**
 * Loads a model folder: `config.json` and safetensors are required; tokenizer, template, processor and generation files are
 * used where present.
 * @throws {ConfigError} on anything missing, malformed or not supported.
 */
export async function loadModel(directory: string, device: Device): Promise<VisionLanguageModel> {
  const configJson = await readJson(directory, 'config.json')
  if (!configJson) throw new ConfigError(`${directory} is not a model folder: config.json is missing.`)
  const config = parseConfig(configJson)
  const tokenizerJson = await readJson(directory, 'tokenizer.json')
  const tokenizerConfig = (await readJson(directory, 'tokenizer_config.json')) ?? {}
  const parameters = parametersOf(device, config)
  await readFolderWeights(directory, config, (name, values) => parameters.write(name, values))
  return new VisionLanguageModel(device, parameters, {
    config,
    tokenizer: tokenizerJson ? new Tokenizer(tokenizerJson, tokenizerConfig) : null,
    ...fallbackParts(
      config,
      await readChatTemplate(directory, tokenizerConfig),
      await readJson(directory, 'preprocessor_config.json'),
    ),
    ...generationParts(config, (await readJson(directory, 'generation_config.json')) ?? {}),
  })
}

/** Saves a model folder. An existing folder of the name is replaced once the new one is complete. */
export async function saveModel(model: VisionLanguageModel, directory: string): Promise<void> {
  const target = resolve(directory)
  const sibling = (suffix: string) => join(dirname(target), `.${basename(target)}.${process.pid}.${suffix}`)
  const temporary = sibling('new')
  await rm(temporary, { recursive: true, force: true })
  await mkdir(temporary, { recursive: true })
  const { config, tokenizer, template, processor, generationJson } = model.parts
  const write = (file: string, json: unknown) => writeFile(join(temporary, file), `${JSON.stringify(json, null, 2)}\n`)
  // Weights are written in f32, whatever the checkpoint held.
  const dtypeKey = 'torch_dtype' in config.json ? 'torch_dtype' : 'dtype'
  await write('config.json', { ...config.json, [dtypeKey]: 'float32' })
  await write('generation_config.json', generationJson)
  await write('preprocessor_config.json', processorConfigJson(processor))
  await writeFile(join(temporary, 'chat_template.jinja'), template.source)
  if (tokenizer) {
    await write('tokenizer.json', tokenizer.json)
    await write('tokenizer_config.json', tokenizer.config)
  }
  await writeValues(join(temporary, 'model.safetensors'), config, await model.parameters.values())
  if (!existsSync(target)) return rename(temporary, target)
  const previous = sibling('old')
  await rename(target, previous)
  await rename(temporary, target)
  await rm(previous, { recursive: true })
}
