/**
 * The size of micro-batches, made smaller when memory runs out. The gradient does not depend on the size (denominators are
 * those of the whole batch), so a step that failed is done again from its beginning with half of it. What was found is kept
 * for the rest of the stage, and in its checkpoints.
 */
import { isOutOfMemory } from './device-errors.js'
import { microBatches } from './micro-batches.js'

export class MemoryBudget {
  #tokens: number

  /**
   * @param tokens most tokens of a micro-batch, padding included
   * @param onReduced told of every reduction
   */
  constructor(
    tokens: number,
    private readonly onReduced: (tokens: number, error: Error) => void,
  ) {
    this.#tokens = tokens
  }

  get tokens(): number {
    return this.#tokens
  }

  /**
   * Runs `attempt` until it fits into memory.
   *
   * @param lengths prompt plus completion tokens of the sequences it cuts into micro-batches
   * @param undo drops what a failed attempt left behind; absent: it leaves nothing
   * @throws the error of the last attempt, when its micro-batches were single sequences already
   */
  async fit<Result>(
    lengths: readonly number[],
    attempt: (tokens: number) => Promise<Result>,
    undo: (error: unknown) => void | Promise<void> = () => undefined,
  ): Promise<Result> {
    for (;;) {
      try {
        return await attempt(this.#tokens)
      } catch (error) {
        if (!isOutOfMemory(error)) throw error
        const reduced = half(lengths, this.#tokens)
        if (reduced === null) throw error
        await undo(error)
        this.#tokens = reduced
        this.onReduced(reduced, error as Error)
      }
    }
  }
}

/** Half of what the largest micro-batch takes; null when none can be cut any more. */
function half(lengths: readonly number[], tokens: number): number | null {
  const sizes = microBatches(lengths, tokens)
    .filter((piece) => piece.length > 1)
    .map((piece) => piece.length * Math.max(...piece.map((index) => lengths[index] as number)))
  return sizes.length === 0 ? null : Math.max(1, Math.floor(Math.max(...sizes) / 2))
}
