/**
 * Models from Hugging Face folders: all weights trainable in f32, or frozen in the precision asked for, with or without a
 * trainable adapter on top. Weights go from file to device in blocks; nothing in a folder is executed.
 */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ParameterSet, toFloat32, type Device } from '@revisual/tensor'
import type { ModelConfig } from '../config/architecture.js'
import { ConfigError, isJsonObject, type JsonObject } from '../config/json.js'
import { parseConfig } from '../config/parse.js'
import { LoraAdapter } from '../lora/adapter.js'
import { loraConfig, type LoraOptions } from '../lora/config.js'
import { readAdapterConfig, readAdapterWeights, writeAdapter } from '../lora/folder.js'
import { fallbackParts, generationParts, parametersOf, VisionLanguageModel, type FrozenBase } from '../model.js'
import { FrozenWeights, type FrozenDType } from '../network/frozen-weights.js'
import { parameterSpecs } from '../network/parameters.js'
import { Tokenizer } from '../text/tokenizer.js'
import { checkFits, planMemory, type MemoryBounds, type PlanOptions } from './plan.js'
import { readFolderWeights } from './weights.js'

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

/** Settings of images and of videos: files of their own, or both in `processor_config.json`. */
async function readProcessorFiles(directory: string): Promise<[image: unknown, video: unknown]> {
  const both = await readJson(directory, 'processor_config.json')
  return [
    (await readJson(directory, 'preprocessor_config.json')) ?? both?.['image_processor'],
    (await readJson(directory, 'video_preprocessor_config.json')) ?? both?.['video_processor'],
  ]
}

/**
 * Reads the config of a model folder.
 * @throws {ConfigError} it is missing, malformed or not supported.
 */
export async function readConfig(directory: string): Promise<ModelConfig> {
  const json = await readJson(directory, 'config.json')
  if (!json) throw new ConfigError(`${directory} is not a model folder: config.json is missing.`)
  return parseConfig(json)
}

export interface LoadOptions {
  /**
   * An adapter over the then frozen weights: a PEFT folder, or settings for a fresh one. `seed` (default 0) decides its
   * first values and its dropout.
   */
  readonly adapter?: string | (LoraOptions & { readonly seed?: number })
  /** Weights that never learn, for inference: no gradients, no moments. Implied by `adapter`. */
  readonly frozen?: boolean
  /** Storage of frozen matrices. Default `f32`. */
  readonly dtype?: FrozenDType
}

/** Files of a checkpoint's folder that a save gives back as they were. */
const keptFiles = [
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.json',
  'merges.txt',
  'special_tokens_map.json',
  'added_tokens.json',
  'preprocessor_config.json',
  'video_preprocessor_config.json',
  'processor_config.json',
  'chat_template.jinja',
  'chat_template.json',
] as const

async function readKeptFiles(directory: string): Promise<Map<string, Uint8Array>> {
  const there = keptFiles.filter((name) => existsSync(join(directory, name)))
  return new Map(await Promise.all(there.map(async (name) => [name, await readFile(join(directory, name))] as const)))
}

/** The adapter of the options: from a folder, or fresh. */
async function openAdapter(
  device: Device,
  { architecture }: ModelConfig,
  adapter: NonNullable<LoadOptions['adapter']>,
): Promise<Pick<FrozenBase, 'adapterJson'> & { adapter: LoraAdapter }> {
  if (typeof adapter !== 'string') {
    const { seed = 0, ...options } = adapter
    return { adapter: new LoraAdapter(device, architecture, loraConfig(options), seed) }
  }
  const { config, json } = await readAdapterConfig(adapter)
  const opened = new LoraAdapter(device, architecture, config, 0)
  await readAdapterWeights(adapter, opened)
  return { adapter: opened, adapterJson: json }
}

