/**
 * What the autotuner found, as a file: by adapter and driver, by kind of product, the kernel that was fastest. Read with
 * suspicion, for it may come from anywhere: a file that is too large, of another version or not of this form is refused, and
 * a name nobody knows is never used. Written under a temporary name and renamed.
 */
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { AdapterError } from './errors.js'

const VERSION = 1
const MAX_BYTES = 1 << 20

/** Kernel names by product key, by adapter key. */
export type Tuning = Record<string, Record<string, string>>

/** Where tunings are kept unless told otherwise: `$XDG_CACHE_HOME/revisual/tuning.json`, by default under `~/.cache`. */
export function defaultTuningFile(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'revisual', 'tuning.json')
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** @throws {AdapterError} the text is not of this form. */
export function parseTuning(text: string, file: string): Tuning {
  const refuse = (reason: string) =>
    new AdapterError(`The tuning file '${file}' ${reason}. Delete it, or give another as 'tuningFile'.`)
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw refuse('is not JSON')
  }
  if (!isRecord(json) || json['version'] !== VERSION) throw refuse(`is not of version ${VERSION}`)
  if (!isRecord(json['adapters'])) throw refuse("has no object 'adapters'")
  const tuning: Tuning = Object.create(null) as Tuning
  for (const [adapter, choices] of Object.entries(json['adapters'])) {
    if (!isRecord(choices)) throw refuse(`has no object under '${adapter}'`)
    const entries = Object.entries(choices)
    for (const [key, kernel] of entries) {
      if (typeof kernel !== 'string') throw refuse(`names no kernel under '${adapter}', '${key}'`)
    }
    tuning[adapter] = Object.assign(Object.create(null), choices) as Record<string, string>
  }
  return tuning
}

/**
 * The tunings of a file; none when there is no file.
 *
 * @throws {AdapterError} the file is too large or not of this form.
 */
export async function readTuning(file: string): Promise<Tuning> {
  const found = await stat(file).catch(() => null)
  if (!found) return {}
  if (found.size > MAX_BYTES) {
    throw new AdapterError(`The tuning file '${file}' has ${found.size} bytes; ${MAX_BYTES} are allowed. Delete it.`)
  }
  return parseTuning(await readFile(file, 'utf8'), file)
}

export async function writeTuning(file: string, tuning: Tuning): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  const temporary = `${file}.${process.pid}.tmp`
  await writeFile(temporary, `${JSON.stringify({ version: VERSION, adapters: tuning }, null, 2)}\n`)
  await rename(temporary, file)
}
