/**
 * Which rows of an attention see which, as lists the kernels walk. Every kind of mask that consists of runs (causal rows
 * packed end to end, windows and frames, a cache longer than its queries, one prompt read by many continuations) is a
 * list of spans: a run of queries that sees a run of keys, wholly or up to a diagonal. From the spans the host makes
 * tiles: a few neighbouring rows and the runs of the other side they meet, cut where the diagonal ends them, so that
 * what nobody sees costs nothing. Gradients of keys walk the same lists from the keys' side, in a fixed order: that is
 * what makes sums over the many readers of a shared prompt the same on every run.
 */
import type { Device } from '../../device/device.js'
import { ShapeError } from '../../device/errors.js'
import type { Tensor } from '../../graph/tensor.js'

/** Neighbouring rows. */
export interface RowRange {
  readonly start: number
  readonly length: number
}

/** One sequence of a ragged batch: rows of q, and the rows of k and v they see. */
export interface AttentionSequence {
  /** No row of q may be in two sequences; rows in none attend to nothing and give 0. */
  readonly queries: RowRange
  /** Any rows of k and v, also rows that other sequences see. */
  readonly keys: RowRange
  /** Rows of k and v that come before `keys` and are seen by every query: a prompt shared with other sequences. */
  readonly prefix?: RowRange
  /**
   * Where `causal`: the place of the first query among `keys`; query i sees keys up to place i + queryOffset. Default
   * keys.length − queries.length, so that the last query sees all keys.
   */
  readonly queryOffset?: number
}

/** Queries that see keys: all of them, or those with key − query ≤ limit. */
interface Span {
  readonly queries: RowRange
  readonly keys: RowRange
  readonly limit: number
}

/** A limit no difference of rows exceeds, and with room to add a row number in i32. */
const NO_LIMIT = 2 ** 30

/** Words of a tile (start, length, first run, end of runs) and of a run (start, length, limit, unused). */
const WORDS = 4

interface Tile {
  readonly rows: RowRange
  readonly runs: readonly { readonly rows: RowRange; readonly limit: number }[]
}

/** Tiles of one side as the kernels read them. */
export interface TileList {
  readonly tiles: number
  /** u32 `[tiles + runs, 4]`. */
  readonly words: Tensor
}

const end = ({ start, length }: RowRange) => start + length

function checkRange(range: RowRange, what: string, index: number): void {
  const { start, length } = range
  if (!Number.isInteger(start) || !Number.isInteger(length) || start < 0 || length < 0 || end(range) >= NO_LIMIT) {
    throw new ShapeError(
      `attention sequence ${index}: ${what} start at ${start} and are ${length}; both must be integers ≥ 0, their sum below 2^30.`,
    )
  }
}

/** The sequences of one batch, for every layer that attends in the same way. Tile lists are made when first needed. */
export class AttentionPlan {
  private readonly spans: readonly Span[]
  private readonly words = new Map<string, { tiles: number; data: Uint32Array }>()
  private readonly uploaded = new Map<string, TileList>()
  /** Rows of q and of k the sequences reach to. */
  readonly queryRows: number
  readonly keyRows: number

  /**
   * @param options.causal A query sees its own keys only up to its place; see {@link AttentionSequence.queryOffset}.
   * @throws {ShapeError} a range is not one, or two sequences share a query.
   */
  constructor(
    private readonly device: Device,
    sequences: readonly AttentionSequence[],
    { causal = false }: { readonly causal?: boolean } = {},
  ) {
    sequences.forEach(({ queries, keys, prefix }, index) => {
      checkRange(queries, 'queries', index)
      checkRange(keys, 'keys', index)
      if (prefix) checkRange(prefix, 'prefix keys', index)
    })
    this.spans = sequences.flatMap((sequence) => spansOf(sequence, causal))
    this.queryRows = Math.max(0, ...sequences.map(({ queries }) => end(queries)))
    this.keyRows = Math.max(0, ...sequences.flatMap(({ keys, prefix }) => [end(keys), prefix ? end(prefix) : 0]))
    checkDisjoint(sequences)
  }

  /** Query rows whose mean run is no longer than `rows`, by which kernels choose their tile. */
  hasShortRuns(side: 'queries' | 'keys', rows: number): boolean {
    const total = this.spans.reduce((sum, span) => sum + span[side].length, 0)
    return total <= rows * this.spans.length
  }

