/**
 * Which part of the key-value cache belongs to whom: plain bookkeeping, no GPU. The cache is cut into blocks of equal
 * size (paged attention, Kwon et al., arXiv 2309.06180). A sequence reserves what it may need at most before it starts, so
 * a running sequence never waits for memory and never has to be thrown out; blocks are taken as it grows, so memory
 * follows what is used.
 */
export class BlockPool {
  /** Given-back blocks, the next to take last. */
  readonly #free: number[] = []
  #fresh: number
  #reserved = 0

  /**
   * @param blockSize tokens of a block.
   * @param budget blocks that may be reserved together.
   * @param first blocks below this one are never handed out.
   */
  constructor(
    readonly blockSize: number,
    readonly budget: number,
    private readonly first = 0,
  ) {
    this.#fresh = first
  }

  /** Blocks that hold this many tokens. */
  blocksFor(tokens: number): number {
    return Math.ceil(tokens / this.blockSize)
  }

  /** Blocks reserved now. */
  get reserved(): number {
    return this.#reserved
  }

  /** Blocks in use now. */
  get used(): number {
    return this.#fresh - this.first - this.#free.length
  }

  /** Blocks the cache must have room for. */
  get extent(): number {
    return this.#fresh
  }

  /** @returns false, and nothing reserved, when the budget does not allow it. */
  reserve(blocks: number): boolean {
    if (this.#reserved + blocks > this.budget) return false
    this.#reserved += blocks
    return true
  }

  /** Ends a reservation. */
  release(blocks: number): void {
    if (blocks > this.#reserved) throw new Error(`Internal: ${blocks} blocks released, ${this.#reserved} are reserved.`)
    this.#reserved -= blocks
  }

  /** A block, under a reservation. */
  take(): number {
    const block = this.#free.pop()
    if (block !== undefined) return block
    if (this.#fresh - this.first >= this.budget) throw new Error('Internal: more blocks taken than were reserved.')
    return this.#fresh++
  }

  giveBack(blocks: readonly number[]): void {
    // Neighbours come out in ascending order again, so long runs stay long.
    for (let index = blocks.length - 1; index >= 0; index--) this.#free.push(blocks[index] as number)
  }
}

/** Neighbouring cache slots. */
export interface SlotRun {
  readonly start: number
  readonly length: number
}

/** Appends the slots of the first `tokens` tokens in `blocks` to `runs`, joining what lies side by side. */
export function appendRuns(runs: SlotRun[], blocks: readonly number[], tokens: number, blockSize: number): void {
  for (let index = 0, left = tokens; left > 0; index++, left -= blockSize) {
    const start = (blocks[index] as number) * blockSize
    const length = Math.min(left, blockSize)
    const last = runs.at(-1)
    if (last && last.start + last.length === start) {
      runs[runs.length - 1] = { start: last.start, length: last.length + length }
    } else runs.push({ start, length })
  }
}
