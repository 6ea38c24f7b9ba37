/**
 * A run is a folder, and nothing else is an interface: `config.yaml` (resolved), `metrics.jsonl`, `samples/`,
 * `checkpoints/`, `best/`, `model/` (Hugging Face layout), `summary.json`, `report.html`, and what loggers write.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { MetricRecord, SampleRecord } from '@revisual/rl'
import { parse, stringify } from 'yaml'
import type { RunConfig } from '../config/schema.js'
import { UserError } from '../errors.js'
import { writeAtomically } from './atomic.js'
import type { RunSummary } from './records.js'

export type OpenMode = 'fresh' | 'resume' | 'overwrite'

const imageKinds = ['png', 'jpeg', 'webp'] as const
export type ImageKind = (typeof imageKinds)[number]

/** PNG, JPEG and WebP tell themselves apart by their first byte. */
export function imageKind(bytes: Uint8Array): ImageKind {
  return bytes[0] === 0x89 ? 'png' : bytes[0] === 0xff ? 'jpeg' : 'webp'
}

/** Everything a run folder may hold: what `--overwrite` may delete. */
const OWN_ENTRIES = new Set([
  'config.yaml',
  'metrics.jsonl',
  'samples',
  'checkpoints',
  'best',
  'metrics.csv',
  'tensorboard',
  'completions',
  'model',
  'adapter',
  'report.html',
  'summary.json',
])

/** Records of a JSONL file; what follows the last newline is half a record of a killed process. */
function readLines<T>(path: string): T[] {
  if (!existsSync(path)) return []
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line) as T)
}

export class RunFolder {
  constructor(readonly path: string) {}

  readMetrics(): MetricRecord[] {
    return readLines(join(this.path, 'metrics.jsonl'))
  }

  readSamples(): SampleRecord[] {
    return readLines(join(this.path, 'samples', 'training.jsonl'))
  }

  get model(): string {
    return join(this.path, 'model')
  }

  /** The adapter of a run that trained one; `model` then has it merged in. */
  get adapter(): string {
    return join(this.path, 'adapter')
  }

  /** Samples of a held-out evaluation. */
  evaluationFile(stage: string, task: string): string {
    return join(this.path, 'samples', `${stage}-${task}.jsonl`)
  }

  /** Keeps the images of a row, to be shown with its completions. */
  saveImages(id: string, images: readonly Uint8Array[]): void {
    for (const [index, bytes] of images.entries()) writeFileSync(this.imagePath(id, index, imageKind(bytes)), bytes)
  }

  /** Images kept for a row, in order. */
  readImages(id: string): Buffer[] {
    const find = (index: number) => imageKinds.map((kind) => this.imagePath(id, index, kind)).find(existsSync)
    const images: Buffer[] = []
    for (let path = find(0); path !== undefined; path = find(images.length)) images.push(readFileSync(path))
    return images
  }

  private imagePath(id: string, index: number, kind: ImageKind): string {
    return join(this.path, 'samples', 'images', `${id.replace(/[^A-Za-z0-9.-]/g, '_')}-${index}.${kind}`)
  }

  writeSummary(summary: RunSummary): void {
    writeAtomically(join(this.path, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`)
  }

  writeReport(html: string): void {
    writeAtomically(join(this.path, 'report.html'), html)
  }

  get isFinished(): boolean {
    return existsSync(join(this.path, 'summary.json'))
  }

  readSummary(): RunSummary {
    return JSON.parse(readFileSync(join(this.path, 'summary.json'), 'utf8')) as RunSummary
  }
}

/** Paths of values that differ, for the message of a refused resume. */
function differences(a: unknown, b: unknown, path = ''): string[] {
  if (isDeepStrictEqual(a, b)) return []
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return [path]
  const keys = new Set([...Object.keys(a), ...Object.keys(b)])
  const at = (value: object, key: string) => (value as { [key: string]: unknown })[key]
  return [...keys].flatMap((key) => differences(at(a, key), at(b, key), path === '' ? key : `${path}.${key}`))
}

function checkSameConfig(path: string, config: RunConfig): void {
  const before: unknown = parse(readFileSync(join(path, 'config.yaml'), 'utf8'))
  const changed = differences(before, JSON.parse(JSON.stringify(config)))
  if (changed.length === 0) return
  throw new UserError(
    `The run in ${path} was started with another configuration (${changed.slice(0, 5).join(', ')}${changed.length > 5 ? ', …' : ''} differ). ` +
      `Resume with the same one, give another 'out', or start afresh with --overwrite.`,
  )
}

function clear(path: string): void {
  const foreign = readdirSync(path).filter((entry) => !OWN_ENTRIES.has(entry))
  if (foreign.length > 0) {
    throw new UserError(
      `--overwrite would delete ${path}, which holds more than a run (${foreign.slice(0, 3).join(', ')}). Give another 'out'.`,
    )
  }
  rmSync(path, { recursive: true })
}

/**
 * Opens the folder of a run. `fresh` refuses one that exists; `resume` goes on with one, or starts it; `overwrite` deletes
 * what was there.
 */
export function openRunFolder(config: RunConfig, mode: OpenMode): RunFolder {
  const path = config.out
  const occupied = existsSync(path) && readdirSync(path).length > 0
  if (occupied && mode === 'fresh') {
    throw new UserError(
      `${path} exists already. Continue it with --resume, replace it with --overwrite, or give another 'out'.`,
    )
  }
  if (occupied && mode === 'resume' && !existsSync(join(path, 'config.yaml'))) {
    throw new UserError(
      `${path} is not a run folder (it has no config.yaml), so it cannot be resumed. Give another 'out'.`,
    )
  }
  if (occupied && mode === 'overwrite') clear(path)
  if (occupied && mode === 'resume') checkSameConfig(path, config)
  for (const folder of ['samples/images', 'checkpoints']) mkdirSync(join(path, folder), { recursive: true })
  if (!existsSync(join(path, 'config.yaml'))) writeAtomically(join(path, 'config.yaml'), stringify(config))
  return new RunFolder(path)
}
