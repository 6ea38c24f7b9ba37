/**
 * Weights in safetensors files. Names on disk are the hub's; files whose names carry the in-memory prefixes of
 * transformers ≥ 4.52 (`model.visual.`, `model.language_model.`) are read too.
 */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readSafetensors, toFloat32, writeSafetensors, type ParameterSet } from '@revisual/tensor'
import type { ModelConfig } from '../config/architecture.js'
import { ConfigError, isJsonObject } from '../config/json.js'
import { parameterSpecs } from '../network/parameters.js'

const singleFile = 'model.safetensors'
const indexFile = 'model.safetensors.index.json'

/** Name on the hub of a tensor under either convention. */
export function hubName(name: string): string {
  return name.replace(/^model\.visual\./, 'visual.').replace(/^model\.language_model\./, 'model.')
}

/** Files that hold the weights of a folder: one, or the shards of an index. */
async function weightFiles(directory: string): Promise<string[]> {
  if (existsSync(join(directory, singleFile))) return [singleFile]
  if (!existsSync(join(directory, indexFile))) {
    throw new ConfigError(`${directory}: neither ${singleFile} nor ${indexFile} is there. Pickled weights are not read; convert them.`)
  }
  const index: unknown = JSON.parse(await readFile(join(directory, indexFile), 'utf8'))
  const map = isJsonObject(index) ? index['weight_map'] : undefined
  if (!isJsonObject(map)) throw new ConfigError(`${directory}/${indexFile}: 'weight_map' must be an object.`)
  return [...new Set(Object.values(map))].filter((file) => typeof file === 'string').sort()
}

/**
 * Fills the parameters from a folder.
 * @throws {ConfigError} naming tensors that are missing or have another shape than the config says.
 */
export async function readWeights(directory: string, config: ModelConfig, parameters: ParameterSet): Promise<void> {
  const missing = new Map(parameterSpecs(config.architecture).map((spec) => [spec.name, spec]))
  for (const file of await weightFiles(directory)) {
    const { tensors } = await readSafetensors(join(directory, file))
    for (const [name, entry] of tensors) {
      const spec = missing.get(hubName(name))
      if (!spec) continue
      if (entry.shape.join() !== spec.shape.join()) {
        throw new ConfigError(`${file}: ${name} has shape [${entry.shape.join(', ')}]; config.json wants [${spec.shape.join(', ')}].`)
      }
      parameters.write(spec.name, toFloat32(entry))
      missing.delete(spec.name)
    }
  }
  if (missing.size > 0) {
    const names = [...missing.keys()]
    throw new ConfigError(`${directory}: ${missing.size} tensors are missing from the weights, the first: ${names.slice(0, 3).join(', ')}.`)
  }
}

/** Writes all parameters in f32 under hub names. */
export async function writeWeights(path: string, config: ModelConfig, parameters: ParameterSet): Promise<void> {
  const values = await parameters.readAll()
  const entries = parameterSpecs(config.architecture).map(({ name, shape }) => {
    const data = values.get(name)
    if (!data) throw new ConfigError(`Parameter ${name} is not in the parameter set.`)
    return [name, { dtype: 'F32', shape, data }] as const
  })
  await writeSafetensors(path, new Map(entries), { format: 'pt' })
}
