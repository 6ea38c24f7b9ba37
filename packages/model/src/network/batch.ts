/**
 * Sequences into the arrays one forward pass reads, in one of three layouts:
 * - `packed`: rows as long as the longest sequence, filled with several sequences (first fit, longest first);
 * - `rows`: row i is sequence i, for when the keys and values of each are wanted;
 * - `shared`: a prompt that several sequences hold is fed once, and their continuations attend to it.
 * An image that several prompts hold is run through the tower once.
 */
import type { Architecture } from '../config/architecture.js'
import type { PreparedImage } from '../images/processor.js'
import type { ModelPrompt } from '../prompt.js'
import { noRow } from './rows.js'
import { paddingSegment } from './segments.js'
import type { AttentionPlan } from './token-attention.js'

/** A prompt and the tokens after it that the model is fed. */
export interface FedSequence {
  readonly prompt: ModelPrompt
  readonly continuation: readonly number[]
}

export type LayoutKind = 'packed' | 'rows' | 'shared'

/** N places for tokens. */
export interface TokenLayout {
  /** [N] token ids; {@link noRow} at padding. */
  readonly ids: Uint32Array
  /** [3, N] */
  readonly positions: Int32Array
  /** Distinct images and videos, in order of appearance. */
  readonly images: readonly PreparedImage[]
  /** [N] merged cell (raster order, over `images`) at each place, or none. */
  readonly cells: Uint32Array
  readonly attention: AttentionPlan
  /** Per sequence: place of the last prompt token, and of the first token after the prompt (if any). */
  readonly lastPromptPlace: readonly number[]
  readonly continuationPlace: readonly number[]
}

export interface LayoutOptions {
  /** Ids that stand for a visual token: of images, and of videos. */
  readonly visualTokenIds: readonly number[]
  readonly mergeSize: number
}

export function layoutOptions({ tokens, vision }: Pick<Architecture, 'tokens' | 'vision'>): LayoutOptions {
  return { visualTokenIds: [tokens.image, tokens.video], mergeSize: vision.mergeSize }
}

/** Fills the arrays of a layout. */
class TokenWriter {
  readonly ids: Uint32Array
  readonly positions: Int32Array
  readonly cells: Uint32Array
  readonly images: PreparedImage[] = []
  readonly #firstCell = new Map<PreparedImage, number>()
  #knownCells = 0

  constructor(
    private readonly places: number,
    private readonly options: LayoutOptions,
  ) {
    this.ids = new Uint32Array(places).fill(noRow)
    this.positions = new Int32Array(3 * places)
    this.cells = new Uint32Array(places).fill(noRow)
  }

  prompt({ ids, positions, images }: ModelPrompt, start: number): void {
    const size = ids.length
    this.ids.set(ids, start)
    for (let component = 0; component < 3; component++) {
      const own = positions.subarray(component * size, (component + 1) * size)
      this.positions.set(own, component * this.places + start)
    }
    const cells = images.flatMap((image) => this.#cellsOf(image))
    let next = 0
    ids.forEach((id, token) => {
      if (next < cells.length && this.options.visualTokenIds.includes(id))
        this.cells[start + token] = cells[next++] as number
    })
  }

  continuation({ prompt, continuation }: FedSequence, start: number): void {
    this.ids.set(continuation, start)
    for (let component = 0; component < 3; component++) {
      const offset = component * this.places + start
      for (let t = 0; t < continuation.length; t++) this.positions[offset + t] = prompt.nextPosition + t
    }
  }

  #cellsOf(image: PreparedImage): number[] {
    const [t, h, w] = image.grid
    const count = (t * h * w) / this.options.mergeSize ** 2
    let first = this.#firstCell.get(image)
    if (first === undefined) {
      first = this.#knownCells
      this.#firstCell.set(image, first)
      this.images.push(image)
      this.#knownCells += count
    }
    const base = first
    return Array.from({ length: count }, (_, cell) => base + cell)
  }
}

/** Lays sequences out. At least one must be given. */
export function layOutTokens(sequences: readonly FedSequence[], options: LayoutOptions, kind: LayoutKind): TokenLayout {
  return kind === 'shared' ? layOutShared(sequences, options) : layOutRows(sequences, options, kind)
}

