/**
 * Sequences into the arrays one forward pass reads, in one of three layouts:
 * - `packed`: sequences end to end;
 * - `rows`: sequence i starts row i of rows as long as the longest, for when the keys and values of each are wanted;
 * - `shared`: a prompt that several sequences hold is fed once, and their continuations attend to it.
 * An image that several prompts hold is run through the tower once.
 */
import type { AttentionSequence, RowRange } from '@revisual/tensor'
import type { Architecture } from '../config/architecture.js'
import type { PreparedImage } from '../images/processor.js'
import type { ModelPrompt } from '../prompt.js'
import { noRow } from './rows.js'

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
  /** Which tokens see which, causally. */
  readonly attention: readonly AttentionSequence[]
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

function layOutRows(sequences: readonly FedSequence[], options: LayoutOptions, kind: 'packed' | 'rows'): TokenLayout {
  const lengths = sequences.map(({ prompt, continuation }) => prompt.ids.length + continuation.length)
  const longest = Math.max(...lengths)
  const attention: AttentionSequence[] = []
  const lastPromptPlace: number[] = []
  const continuationPlace: number[] = []
  let places = 0
  sequences.forEach(({ prompt }, index) => {
    const length = lengths[index] as number
    const rows = { start: places, length }
    attention.push({ queries: rows, keys: rows })
    const after = places + prompt.ids.length
    lastPromptPlace.push(after - 1)
    continuationPlace.push(after)
    places += kind === 'packed' ? length : longest
  })
  const writer = new TokenWriter(places, options)
  sequences.forEach((sequence, index) => {
    const after = continuationPlace[index] as number
    writer.prompt(sequence.prompt, after - sequence.prompt.ids.length)
    writer.continuation(sequence, after)
  })
  const { ids, positions, images, cells } = writer
  return { ids, positions, images, cells, attention, lastPromptPlace, continuationPlace }
}

function layOutShared(sequences: readonly FedSequence[], options: LayoutOptions): TokenLayout {
  const prompts = new Map<ModelPrompt, RowRange>()
  let places = 0
  const take = (length: number): RowRange => {
    const start = places
    places += length
    return { start, length }
  }
  for (const { prompt } of sequences) if (!prompts.has(prompt)) prompts.set(prompt, take(prompt.ids.length))
  const attention: AttentionSequence[] = [...prompts.values()].map((rows) => ({ queries: rows, keys: rows }))
  const lastPromptPlace: number[] = []
  const continuationPlace: number[] = []
  for (const { prompt, continuation } of sequences) {
    const prefix = prompts.get(prompt) as RowRange
    const rows = take(continuation.length)
    if (rows.length > 0) attention.push({ queries: rows, keys: rows, prefix })
    lastPromptPlace.push(prefix.start + prefix.length - 1)
    continuationPlace.push(rows.start)
  }
  const writer = new TokenWriter(places, options)
  for (const [prompt, { start }] of prompts) writer.prompt(prompt, start)
  sequences.forEach((sequence, index) => writer.continuation(sequence, continuationPlace[index] as number))
  const { ids, positions, images, cells } = writer
  return { ids, positions, images, cells, attention, lastPromptPlace, continuationPlace }
}
