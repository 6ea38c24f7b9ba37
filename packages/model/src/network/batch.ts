/**
 * Sequences into the arrays one forward pass reads. Sequences are packed into rows as long as the longest (first fit,
 * longest first), told apart by segment ids; or laid one to a row where the keys and values of each are wanted. An image
 * that several sequences hold is run through the tower once.
 */
import type { PreparedImage } from '../images/processor.js'
import type { ModelPrompt } from '../prompt.js'
import { noRow } from './rows.js'
import { paddingSegment } from './segments.js'

/** A prompt and the tokens after it that the model is fed. */
export interface FedSequence {
  readonly prompt: ModelPrompt
  readonly continuation: readonly number[]
}

export interface TokenLayout {
  readonly rows: number
  readonly length: number
  /** [rows·length] token ids; {@link noRow} at padding. */
  readonly ids: Uint32Array
  /** [3, rows·length] */
  readonly positions: Int32Array
  /** [rows, length]; absent when every row is one sequence without padding. */
  readonly segments?: Uint32Array
  /** Place of the first token of each sequence, in the order given. */
  readonly starts: readonly number[]
  /** Distinct images, in order of appearance. */
  readonly images: readonly PreparedImage[]
  /** [rows·length] merged cell (raster order, over `images`) at each place, or none. */
  readonly cells: Uint32Array
}

const lengthOf = ({ prompt, continuation }: FedSequence) => prompt.ids.length + continuation.length

/** Row and column of each sequence. */
function place(lengths: readonly number[], length: number, packed: boolean): { rows: number; starts: number[] } {
  if (!packed) return { rows: lengths.length, starts: lengths.map((_, row) => row * length) }
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

/** @param packed several short sequences share a row; otherwise row i is sequence i, padded on the right. */
export function layOutTokens(
  sequences: readonly FedSequence[],
  imageTokenId: number,
  mergeSize: number,
  packed: boolean,
): TokenLayout {
  const lengths = sequences.map(lengthOf)
  const length = Math.max(...lengths)
  const { rows, starts } = place(lengths, length, packed)
  const places = rows * length
  const ids = new Uint32Array(places).fill(noRow)
  const positions = new Int32Array(3 * places)
  const segments = new Uint32Array(places).fill(paddingSegment)
  const images: PreparedImage[] = []
  const firstCell = new Map<PreparedImage, number>()
  const cells = new Uint32Array(places).fill(noRow)
  let known = 0
  sequences.forEach(({ prompt, continuation }, index) => {
    const start = starts[index] as number
    const size = prompt.ids.length
    ids.set(prompt.ids, start)
    ids.set(continuation, start + size)
    segments.fill(index, start, start + (lengths[index] as number))
    for (let component = 0; component < 3; component++) {
      const offset = component * places + start
      positions.set(prompt.positions.subarray(component * size, (component + 1) * size), offset)
      for (let t = 0; t < continuation.length; t++) positions[offset + size + t] = prompt.nextPosition + t
    }
    const promptCells = prompt.images.flatMap((image) => {
      const count = (image.grid[0] * image.grid[1] * image.grid[2]) / mergeSize ** 2
      let first = firstCell.get(image)
      if (first === undefined) {
        first = known
        firstCell.set(image, known)
        images.push(image)
        known += count
      }
      const base = first
      return Array.from({ length: count }, (_, cell) => base + cell)
    })
    let next = 0
    prompt.ids.forEach((id, token) => {
      if (id === imageTokenId && next < promptCells.length) cells[start + token] = promptCells[next++] as number
    })
  })
  return {
    rows,
    length,
    ids,
    positions,
    ...(lengths.length === rows && lengths.every((size) => size === length) ? {} : { segments }),
    starts,
    images,
    cells,
  }
}
