/**
 * What one verdict may cost. Model output is hostile by accident or by training, so every loop draws on a budget of
 * steps and every size has a ceiling; past either the verdict is "undecided", never a hang and never a throw.
 */

export const LIMITS = {
  /** Characters of one answer. */
  answerLength: 4_000,
  /** Tokens of one answer. */
  tokens: 2_000,
  /** Nesting of brackets, powers and signs. */
  depth: 200,
  /** Bits of a numerator or denominator. */
  bits: 40_000,
  /** Elements of one list, set or tuple, and parts of one union. */
  elements: 256,
  /** Values that the ± signs of one expression stand for. */
  alternatives: 64,
  /** Characters at the end of a completion in which unmarked answers are looked for. */
  tail: 16_384,
} as const

/** Steps beyond those that grow with the input: 20 ms at 0.1 µs a step. A plain pair takes a few hundred. */
const FREE_STEPS = 200_000
const STEPS_PER_CHARACTER = 40

export class LimitError extends Error {}

/** Step counter with a ceiling. One per public call, so calls cannot influence each other. */
export class Work {
  steps = 0
  readonly #limit: number

  constructor(inputLength: number) {
    this.#limit = FREE_STEPS + STEPS_PER_CHARACTER * inputLength
  }

  /** Called before the work is done. @throws LimitError past the ceiling, and from then on. */
  spend(steps: number): void {
    if (this.steps + steps > this.#limit) {
      this.steps = this.#limit
      throw new LimitError(`more than ${this.#limit} steps`)
    }
    this.steps += steps
  }
}
