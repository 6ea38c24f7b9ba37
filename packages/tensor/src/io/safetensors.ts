/**
 * Reading and writing safetensors files. Files may be larger than memory or than Node's largest Buffer: tensors are
 * read one by one, by range, and written piece by piece. A file appears under its name only when it is complete and on
 * disk.
 */
import { open, rename, rm, type FileHandle } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { toFloat32, type SafetensorsDType, type SafetensorsTensor } from './dtypes.js'
import { SafetensorsError } from './errors.js'
import { buildHeader, headerLength, parseHeader, type SafetensorsEntry, type SafetensorsHeader } from './header.js'

/** Most bytes asked of the system in one call. */
const PIECE_BYTES = 64 * 2 ** 20

interface ByteSource {
  readonly name: string
  readonly bytes: number
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>
  close(): Promise<void>
}

async function readRange(
  handle: FileHandle,
  offset: number,
  length: number,
  name: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length)
  for (let done = 0; done < length;) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(PIECE_BYTES, length - done), offset + done)
    if (bytesRead === 0) {
      throw new SafetensorsError(
        `${name}: the file ended at byte ${offset + done}; ${offset + length} were expected. It changed while being read.`,
      )
    }
    done += bytesRead
  }
  return bytes
}

async function openSource(source: string | Uint8Array): Promise<ByteSource> {
  if (typeof source !== 'string') {
    return {
      name: 'safetensors data',
      bytes: source.byteLength,
      read: async (offset, length) => new Uint8Array(source.subarray(offset, offset + length)),
      close: async () => {},
    }
  }
  const handle = await open(source, 'r')
  const status = await handle.stat()
  if (!status.isFile()) {
    await handle.close()
    throw new SafetensorsError(`${source} is not a file.`)
  }
  const { size } = status
  return {
    name: source,
    bytes: size,
    read: (offset, length) => readRange(handle, offset, length, source),
    close: () => handle.close(),
  }
}

/** An open file: its header is checked, its tensors are read when asked for. */
export class SafetensorsFile {
  private constructor(
    private readonly source: ByteSource,
    private readonly dataStart: number,
    private readonly header: SafetensorsHeader,
  ) {}

  /**
   * Opens a file, or bytes already in memory, and checks its header.
   *
   * @throws {SafetensorsError} naming what is wrong with the header, and where.
   */
  static async open(source: string | Uint8Array): Promise<SafetensorsFile> {
    const bytes = await openSource(source)
    try {
      const length = headerLength(await bytes.read(0, Math.min(8, bytes.bytes)), bytes.bytes, bytes.name)
      const json = await bytes.read(8, length)
      return new SafetensorsFile(bytes, 8 + length, parseHeader(json, bytes.bytes - 8 - length, bytes.name))
    } catch (error) {
      await bytes.close()
      throw error
    }
  }

  /** Type, shape and place of every tensor. */
  get entries(): ReadonlyMap<string, SafetensorsEntry> {
    return this.header.entries
  }

  get metadata(): Readonly<Record<string, string>> {
    return this.header.metadata
  }

  /**
   * Reads one tensor.
   *
   * @throws {SafetensorsError} there is no tensor of this name.
   */
  async load(name: string): Promise<SafetensorsTensor> {
    const { dtype, shape, begin, end } = this.entry(name)
    return { dtype, shape, data: await this.source.read(this.dataStart + begin, end - begin) }
  }

  /**
   * Reads rows `from` to below `to` of a tensor (its first axis), so that one larger than memory can pass through it.
   *
   * @throws {SafetensorsError} there is no tensor of this name, or it has no such rows.
   */
  async loadRows(name: string, from: number, to: number): Promise<SafetensorsTensor> {
    const { dtype, shape, begin, end } = this.entry(name)
    const [rows = 1, ...rest] = shape
    if (!(from >= 0 && from <= to && to <= rows)) {
      throw new SafetensorsError(`${this.source.name}: '${name}' has ${rows} rows; ${from} to ${to} were asked for.`)
    }
    const rowBytes = rows === 0 ? 0 : (end - begin) / rows
    const data = await this.source.read(this.dataStart + begin + from * rowBytes, (to - from) * rowBytes)
    return { dtype, shape: [to - from, ...rest], data }
  }

  private entry(name: string): SafetensorsEntry {
    const entry = this.entries.get(name)
    if (entry) return entry
    const some = [...this.entries.keys()].slice(0, 3).join("', '")
    throw new SafetensorsError(
      `${this.source.name}: there is no tensor '${name}' among ${this.entries.size}; names look like '${some}'.`,
    )
  }

  /** Reads one tensor as f32. */
  async loadFloat32(name: string): Promise<Float32Array<ArrayBuffer>> {
    return toFloat32(await this.load(name))
  }

  close(): Promise<void> {
    return this.source.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

export interface SafetensorsContents {
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>
  readonly metadata: Readonly<Record<string, string>>
}

/**
 * Reads a whole file. For files that need not fit in memory use {@link SafetensorsFile}.
 *
 * @throws {SafetensorsError} naming what is wrong with the header, and where.
 */
export async function readSafetensors(source: string | Uint8Array): Promise<SafetensorsContents> {
  const file = await SafetensorsFile.open(source)
  try {
    const tensors = new Map<string, SafetensorsTensor>()
    for (const name of file.entries.keys()) tensors.set(name, await file.load(name))
    return { tensors, metadata: file.metadata }
  } finally {
    await file.close()
  }
}

/** A tensor to write: its little-endian bytes, or a function that makes them when their turn comes. */
export interface SafetensorsInput {
  readonly dtype: SafetensorsDType
  readonly shape: readonly number[]
  readonly data: ArrayBufferView | (() => ArrayBufferView | Promise<ArrayBufferView>)
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(PIECE_BYTES, bytes.byteLength - done))
    done += bytesWritten
  }
}

/** Makes a rename in the directory survive a power cut. Windows has no such call. */
async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Writes a file under a temporary name beside it, syncs it to disk, and renames it.
 *
 * @param metadata Strings for `__metadata__`; `{ format: 'pt' }` is what transformers asks for.
 * @throws {SafetensorsError} a tensor's data have another length than its dtype and shape say.
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, SafetensorsInput>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const { bytes: header, plan } = buildHeader(tensors, metadata)
  const temporary = `${path}.${process.pid}.tmp`
  const handle = await open(temporary, 'w')
  try {
    try {
      await writeAll(handle, header)
      for (const { name, dtype, shape, begin, end } of plan) {
        const { data } = tensors.get(name) ?? {}
        const view = typeof data === 'function' ? await data() : data
        if (view?.byteLength !== end - begin) {
          throw new SafetensorsError(
            `${basename(path)}: tensor '${name}' is ${dtype}[${shape.join(', ')}], ${end - begin} bytes; its data have ${view?.byteLength ?? 0}.`,
          )
        }
        await writeAll(handle, new Uint8Array(view.buffer, view.byteOffset, view.byteLength))
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  await syncDirectory(dirname(path))
}
