/**
 * Adapters as PEFT folders: `adapter_config.json` beside `adapter_model.safetensors`. Read are the names of transformers
 * before and after 4.52, written are the later ones, which PEFT reads today. Source: peft 0.21
 * `docs/source/developer_guides/checkpoint.md`.
 */
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SafetensorsFile, writeSafetensors } from '@revisual/tensor'
import { replaceFolder } from '../checkpoint/replace-folder.js'
import { ConfigError } from '../config/json.js'
import { parameterName } from '../network/parameters.js'
import { factorNames, type LoraAdapter } from './adapter.js'
import { adapterConfigJson, parseAdapterConfig, type AdapterDescription } from './config.js'
import { modulePath } from './targets.js'

const configFile = 'adapter_config.json'
const weightsFile = 'adapter_model.safetensors'
const prefix = 'base_model.model.'

/** Whether a folder holds an adapter instead of a model. */
export function isAdapterFolder(directory: string): boolean {
  return existsSync(join(directory, configFile))
}

/**
 * Reads the settings of an adapter folder.
 * @throws {ConfigError} the file is missing, malformed or asks for what this package does not compute.
 */
export async function readAdapterConfig(directory: string): Promise<AdapterDescription> {
  const path = join(directory, configFile)
  if (!existsSync(path)) throw new ConfigError(`${directory} is not an adapter folder: ${configFile} is missing.`)
  let json: unknown
  try {
    json = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw new ConfigError(`${path} is not JSON.`, { cause })
  }
  return parseAdapterConfig(json, path)
}

/** Our name of a stored factor: prefix and adapter name off, either generation of paths to the hub's. */
function factorName(stored: string): string {
  const path = stored.startsWith(prefix) ? stored.slice(prefix.length) : stored
  return parameterName(path.replace(/\.(lora_[AB])\.(?:[^.]+\.)?weight$/, '.$1.weight'))
}

/**
 * Reads the weights of an adapter folder into an adapter made from its settings.
 * @throws {ConfigError} tensors are missing, left over, or of another shape than rank and layer say.
 */
export async function readAdapterWeights(directory: string, adapter: LoraAdapter): Promise<void> {
  const path = join(directory, weightsFile)
  if (!existsSync(path)) {
    throw new ConfigError(
      `${directory}: ${weightsFile} is missing. Pickled adapters (.bin) are not read; convert them.`,
    )
  }
  const { parameters } = adapter
  const file = await SafetensorsFile.open(path)
  try {
    const stored = new Map([...file.entries].map(([name, { shape }]) => [factorName(name), { name, shape }]))
    const extra = [...stored.keys()].filter((name) => !parameters.has(name))
    const missing = parameters.names.filter((name) => !stored.has(name))
    if (extra.length > 0 || missing.length > 0) {
      const list = (what: string, names: readonly string[]) =>
        names.length > 0 ? ` ${names.length} ${what}, the first ${names[0]}.` : ''
      throw new ConfigError(
        `${path}: its tensors are not those of the layers ${configFile} selects.${list('missing', missing)}${list('left over', extra)}`,
      )
    }
    for (const [name, entry] of stored) {
      const wanted = parameters.shape(name)
      if (entry.shape.join() !== wanted.join()) {
        throw new ConfigError(
          `${path}: ${entry.name} has shape [${entry.shape.join(', ')}]; rank and layer want [${wanted.join(', ')}].`,
        )
      }
      parameters.write(name, await file.loadFloat32(entry.name))
    }
  } finally {
    await file.close()
  }
}

export interface SaveAdapterOptions {
  /** Folder or hub id of the base, for `base_model_name_or_path`. */
  readonly base: string | null
  /** `adapter_config.json` the adapter was read from; fields this package does not use are kept. */
  readonly json?: AdapterDescription['json']
}

/** Writes a PEFT folder. An existing folder of the name is replaced once the new one is complete. */
export async function writeAdapter(
  adapter: LoraAdapter,
  directory: string,
  { base, json }: SaveAdapterOptions,
): Promise<void> {
  const values = await adapter.parameters.values()
  await replaceFolder(directory, async (temporary) => {
    await writeFile(
      join(temporary, configFile),
      `${JSON.stringify(adapterConfigJson(adapter.config, base, json), null, 2)}\n`,
    )
    const tensors = adapter.modules.flatMap(({ name }) =>
      (['a', 'b'] as const).map((factor) => {
        const key = factorNames(name)[factor]
        const stored = `${prefix}${modulePath(name)}.lora_${factor.toUpperCase()}.weight`
        const data = values.get(key) as Float32Array
        return [stored, { dtype: 'F32', shape: adapter.parameters.shape(key), data }] as const
      }),
    )
    await writeSafetensors(join(temporary, weightsFile), new Map(tensors))
  })
}
