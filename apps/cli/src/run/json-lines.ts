/**
 * An append-only file of JSON records. A process killed while writing leaves half a line at the end; reading ignores it and
 * {@link JsonLines.rewind} removes it together with everything after the checkpoint a run is resumed from.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { writeAtomically } from './atomic.js'

export class JsonLines<T> {
  constructor(readonly path: string) {}

  /** Written before it returns: a line is never lost to a later crash of this process. */
  append(record: T): void {
    appendFileSync(this.path, `${JSON.stringify(record)}\n`)
  }

  /** Complete records, oldest first. */
  read(): T[] {
    if (!existsSync(this.path)) return []
    const lines = readFileSync(this.path, 'utf8').split('\n')
    // What follows the last newline is empty, or half a record.
    return lines.slice(0, -1).map((line) => JSON.parse(line) as T)
  }

  /** Keeps the records `keep` says yes to. */
  rewind(keep: (record: T) => boolean): void {
    if (!existsSync(this.path)) return
    const kept = this.read().filter(keep)
    writeAtomically(this.path, kept.map((record) => `${JSON.stringify(record)}\n`).join(''))
  }
}
