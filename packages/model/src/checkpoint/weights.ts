/**
 * Weights in safetensors files. Names on disk are the hub's for the family; both prefixes transformers has used (`visual.`,
 * `model.` and, since 4.52, `model.visual.`, `model.language_model.`) are read. Any float dtype is widened to f32.
 */
import { SafetensorsFile, SafetensorsFolder, writeSafetensors } from '@revisual/tensor'
import type { ModelConfig } from '../config/architecture.js'
import { ConfigError } from '../config/json.js'
import { fileName, parameterName, parameterSpecs } from '../network/parameters.js'

/** Reads every parameter of the config from an open file or folder, one at a time. */
async function readParameters(
  source: SafetensorsFile | SafetensorsFolder,
  where: string,
  config: ModelConfig,
  take: (name: string, values: Float32Array) => void,
): Promise<void> {
  const stored = new Map(
    [...source.entries].map(([name, entry]) => [parameterName(name), { name, shape: entry.shape }]),
  )
  const specs = parameterSpecs(config.architecture)
  const missing = specs.filter(({ name }) => !stored.has(name)).map(({ name }) => name)
  if (missing.length > 0) {
    throw new ConfigError(
      `${where}: ${missing.length} of ${specs.length} tensors are missing from the weights, the first: ${missing.slice(0, 3).join(', ')}.`,
    )
  }
  for (const spec of specs) {
    const { name, shape } = stored.get(spec.name) as { name: string; shape: readonly number[] }
    if (shape.join() !== spec.shape.join()) {
      throw new ConfigError(
        `${where}: ${name} has shape [${shape.join(', ')}]; the config wants [${spec.shape.join(', ')}].`,
      )
    }
    take(spec.name, await source.loadFloat32(name))
  }
}

/**
 * Reads the weights of a model folder: `model.safetensors` or the shards of its index.
 * @throws {ConfigError} naming tensors that are missing or have another shape than the config says.
 */
export async function readFolderWeights(
  directory: string,
  config: ModelConfig,
  take: (name: string, values: Float32Array) => void,
): Promise<void> {
  const folder = await SafetensorsFolder.open(directory)
  try {
    await readParameters(folder, directory, config, take)
  } finally {
    await folder.close()
  }
}

/** Reads values of every parameter from one file. */
export async function readValues(path: string, config: ModelConfig): Promise<Map<string, Float32Array>> {
  const file = await SafetensorsFile.open(path)
  try {
    const values = new Map<string, Float32Array>()
    await readParameters(file, path, config, (name, data) => values.set(name, data))
    return values
  } finally {
    await file.close()
  }
}

/** Writes values of all parameters in f32 under hub names. */
export async function writeValues(
  path: string,
  config: ModelConfig,
  values: ReadonlyMap<string, Float32Array>,
): Promise<void> {
  const entries = parameterSpecs(config.architecture).map(({ name, shape }) => {
    const data = values.get(name)
    if (!data) throw new ConfigError(`No value was given for parameter ${name}.`)
    return [fileName(config.architecture, name), { dtype: 'F32', shape, data }] as const
  })
  await writeSafetensors(path, new Map(entries))
}