/** What loading with these options takes; an adapter of a folder is small beside its base and not counted. */
function planOf({ adapter, frozen, dtype = 'f32' }: LoadOptions): PlanOptions {
  if (typeof adapter === 'object') return { learns: loraConfig(adapter), dtype }
  return { learns: frozen || adapter !== undefined ? 'none' : 'all', dtype }
}

/** What the device holds. A software adapter's memory is the machine's; others do not tell. */
function boundsOf({ limits, info, memory }: Device): MemoryBounds {
  const { availableMemory } = process as { availableMemory?: () => number }
  const available = Math.min(
    memory.limitBytes - memory.liveBytes,
    info.isSoftware ? (availableMemory?.() ?? Infinity) : Infinity,
  )
  return { maxBufferSize: limits.maxBufferSize, ...(Number.isFinite(available) ? { availableBytes: available } : {}) }
}

/** Weights as the options want them. */
async function readWeights(
  directory: string,
  config: ModelConfig,
  device: Device,
  { adapter, frozen = adapter !== undefined, dtype = 'f32' }: LoadOptions,
): Promise<{ parameters: ParameterSet; frozen: FrozenBase | null }> {
  if (!frozen) {
    if (adapter !== undefined) throw new ConfigError('loadModel(): an adapter needs frozen weights; leave frozen out.')
    if (dtype !== 'f32') {
      throw new ConfigError(
        `loadModel(): dtype is '${dtype}', but weights that learn are f32. Freeze them, or train an adapter.`,
      )
    }
    const parameters = await readFolderWeights(
      directory,
      config,
      () => parametersOf(device, config),
      (target, name, offset, block) => target.writeRange(name, offset, toFloat32(block)),
    )
    return { parameters, frozen: null }
  }
  const weights = await readFolderWeights(
    directory,
    config,
    () => new FrozenWeights(device, parameterSpecs(config.architecture), dtype),
    (target, ...block) => target.write(...block),
  )
  const opened = adapter === undefined ? { adapter: null } : await openAdapter(device, config, adapter)
  return { parameters: opened.adapter?.parameters ?? new ParameterSet(device, []), frozen: { weights, ...opened } }
}

/**
 * Loads a model folder: `config.json` and safetensors are required; tokenizer, template, processor and generation files are
 * used where present.
 * @throws {ConfigError} on anything missing, malformed or not supported.
 */
export async function loadModel(
  directory: string,
  device: Device,
  options: LoadOptions = {},
): Promise<VisionLanguageModel> {
  const config = await readConfig(directory)
  checkFits(planMemory(config.architecture, planOf(options)), boundsOf(device), planOf(options))
  const tokenizerJson = await readJson(directory, 'tokenizer.json')
  const tokenizerConfig = (await readJson(directory, 'tokenizer_config.json')) ?? {}
  const { parameters, frozen } = await readWeights(directory, config, device, options)
  const parts = {
    config,
    tokenizer: tokenizerJson ? new Tokenizer(tokenizerJson, tokenizerConfig) : null,
    files: await readKeptFiles(directory),
    ...fallbackParts(
      config,
      await readChatTemplate(directory, tokenizerConfig),
      ...(await readProcessorFiles(directory)),
    ),
    ...generationParts(config, (await readJson(directory, 'generation_config.json')) ?? {}),
  }
  return new VisionLanguageModel(device, parameters, parts, frozen)
}

/**
 * Saves the adapter of a model as a PEFT folder.
 *
 * @param base Folder or hub id of the model under it, for `base_model_name_or_path`.
 * @throws {ConfigError} the model has no adapter.
 */
export async function saveAdapter(model: VisionLanguageModel, directory: string, base: string | null): Promise<void> {
  const { frozen } = model
  if (!frozen?.adapter) throw new ConfigError('saveAdapter(): the model has no adapter; save it with saveModel().')
  await writeAdapter(frozen.adapter, directory, { base, ...(frozen.adapterJson ? { json: frozen.adapterJson } : {}) })
}