  /** @internal Tiles of at most `size` rows that cover all `rows` rows of one side. */
  tiles(side: 'queries' | 'keys', rows: number, size: number): TileList {
    const key = `${side}:${rows}:${size}`
    const known = this.uploaded.get(key)
    // What was uploaded inside a scope went with it.
    if (known && !known.words.node.disposed) return known
    let made = this.words.get(key)
    if (!made) {
      const list = side === 'queries' ? queryTiles(this.spans, rows, size) : keyTiles(this.spans, rows, size)
      made = { tiles: list.length, data: pack(list) }
      this.words.set(key, made)
    }
    const words = this.device.tensor(made.data, [made.data.length / WORDS, WORDS])
    const result = { tiles: made.tiles, words }
    this.uploaded.set(key, result)
    return result
  }
}

function spansOf({ queries, keys, prefix, queryOffset }: AttentionSequence, causal: boolean): Span[] {
  const spans: Span[] = []
  if (prefix && prefix.length > 0) spans.push({ queries, keys: prefix, limit: NO_LIMIT })
  const offset = queryOffset ?? keys.length - queries.length
  if (keys.length > 0) {
    spans.push({ queries, keys, limit: causal ? keys.start - queries.start + offset : NO_LIMIT })
  }
  return spans.filter((span) => span.queries.length > 0)
}

function checkDisjoint(sequences: readonly AttentionSequence[]): void {
  const order = sequences.map(({ queries }, index) => ({ queries, index })).filter(({ queries }) => queries.length > 0)
  order.sort((a, b) => a.queries.start - b.queries.start)
  order.forEach(({ queries, index }, place) => {
    const before = order[place - 1]
    if (before && end(before.queries) > queries.start) {
      throw new ShapeError(
        `attention sequences ${before.index} and ${index} share query row ${queries.start}; a row of q may be in one sequence only.`,
      )
    }
  })
}

/** Cuts a run of rows into tiles and gives each the runs it meets. */
function cut(rows: RowRange, size: number, runsOf: (tile: RowRange) => Tile['runs']): Tile[] {
  const tiles: Tile[] = []
  for (let start = rows.start; start < end(rows); start += size) {
    const tile = { start, length: Math.min(size, end(rows) - start) }
    tiles.push({ rows: tile, runs: runsOf(tile).filter((run) => run.rows.length > 0) })
  }
  return tiles
}

function queryTiles(spans: readonly Span[], rows: number, size: number): Tile[] {
  const bySequence = new Map<number, Span[]>()
  for (const span of spans) {
    const list = bySequence.get(span.queries.start)
    if (list) list.push(span)
    else bySequence.set(span.queries.start, [span])
  }
  const tiles: Tile[] = []
  let covered = 0
  const empty = (until: number) => tiles.push(...cut({ start: covered, length: until - covered }, size, () => []))
  for (const start of [...bySequence.keys()].sort((a, b) => a - b)) {
    const own = bySequence.get(start) ?? []
    const queries = own[0]?.queries ?? { start, length: 0 }
    empty(start)
    tiles.push(
      ...cut(queries, size, (tile) =>
        own.map(({ keys, limit }) => ({
          rows: {
            start: keys.start,
            length: Math.max(0, Math.min(keys.length, end(tile) + limit - keys.start)),
          },
          limit,
        })),
      ),
    )
    covered = end(queries)
  }
  empty(rows)
  return tiles
}

function keyTiles(spans: readonly Span[], rows: number, size: number): Tile[] {
  const places = [0, rows, ...spans.flatMap(({ keys }) => [keys.start, end(keys)])]
  const bounds = [...new Set(places)].sort((a, b) => a - b)
  const starting = new Map<number, number[]>()
  spans.forEach(({ keys }, index) => {
    const list = starting.get(keys.start)
    if (list) list.push(index)
    else starting.set(keys.start, [index])
  })
  const tiles: Tile[] = []
  let active: number[] = []
  bounds.slice(0, -1).forEach((start, place) => {
    active = [...active, ...(starting.get(start) ?? [])].filter((index) => end((spans[index] as Span).keys) > start)
    active.sort((a, b) => a - b)
    const seen = active.map((index) => spans[index] as Span)
    tiles.push(
      ...cut({ start, length: (bounds[place + 1] ?? rows) - start }, size, (tile) =>
        seen.map(({ queries, limit }) => {
          const first = Math.max(queries.start, tile.start - limit)
          return { rows: { start: first, length: Math.max(0, end(queries) - first) }, limit }
        }),
      ),
    )
  })
  return tiles
}

function pack(tiles: readonly Tile[]): Uint32Array {
  const runs = tiles.reduce((sum, tile) => sum + tile.runs.length, 0)
  const data = new Uint32Array((tiles.length + runs) * WORDS)
  let next = tiles.length
  tiles.forEach((tile, index) => {
    data.set([tile.rows.start, tile.rows.length, next, next + tile.runs.length], index * WORDS)
    for (const run of tile.runs) data.set([run.rows.start, run.rows.length, run.limit >>> 0, 0], next++ * WORDS)
  })
  return data
}
