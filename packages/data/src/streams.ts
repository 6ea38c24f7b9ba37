/**
 * Seeded streams of rows whose position can be saved. The one idea: what comes next is a function of the seed and a small
 * cursor, never of hidden state, so `restore(state())` on a fresh stream goes on with the same rows.
 */
import { createRandom } from './random.js'
import { isRecord, show } from './row.js'
import type { JsonValue, Row, RowStream } from './types.js'

/** An infinite stream with random access; its cursor is the index of the next row. */
export function indexedStream(row: (index: number) => Promise<Row>): RowStream {
  let index = 0
  return {
    async next(count) {
      checkCount(count)
      // The cursor moves before the wait, so that overlapping calls take different rows.
      const start = index
      index += count
      return Promise.all(Array.from({ length: count }, (_, offset) => row(start + offset)))
    },
    state: () => ({ index }),
    restore(state) {
      index = cursor(state, 'index')
    },
  }
}

export interface ArrayStreamOptions {
  readonly seed: number
  /** A new order each epoch, made from the seed and the epoch's number. Default true; false keeps the order given. */
  readonly shuffle?: boolean
}

/**
 * Rows of a list, over and over, each once per epoch.
 * @throws {RangeError} when the list is empty.
 */
export function arrayStream(rows: readonly Row[], { seed, shuffle = true }: ArrayStreamOptions): RowStream {
  if (rows.length === 0) throw new RangeError('arrayStream: the list of rows is empty; give at least one.')
  let order: { readonly epoch: number; readonly rows: readonly Row[] } = { epoch: -1, rows: [] }
  const inner = indexedStream(async (index) => {
    const epoch = Math.floor(index / rows.length)
    if (order.epoch !== epoch) order = { epoch, rows: shuffle ? createRandom(seed, epoch).shuffle(rows) : rows }
    return order.rows[index % rows.length] as Row
  })
  return {
    next: (count) => inner.next(count),
    state: () => ({ ...(inner.state() as { readonly index: number }), rows: rows.length }),
    restore(state) {
      const length = cursor(state, 'rows')
      if (length !== rows.length) {
        throw new RangeError(
          `arrayStream: the saved cursor is of a list of ${length} rows, this one has ${rows.length}. Resume with the data it was saved with.`,
        )
      }
      inner.restore(state)
    },
  }
}

export interface MixPart {
  readonly stream: RowStream
  /** Share of the rows that come from this stream, relative to the sum of all weights. */
  readonly weight: number
}

/**
 * Rows of several infinite streams; row i comes from a stream drawn by weight from (seed, i).
 * @throws {RangeError} for weights that are no positive numbers, or (from `next`) when one of the streams runs out.
 */
export function mixStreams(parts: readonly MixPart[], seed: number): RowStream {
  if (parts.length === 0) throw new RangeError('mixStreams: there is nothing to mix; give at least one stream.')
  for (const [index, { weight }] of parts.entries()) {
    if (!(weight > 0 && weight < Infinity))
      throw new RangeError(`mixStreams: weight ${index} is ${weight}; allowed: positive finite numbers.`)
  }
  const total = parts.reduce((sum, { weight }) => sum + weight, 0)
  const choose = (index: number) => {
    let left = createRandom(seed, index).uniform() * total
    const chosen = parts.findIndex(({ weight }) => (left -= weight) < 0)
    return chosen < 0 ? parts.length - 1 : chosen
  }
  let index = 0
  return {
    async next(count) {
      checkCount(count)
      const start = index
      index += count
      const choices = Array.from({ length: count }, (_, offset) => choose(start + offset))
      const drawn = await Promise.all(
        parts.map(async ({ stream }, part) => {
          const wanted = choices.filter((choice) => choice === part).length
          const rows = await stream.next(wanted)
          if (rows.length < wanted) {
            throw new RangeError(
              `mixStreams: stream ${part} ran out after ${rows.length} of ${wanted} rows; mix only streams that do not end, such as arrayStream.`,
            )
          }
          return rows[Symbol.iterator]()
        }),
      )
      return choices.map((choice) => (drawn[choice] as Iterator<Row>).next().value as Row)
    },
    state: () => ({ index, parts: parts.map(({ stream }) => stream.state()) }),
    restore(state) {
      const next = cursor(state, 'index')
      const saved = isRecord(state) ? state['parts'] : undefined
      if (!Array.isArray(saved) || saved.length !== parts.length) {
        throw new RangeError(
          `mixStreams: the saved cursor must hold the state of ${parts.length} streams, not ${show(saved)}.`,
        )
      }
      index = next
      parts.forEach(({ stream }, part) => stream.restore(saved[part] as JsonValue))
    },
  }
}

/** The first `limit` rows of a stream; after them `next` returns fewer rows than asked, then none. */
export function takeRows(stream: RowStream, limit: number): RowStream {
  checkCount(limit)
  let taken = 0
  return {
    async next(count) {
      checkCount(count)
      const wanted = Math.min(count, limit - taken)
      taken += wanted
      return wanted === 0 ? [] : stream.next(wanted)
    },
    state: () => ({ taken, inner: stream.state() }),
    restore(state) {
      taken = Math.min(cursor(state, 'taken'), limit)
      stream.restore((state as { readonly inner: JsonValue }).inner)
    },
  }
}

function checkCount(count: number): void {
  if (!Number.isSafeInteger(count) || count < 0)
    throw new RangeError(`A number of rows must be an integer of at least 0, not ${count}.`)
}

function cursor(state: JsonValue, field: string): number {
  const value = isRecord(state) ? state[field] : undefined
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
  throw new RangeError(
    `Cannot restore a stream from ${show(state)}: '${field}' must be an integer of at least 0. Give what state() returned.`,
  )
}
