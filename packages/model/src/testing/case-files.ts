/**
 * Cases on disk: a folder with a tiny checkpoint (or a PEFT adapter beside its base) and `expected.json`,
 * `expected.safetensors` with what a reference computed. Any of the quantities may be missing; what is there must be well
 * formed.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, isAbsolute, join } from 'node:path'
import { readSafetensors, toFloat32, type SafetensorsTensor } from '@revisual/tensor'
import { isJsonObject, type JsonObject } from '../config/json.js'

export class CaseError extends Error {
  override readonly name = 'CaseError'
}

/** The fields of `expected.json`, read with errors that name them. */
export class ExpectedJson {
  constructor(
    readonly object: JsonObject,
    private readonly where: string,
  ) {}

  has(key: string): boolean {
    return this.object[key] !== undefined && this.object[key] !== null
  }

  number(key: string): number {
    const value = this.object[key]
    if (typeof value !== 'number') throw new CaseError(`${this.where}: '${key}' must be a number.`)
    return value
  }

  numberOr(key: string, fallback: number): number {
    return this.has(key) ? this.number(key) : fallback
  }

  /** A list of numbers; a batch of one ([[…]]) counts as its only row. */
  numbers(key: string): number[] {
    const value = this.object[key]
    const row: unknown = Array.isArray(value) && value.length === 1 && Array.isArray(value[0]) ? value[0] : value
    if (!Array.isArray(row) || !row.every((item): item is number => typeof item === 'number')) {
      throw new CaseError(`${this.where}: '${key}' must be a list of numbers.`)
    }
    return row
  }

  /** Rows of three numbers: grids. Absent gives none. */
  triples(key: string): [number, number, number][] {
    if (!this.has(key)) return []
    const value = this.object[key]
    const rows: unknown[] = Array.isArray(value) ? value : [null]
    return rows.map((row) => {
      const [t, h, w, more] = Array.isArray(row) ? (row as unknown[]) : []
      if (typeof t !== 'number' || typeof h !== 'number' || typeof w !== 'number' || more !== undefined) {
        throw new CaseError(`${this.where}: '${key}' must be a list of [t, h, w].`)
      }
      return [t, h, w]
    })
  }

  /** A map of numbers. */
  numberMap(key: string): [string, number][] {
    const value = this.object[key]
    const entries = isJsonObject(value) ? Object.entries(value) : []
    return entries.map(([name, item]) => {
      if (typeof item !== 'number') throw new CaseError(`${this.where}: '${key}.${name}' must be a number.`)
      return [name, item]
    })
  }

  child(key: string): ExpectedJson {
    const value = this.object[key]
    if (!isJsonObject(value)) throw new CaseError(`${this.where}: '${key}' must be an object.`)
    return new ExpectedJson(value, `${this.where}: ${key}`)
  }
}

/** What a reference computed for a case. */
export interface Expected {
  readonly json: ExpectedJson
  readonly tensors: ReadonlyMap<string, Float32Array>
}

export interface ModelCase {
  readonly name: string
  readonly directory: string
  /** Folder of the checkpoint: the case's own, or the base of its adapter. */
  readonly base: string
  readonly isAdapter: boolean
  readonly expected: Expected
  /** Inputs: the case's own where it has them, else those of its base. */
  readonly inputs: Expected
}

const isCase = (directory: string) =>
  ['expected.json', 'expected.safetensors'].some((file) => existsSync(join(directory, file)))

/** Folders of cases below a folder, or the folder itself. */
export function findCases(path: string, depth = 3): string[] {
  if (!existsSync(path)) throw new CaseError(`${path} does not exist.`)
  if (isCase(path)) return [path]
  if (depth === 0) return []
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => !entry.isFile() && !entry.name.startsWith('.'))
    .map((entry) => join(path, entry.name))
    .sort()
    .flatMap((directory) => findCases(directory, depth - 1))
}

export function readJsonFile(path: string): JsonObject {
  let json: unknown
  try {
    json = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new CaseError(`${path} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}.`, { cause })
  }
  if (!isJsonObject(json)) throw new CaseError(`${path} must hold an object.`)
  return json
}

const asFloats = (tensor: SafetensorsTensor): Float32Array => toFloat32(tensor)

async function readExpected(directory: string): Promise<Expected> {
  const [json, tensors] = [join(directory, 'expected.json'), join(directory, 'expected.safetensors')]
  const values = existsSync(tensors) ? (await readSafetensors(tensors)).tensors : new Map<string, SafetensorsTensor>()
  return {
    json: new ExpectedJson(existsSync(json) ? readJsonFile(json) : {}, json),
    tensors: new Map([...values].map(([name, tensor]) => [name, asFloats(tensor)])),
  }
}

/** The folder of an adapter's base model: named by the case or by the adapter, beside the case, in it, or absolute. */
function baseOf(directory: string, json: ExpectedJson): string {
  const adapter = readJsonFile(join(directory, 'adapter_config.json'))
  const names = [json.object['base'], adapter['base_model_name_or_path']].filter(
    (name): name is string => typeof name === 'string' && name !== '',
  )
  const places = names.flatMap((name) => [
    ...(isAbsolute(name) ? [name] : [join(dirname(directory), name), join(directory, name)]),
    join(dirname(directory), basename(name)),
  ])
  const found = [...places, directory].find((place) => existsSync(join(place, 'config.json')))
  if (found === undefined) {
    throw new CaseError(
      `${directory}: the base model of the adapter is not there; looked for ${[...new Set(places)].join(', ')}.`,
    )
  }
  return found
}

/** Reads a case. */
export async function readCase(directory: string): Promise<ModelCase> {
  const expected = await readExpected(directory)
  const isAdapter = existsSync(join(directory, 'adapter_config.json'))
  const base = isAdapter ? baseOf(directory, expected.json) : directory
  const inputs = expected.json.has('input_ids') || base === directory ? expected : await readExpected(base)
  return { name: basename(directory), directory, base, isAdapter, expected, inputs }
}
