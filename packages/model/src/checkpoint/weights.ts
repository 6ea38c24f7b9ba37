/**
 * Weights in safetensors files. Names on disk are the hub's for the family; both prefixes transformers has used (`visual.`,
 * `model.` and, since 4.52, `model.visual.`, `model.language_model.`) are read. Tensors pass through the host in blocks of
 * rows, so that none has to fit there; any float dtype is widened to f32 on the way.
 */
import { SafetensorsFile, SafetensorsFolder, toFloat32, writeSafetensors } from '@revisual/tensor'
import type { ModelConfig } from '../config/architecture.js'
import { ConfigError } from '../config/json.js'
import { parameterName, parameterSpecs } from '../network/parameters.js'

/** A tensor by name, of a shape that is known before a file is opened. */
export interface NamedShape {
  readonly name: string
  readonly shape: readonly number[]
}

/** A block of rows on its way in: values from element `offset` on, row-major. */
export type TakeBlock = (name: string, offset: number, values: Float32Array) => void | Promise<void>

/** Elements of a block. */
const blockElements = 2 ** 22

const elements = (shape: readonly number[]) => shape.reduce((size, dimension) => size * dimension, 1)

/** Where each wanted tensor lies in a file or folder, once all are known to be there in their shapes. */
function locate(
  source: SafetensorsFile | SafetensorsFolder,
  where: string,
  wanted: readonly NamedShape[],
): Map<string, string> {
  const stored = new Map([...source.entries].map(([name, { shape }]) => [parameterName(name), { name, shape }]))
  const missing = wanted.filter(({ name }) => !stored.has(name)).map(({ name }) => name)
  if (missing.length > 0) {
    throw new ConfigError(
      `${where}: ${missing.length} of ${wanted.length} tensors are missing from the weights, the first: ${missing.slice(0, 3).join(', ')}.`,
    )
  }
  const places = new Map<string, string>()
  for (const spec of wanted) {
    const { name, shape } = stored.get(spec.name) as { name: string; shape: readonly number[] }
    if (shape.join() !== spec.shape.join()) {
      throw new ConfigError(
        `${where}: ${name} has shape [${shape.join(', ')}]; the config wants [${spec.shape.join(', ')}].`,
      )
    }
    places.set(spec.name, name)
  }
  return places
}

/**
 * Reads tensors from an open file or folder, block by block.
 * @throws {ConfigError} naming tensors that are missing or have another shape; before anything is read.
 */
async function streamTensors(
  source: SafetensorsFile | SafetensorsFolder,
  where: string,
  wanted: readonly NamedShape[],
  take: TakeBlock,
): Promise<void> {
  const places = locate(source, where, wanted)
  for (const { name, shape } of wanted) {
    const stored = places.get(name) as string
    if (elements(shape) <= blockElements || shape.length === 0) {
      await take(name, 0, toFloat32(await source.load(stored)))
      continue
    }
    const [rows = 1, ...rest] = shape
    const width = elements(rest)
    // Even, so that a block of 16-bit values begins on a word.
    const step = Math.max(2, 2 * Math.floor(blockElements / width / 2))
    for (let row = 0; row < rows; row += step) {
      const block = await source.loadRows(stored, row, Math.min(rows, row + step))
      await take(name, row * width, toFloat32(block))
    }
  }
}

/**
 * Reads the weights of a model folder: `model.safetensors` or the shards of its index.
 * @throws {ConfigError} naming tensors that are missing or have another shape than the config says.
 */
export async function readFolderWeights(directory: string, config: ModelConfig, take: TakeBlock): Promise<void> {
  const folder = await SafetensorsFolder.open(directory)
  try {
    await streamTensors(folder, directory, parameterSpecs(config.architecture), take)
  } finally {
    await folder.close()
  }
}

/** Reads tensors from one file. */
export async function readValues(path: string, wanted: readonly NamedShape[]): Promise<Map<string, Float32Array>> {
  const file = await SafetensorsFile.open(path)
  try {
    const values = new Map(wanted.map(({ name, shape }) => [name, new Float32Array(elements(shape))]))
    await streamTensors(file, path, wanted, (name, offset, block) => values.get(name)?.set(block, offset))
    return values
  } finally {
    await file.close()
  }
}

/** Writes tensors to one file in f32. */
export async function writeValues(
  path: string,
  shapes: readonly NamedShape[],
  values: ReadonlyMap<string, Float32Array>,
): Promise<void> {
  const entries = shapes.map(({ name, shape }) => {
    const data = values.get(name)
    if (!data) throw new ConfigError(`No value was given for parameter ${name}.`)
    return [name, { dtype: 'F32', shape, data }] as const
  })
  await writeSafetensors(path, new Map(entries))
}
