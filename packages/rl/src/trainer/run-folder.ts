/**
 * The part of a run folder that the trainer writes: `metrics.jsonl`, `samples/training.jsonl` and `checkpoints/`. Records are
 * appended at once; a checkpoint knows how many there were, and resuming cuts the files back to that, so that no step is
 * ever recorded twice.
 */
import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  truncateSync,
} from 'node:fs'
import { join } from 'node:path'
import type { MetricRecord, SampleRecord } from './records.js'

/** Lines of each file. */
export interface RecordCounts {
  readonly metrics: number
  readonly samples: number
}

const NEWLINE = 0x0a

/** Position after the first `count` lines, and how many there were. */
function prefix(content: Buffer, count: number): { bytes: number; lines: number } {
  let bytes = 0
  let lines = 0
  while (lines < count) {
    const end = content.indexOf(NEWLINE, bytes)
    if (end < 0) break
    bytes = end + 1
    lines++
  }
  return { bytes, lines }
}

/** Cuts a file back to its first `count` lines. @returns lines left, fewer when the file had fewer */
function cutBack(path: string, count: number): number {
  if (!existsSync(path)) return 0
  const { bytes, lines } = prefix(readFileSync(path), count)
  truncateSync(path, bytes)
  return lines
}

/** Makes what was appended survive a power cut. */
function syncFile(path: string): void {
  if (!existsSync(path)) return
  const file = openSync(path, 'r+')
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

export class RunFolder {
  constructor(readonly path: string) {
    mkdirSync(join(path, 'samples'), { recursive: true })
    mkdirSync(this.checkpoints, { recursive: true })
  }

  get metrics(): string {
    return join(this.path, 'metrics.jsonl')
  }

  get samples(): string {
    return join(this.path, 'samples', 'training.jsonl')
  }

  get checkpoints(): string {
    return join(this.path, 'checkpoints')
  }

  /** The policy at its best evaluation. */
  get best(): string {
    return join(this.path, 'best')
  }

  /** Every record so far. */
  readMetrics(): MetricRecord[] {
    if (!existsSync(this.metrics)) return []
    const lines = readFileSync(this.metrics, 'utf8').split('\n').slice(0, -1)
    return lines.map((line) => JSON.parse(line) as MetricRecord)
  }

  /** Whether a run has left records or checkpoints here. */
  get isUsed(): boolean {
    const recorded = [this.metrics, this.samples].some((path) => existsSync(path) && readFileSync(path).length > 0)
    return recorded || readdirSync(this.checkpoints).length > 0
  }

  appendMetrics(record: MetricRecord): void {
    appendFileSync(this.metrics, `${JSON.stringify(record)}\n`)
  }

  appendSamples(record: SampleRecord): void {
    appendFileSync(this.samples, `${JSON.stringify(record)}\n`)
  }

  /** Called before a checkpoint says how many records there are. */
  sync(): void {
    syncFile(this.metrics)
    syncFile(this.samples)
  }

  /** Removes all records after the first `counts`. @returns what is there now */
  rewind(counts: RecordCounts): RecordCounts {
    return { metrics: cutBack(this.metrics, counts.metrics), samples: cutBack(this.samples, counts.samples) }
  }
}
