/**
 * A model as the folder `save_pretrained` writes: config with every key it had, weights in one file or in shards with an
 * index, and the tokenizer's and processor's files byte for byte. The folder appears under its name only when it is
 * complete. Source: transformers 5.18 `modeling_utils.py`, `save_pretrained`.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fromFloat32, writeSafetensors, type SafetensorsInput } from '@revisual/tensor'
import { ConfigError, isJsonObject, type JsonObject } from '../config/json.js'
import { processorConfigJson } from '../images/processor.js'
import type { VisionLanguageModel } from '../model.js'
import { fileName, parameterSpecs } from '../network/parameters.js'
import { replaceFolder } from './replace-folder.js'

export interface SaveOptions {
  /** Type of the stored weights. `keep` (default): what config.json says; f32 where it says nothing. */
  readonly dtype?: 'keep' | 'f32' | 'bf16' | 'f16'
  /** Bytes of a shard; a model of more gets several and an index. Default 5·10⁹. A tensor is never cut. */
  readonly maxShardBytes?: number
}

const storage = {
  f32: { stored: 'F32', name: 'float32', bytes: 4 },
  bf16: { stored: 'BF16', name: 'bfloat16', bytes: 2 },
  f16: { stored: 'F16', name: 'float16', bytes: 2 },
} as const
type Storage = (typeof storage)[keyof typeof storage]

const dtypeKeys = ['dtype', 'torch_dtype'] as const

function storageOf(json: JsonObject, wanted: NonNullable<SaveOptions['dtype']>): Storage {
  if (wanted !== 'keep') return storage[wanted]
  const nested = isJsonObject(json['text_config']) ? json['text_config'] : {}
  const said = dtypeKeys.map((key) => json[key] ?? nested[key]).find((value) => value !== undefined && value !== null)
  const known = Object.values(storage).find(({ name }) => name === said)
  if (!known && said !== undefined) {
    throw new ConfigError(
      `config.json: the dtype is ${JSON.stringify(said)}, which cannot be written; give dtype: 'f32', 'bf16' or 'f16'.`,
    )
  }
  return known ?? storage.f32
}

/** The config as it was read, with the dtype of what is written, wherever the file states one. */
function configJson(json: JsonObject, { name }: Storage): JsonObject {
  const restate = (object: JsonObject): JsonObject =>
    Object.fromEntries(
      Object.entries(object).map(([key, value]) => [
        key,
        dtypeKeys.some((one) => one === key) && value !== null ? name : value,
      ]),
    )
  const nested = Object.entries(json).flatMap(([key, value]) =>
    key.endsWith('_config') && isJsonObject(value) ? [[key, restate(value)] as const] : [],
  )
  const stated = dtypeKeys.some((key) => json[key] !== undefined)
  return { ...restate(json), ...Object.fromEntries(nested), ...(stated ? {} : { dtype: name }) }
}

interface StoredTensor extends SafetensorsInput {
  readonly name: string
  readonly bytes: number
}

/** Tensors in order, as many to a shard as fit. */
export function cutShards<T extends { readonly bytes: number }>(tensors: readonly T[], maxShardBytes: number): T[][] {
  const shards: T[][] = [[]]
  let size = 0
  for (const tensor of tensors) {
    if (size > 0 && size + tensor.bytes > maxShardBytes) {
      shards.push([])
      size = 0
    }
    shards.at(-1)?.push(tensor)
    size += tensor.bytes
  }
  return shards
}

async function writeWeights(
  model: VisionLanguageModel,
  directory: string,
  { stored, bytes }: Storage,
  maxShardBytes: number,
): Promise<void> {
  const { config } = model.parts
  const tensors = parameterSpecs(config.architecture).map(({ name, shape }): StoredTensor => ({
    name: fileName(config.architecture, name),
    dtype: stored,
    shape,
    bytes: bytes * shape.reduce((size, dimension) => size * dimension, 1),
    data: async () => fromFloat32(await model.readWeight(name), stored, name),
  }))
  const shards = cutShards(tensors, maxShardBytes)
  const write = (file: string, part: readonly StoredTensor[]) =>
    writeSafetensors(join(directory, file), new Map(part.map((tensor) => [tensor.name, tensor])))
  const [only] = shards
  if (shards.length === 1 && only) return write('model.safetensors', only)
  const number = (value: number) => String(value).padStart(5, '0')
  const weightMap: Record<string, string> = {}
  for (const [index, part] of shards.entries()) {
    const file = `model-${number(index + 1)}-of-${number(shards.length)}.safetensors`
    await write(file, part)
    for (const { name } of part) weightMap[name] = file
  }
  const total = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0)
  await writeJson(directory, 'model.safetensors.index.json', {
    metadata: { total_parameters: total / bytes, total_size: total },
    weight_map: weightMap,
  })
}

const writeJson = (directory: string, file: string, json: unknown) =>
  writeFile(join(directory, file), `${JSON.stringify(json, null, 2)}\n`)

/**
 * Saves a model folder that transformers reads. An adapter is merged into the weights (computed in f32). An existing folder
 * of the name is replaced once the new one is complete.
 *
 * @throws {SafetensorsError} a value does not fit the dtype asked for (f16 above 65,504).
 */
export async function saveModel(
  model: VisionLanguageModel,
  directory: string,
  options: SaveOptions = {},
): Promise<void> {
  const { config, tokenizer, template, processor, generationJson, files = new Map<string, Uint8Array>() } = model.parts
  const target = storageOf(config.json, options.dtype ?? 'keep')
  await replaceFolder(directory, async (temporary) => {
    await writeJson(temporary, 'config.json', configJson(config.json, target))
    const made: readonly (readonly [string, () => Promise<void>])[] = [
      ['generation_config.json', () => writeJson(temporary, 'generation_config.json', generationJson)],
      [
        'preprocessor_config.json',
        () =>
          writeJson(
            temporary,
            'preprocessor_config.json',
            processorConfigJson(processor, config.architecture.modelType),
          ),
      ],
      ['chat_template.jinja', () => writeFile(join(temporary, 'chat_template.jinja'), template.source)],
      ...(tokenizer
        ? ([
            ['tokenizer.json', () => writeJson(temporary, 'tokenizer.json', tokenizer.json)],
            ['tokenizer_config.json', () => writeJson(temporary, 'tokenizer_config.json', tokenizer.config)],
          ] as const)
        : []),
    ]
    for (const [name, write] of made) if (!files.has(name)) await write()
    for (const [name, bytes] of files) await writeFile(join(temporary, name), bytes)
    await writeWeights(model, temporary, target, options.maxShardBytes ?? 5e9)
  })
}
