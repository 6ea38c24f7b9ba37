/**
 * The weights of a Hugging Face folder: one `model.safetensors`, or the shards that `model.safetensors.index.json`
 * names. Either way they look like one file.
 */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { toFloat32, type SafetensorsTensor } from './dtypes.js'
import { SafetensorsError } from './errors.js'
import { duplicateKey, MAX_HEADER_BYTES, type SafetensorsEntry } from './header.js'
import { SafetensorsFile } from './safetensors.js'

const SINGLE = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

async function readIndexText(path: string): Promise<string | null> {
  try {
    const { size } = await stat(path)
    if (size > MAX_HEADER_BYTES) {
      throw new SafetensorsError(`${path}: the index has ${size} bytes; at most ${MAX_HEADER_BYTES} are allowed.`)
    }
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** File of every tensor, or null when the folder has no index. */
async function readIndex(folder: string): Promise<Map<string, string> | null> {
  const where = join(folder, INDEX)
  const text = await readIndexText(where)
  if (text === null) return null
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new SafetensorsError(`${where}: not valid JSON.`, { cause: error })
  }
  const twice = duplicateKey(text)
  if (twice !== null) throw new SafetensorsError(`${where}: the key '${twice}' occurs twice.`)
  const map = (json as { weight_map?: unknown } | null)?.weight_map
  if (typeof map !== 'object' || map === null || Array.isArray(map)) {
    throw new SafetensorsError(`${where}: 'weight_map' must be an object.`)
  }
  const files = new Map<string, string>()
  for (const [name, file] of Object.entries(map)) {
    // A shard lies beside its index: a path that leads elsewhere is an attack or a mistake.
    if (typeof file !== 'string' || !/^[^/\\\0]+\.safetensors$/.test(file)) {
      throw new SafetensorsError(
        `${where}: '${name}' lies in ${JSON.stringify(file)}; allowed are .safetensors files of the same folder.`,
      )
    }
    files.set(name, file)
  }
  if (files.size === 0) throw new SafetensorsError(`${where}: 'weight_map' is empty.`)
  return files
}

/** All tensors of a folder of weights, read when asked for. */
export class SafetensorsFolder {
  private constructor(
    private readonly folder: string,
    private readonly places: ReadonlyMap<string, SafetensorsFile>,
    private readonly files: readonly SafetensorsFile[],
    readonly entries: ReadonlyMap<string, SafetensorsEntry>,
  ) {}

  /**
   * Opens `model.safetensors`, or all shards of the index.
   *
   * @throws {SafetensorsError} neither is there, a shard is malformed, or index and shards disagree.
   */
  static async open(folder: string): Promise<SafetensorsFolder> {
    const index = await readIndex(folder)
    const names = index ? [...new Set(index.values())].sort() : [SINGLE]
    const files: SafetensorsFile[] = []
    try {
      for (const name of names) files.push(await openShard(folder, name, index !== null))
      const places = new Map<string, SafetensorsFile>()
      const entries = new Map<string, SafetensorsEntry>()
      files.forEach((file, at) => {
        for (const [name, entry] of file.entries) {
          const home = index ? index.get(name) : names[at]
          if (home === undefined) continue
          if (home !== names[at]) {
            throw new SafetensorsError(
              `${folder}: ${INDEX} places '${name}' in ${home}, but ${names[at] ?? ''} holds it.`,
            )
          }
          places.set(name, file)
          entries.set(name, entry)
        }
      })
      for (const [name, file] of index ?? []) {
        if (!entries.has(name))
          throw new SafetensorsError(`${folder}: ${INDEX} places '${name}' in ${file}, which does not hold it.`)
      }
      return new SafetensorsFolder(folder, places, files, entries)
    } catch (error) {
      await Promise.all(files.map((file) => file.close()))
      throw error
    }
  }

  /** @throws {SafetensorsError} there is no tensor of this name. */
  async load(name: string): Promise<SafetensorsTensor> {
    return this.file(name).load(name)
  }

  /** Rows of a tensor; see {@link SafetensorsFile.loadRows}. */
  async loadRows(name: string, from: number, to: number): Promise<SafetensorsTensor> {
    return this.file(name).loadRows(name, from, to)
  }

  private file(name: string): SafetensorsFile {
    const file = this.places.get(name)
    if (file) return file
    throw new SafetensorsError(`${this.folder}: there is no tensor '${name}' among ${this.entries.size}.`)
  }

  /** Reads one tensor as f32. */
  async loadFloat32(name: string): Promise<Float32Array<ArrayBuffer>> {
    return toFloat32(await this.load(name))
  }

  async close(): Promise<void> {
    await Promise.all(this.files.map((file) => file.close()))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

async function openShard(folder: string, name: string, indexed: boolean): Promise<SafetensorsFile> {
  try {
    return await SafetensorsFile.open(join(folder, name))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    const problem = indexed ? `${INDEX} names ${name}, which is not there` : `there is neither ${SINGLE} nor ${INDEX}`
    throw new SafetensorsError(`${folder}: ${problem}. Pickled weights (.bin, .pt) are not read; convert them.`, {
      cause: error,
    })
  }
}
