/**
 * Replies of the judge by the hash of what was asked: in memory, and in a JSONL file `{ key, reply }` that serves as cache
 * between runs and as recording for tests. Lines are only ever added; of a killed writer's half line the rest is kept.
 */
import { createHash } from 'node:crypto'
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** SHA-256 of a request. Address and key of the server are no part of it. */
export function requestKey(request: unknown): string {
  return createHash('sha256').update(JSON.stringify(request)).digest('hex')
}

function entryOf(line: string): readonly [key: string, reply: string] | null {
  try {
    const { key, reply } = JSON.parse(line) as { key?: unknown; reply?: unknown }
    return typeof key === 'string' && typeof reply === 'string' ? [key, reply] : null
  } catch {
    return null
  }
}

export class Replies {
  /** In order of use: the first is the one that goes when there are too many. */
  readonly #replies = new Map<string, string>()

  /**
   * @param most replies kept in memory
   * @param file read at the start and added to; null: memory only
   * @param isNew whether the file begins anew
   */
  constructor(
    readonly most: number,
    readonly file: string | null = null,
    isNew = false,
  ) {
    if (file === null) return
    mkdirSync(dirname(file), { recursive: true })
    if (isNew || !existsSync(file)) writeFileSync(file, '')
    const content = readFileSync(file, 'utf8')
    for (const line of content.split('\n')) {
      const entry = entryOf(line)
      if (entry !== null) this.#remember(...entry)
    }
    if (content !== '' && !content.endsWith('\n')) appendFileSync(file, '\n')
  }

  get(key: string): string | undefined {
    const reply = this.#replies.get(key)
    if (reply !== undefined) this.#remember(key, reply)
    return reply
  }

  set(key: string, reply: string): void {
    this.#remember(key, reply)
    if (this.file !== null) appendFileSync(this.file, `${JSON.stringify({ key, reply })}\n`)
  }

  #remember(key: string, reply: string): void {
    this.#replies.delete(key)
    this.#replies.set(key, reply)
    const [oldest] = this.#replies.keys()
    if (this.#replies.size > this.most && oldest !== undefined) this.#replies.delete(oldest)
  }
}