/** Row and column of each sequence, as one place. */
function packRows(lengths: readonly number[], length: number): { rows: number; starts: number[] } {
  const order = lengths
    .map((_, index) => index)
    .sort((a, b) => (lengths[b] as number) - (lengths[a] as number) || a - b)
  const used: number[] = []
  const starts = new Array<number>(lengths.length)
  for (const index of order) {
    const size = lengths[index] as number
    let row = used.findIndex((taken) => taken + size <= length)
    if (row < 0) row = used.push(0) - 1
    starts[index] = row * length + (used[row] as number)
    used[row] = (used[row] as number) + size
  }
  return { rows: used.length, starts }
}

function layOutRows(sequences: readonly FedSequence[], options: LayoutOptions, kind: 'packed' | 'rows'): TokenLayout {
  const lengths = sequences.map(({ prompt, continuation }) => prompt.ids.length + continuation.length)
  const length = Math.max(...lengths)
  const { rows, starts } =
    kind === 'packed'
      ? packRows(lengths, length)
      : { rows: lengths.length, starts: lengths.map((_, row) => row * length) }
  const writer = new TokenWriter(rows * length, options)
  const segments = new Uint32Array(rows * length).fill(paddingSegment)
  const lastPromptPlace: number[] = []
  const continuationPlace: number[] = []
  sequences.forEach((sequence, index) => {
    const start = starts[index] as number
    const after = start + sequence.prompt.ids.length
    writer.prompt(sequence.prompt, start)
    writer.continuation(sequence, after)
    segments.fill(index, start, start + (lengths[index] as number))
    lastPromptPlace.push(after - 1)
    continuationPlace.push(after)
  })
  const plain = lengths.length === rows && lengths.every((size) => size === length)
  const { ids, positions, images, cells } = writer
  const attention = { kind: 'rows', rows, length, ...(plain ? {} : { segments }) } as const
  return { ids, positions, images, cells, attention, lastPromptPlace, continuationPlace }
}

/** A run of tokens that is one row of attention. */
interface AttentionRow {
  readonly start: number
  readonly length: number
  /** The prompt's run, for a continuation. */
  readonly prefix?: { readonly start: number; readonly length: number }
}

function layOutShared(sequences: readonly FedSequence[], options: LayoutOptions): TokenLayout {
  const prompts = new Map<ModelPrompt, { start: number; length: number }>()
  let places = 0
  const take = (length: number) => {
    const start = places
    places += length
    return { start, length }
  }
  for (const { prompt } of sequences) if (!prompts.has(prompt)) prompts.set(prompt, take(prompt.ids.length))
  const rows: AttentionRow[] = [...prompts.values()]
  const lastPromptPlace: number[] = []
  const continuationPlace: number[] = []
  for (const { prompt, continuation } of sequences) {
    const prefix = prompts.get(prompt) as { start: number; length: number }
    const run = take(continuation.length)
    if (run.length > 0) rows.push({ ...run, prefix })
    lastPromptPlace.push(prefix.start + prefix.length - 1)
    continuationPlace.push(run.start)
  }
  const writer = new TokenWriter(places, options)
  for (const [prompt, { start }] of prompts) writer.prompt(prompt, start)
  sequences.forEach((sequence, index) => writer.continuation(sequence, continuationPlace[index] as number))
  const { ids, positions, images, cells } = writer
  return { ids, positions, images, cells, attention: sharedPlan(rows, places), lastPromptPlace, continuationPlace }
}

function sharedPlan(rows: readonly AttentionRow[], places: number): AttentionPlan {
  const queries = Math.max(...rows.map(({ length }) => length))
  const prefix = Math.max(...rows.map((row) => row.prefix?.length ?? 0))
  const keys = prefix + queries
  const queryPlaces = new Uint32Array(rows.length * queries).fill(noRow)
  const keyPlaces = new Uint32Array(rows.length * keys).fill(noRow)
  const back = new Uint32Array(places)
  rows.forEach(({ start, length, prefix: prompt }, row) => {
    for (let k = 0; k < (prompt?.length ?? 0); k++) keyPlaces[row * keys + k] = (prompt?.start ?? 0) + k
    for (let k = 0; k < length; k++) {
      queryPlaces[row * queries + k] = start + k
      keyPlaces[row * keys + prefix + k] = start + k
      back[start + k] = row * queries + k
    }
  })
  const segmentsOf = (at: Uint32Array) => at.map((place) => (place === noRow ? paddingSegment : 0))
  return {
    kind: 'shared',
    rows: rows.length,
    queries,
    prefix,
    queryPlaces,
    keyPlaces,
    querySegments: segmentsOf(queryPlaces),
    keySegments: segmentsOf(keyPlaces),
    back,
  }
}
