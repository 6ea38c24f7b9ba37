/**
 * Weights in safetensors files. Names on disk are the hub's for the family; both prefixes transformers has used (`visual.`,
 * `model.` and, since 4.52, `model.visual.`, `model.language_model.`) are read. Tensors pass through the host in blocks of
 * rows, so that none has to fit there; any float dtype is widened to f32 on the way.
 */
import {
  SafetensorsFile,
  SafetensorsFolder,
  toFloat32,
  writeSafetensors,
  type SafetensorsTensor,
} from '@revisual/tensor'
import type { ModelConfig } from '../config/architecture.js'
import { ConfigError } from '../config/json.js'
import { parameterName, parameterSpecs } from '../network/parameters.js'

/** A tensor by name, of a shape that is known before a file is opened. */
export interface NamedShape {
  readonly name: string
  readonly shape: readonly number[]
}

/** A block of rows on its way in: values from element `offset` on, row-major, in the file's type. */
export type TakeBlock = (name: string, offset: number, block: SafetensorsTensor) => void | Promise<void>

/** Elements of a block. */
const blockElements = 2 ** 22

const elements = (shape: readonly number[]) => shape.reduce((size, dimension) => size * dimension, 1)

/** Types of weights. Integers, bytes and 8-bit floats are weights of something else, or quantised elsewhere. */
const floatTypes: readonly string[] = ['F64', 'F32', 'F16', 'BF16']

/** Every stored tensor by the name of its parameter. */
function byParameter(source: SafetensorsFile | SafetensorsFolder, where: string) {
  const stored = new Map<string, { readonly name: string; readonly dtype: string; readonly shape: readonly number[] }>()
  for (const [name, { dtype, shape }] of source.entries) {
    const parameter = parameterName(name)
    const other = stored.get(parameter)
    if (other) throw new ConfigError(`${where}: ${other.name} and ${name} are two names of one parameter.`)
    stored.set(parameter, { name, dtype, shape })
  }
  return stored
}

/** Where each wanted tensor lies in a file or folder, once all are known to be there in their shapes. */
function locate(
  source: SafetensorsFile | SafetensorsFolder,
  where: string,
  wanted: readonly NamedShape[],
): Map<string, string> {
  const stored = byParameter(source, where)
  const missing = wanted.filter(({ name }) => !stored.has(name)).map(({ name }) => name)
  if (missing.length > 0) {
    throw new ConfigError(
      `${where}: ${missing.length} of ${wanted.length} tensors are missing from the weights, the first: ${missing.slice(0, 3).join(', ')}.`,
    )
  }
  const places = new Map<string, string>()
  for (const spec of wanted) {
    const { name, dtype, shape } = stored.get(spec.name) as NonNullable<ReturnType<typeof stored.get>>
    if (shape.join() !== spec.shape.join()) {
      throw new ConfigError(
        `${where}: ${name} has shape [${shape.join(', ')}]; the config wants [${spec.shape.join(', ')}].`,
      )
    }
    if (!floatTypes.includes(dtype)) {
      throw new ConfigError(`${where}: ${name} is ${dtype}; weights must be one of ${floatTypes.join(', ')}.`)
    }
    places.set(spec.name, name)
  }
  return places
}

/**
 * Reads tensors from an open file or folder, block by block.
 * @param begin called once all is known to be well; says who takes the blocks.
 * @throws {ConfigError} naming tensors that are missing or have another shape or type; before `begin`.
 */
async function streamTensors(
  source: SafetensorsFile | SafetensorsFolder,
  where: string,
  wanted: readonly NamedShape[],
  begin: () => TakeBlock,
): Promise<void> {
  const places = locate(source, where, wanted)
  const take = begin()
  for (const { name, shape } of wanted) {
    const stored = places.get(name) as string
    if (elements(shape) <= blockElements || shape.length === 0) {
      await take(name, 0, await source.load(stored))
      continue
    }
    const [rows = 1, ...rest] = shape
    const width = elements(rest)
    // Even, so that a block of 16-bit values begins on a word.
    const step = Math.max(2, 2 * Math.floor(blockElements / width / 2))
    for (let row = 0; row < rows; row += step) {
      const block = await source.loadRows(stored, row, Math.min(rows, row + step))
      await take(name, row * width, block)
    }
  }
}

/**
 * Reads the weights of a model folder: `model.safetensors` or the shards of its index.
 * @param make what takes them; made once every file, name, shape and type has been checked, so that a folder which is refused
 * costs no device memory.
 * @throws {ConfigError} naming tensors that are missing or have another shape than the config says.
 */
export async function readFolderWeights<Target>(
  directory: string,
  config: ModelConfig,
  make: () => Target,
  take: (target: Target, ...block: Parameters<TakeBlock>) => ReturnType<TakeBlock>,
): Promise<Target> {
  const folder = await SafetensorsFolder.open(directory)
  try {
    let target: Target | undefined
    await streamTensors(folder, directory, parameterSpecs(config.architecture), () => {
      const made = make()
      target = made
      return (...block) => take(made, ...block)
    })
    return target as Target
  } finally {
    await folder.close()
  }
}

/** Reads tensors from one file. */
export async function readValues(path: string, wanted: readonly NamedShape[]): Promise<Map<string, Float32Array>> {
  const file = await SafetensorsFile.open(path)
  try {
    const values = new Map(wanted.map(({ name, shape }) => [name, new Float32Array(elements(shape))]))
    await streamTensors(
      file,
      path,
      wanted,
      () => (name, offset, block) => values.get(name)?.set(toFloat32(block), offset),
    )
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
