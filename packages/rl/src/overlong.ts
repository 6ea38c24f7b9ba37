/**
 * DAPO's soft penalty for completions that run long (arXiv 2503.14476, section 3.4, eq. 13): 0 up to L − B tokens, then
 * falling linearly to −factor at L, where truncation begins.
 */
export interface OverlongPenalty {
  /** B: tokens before the limit over which the penalty grows. DAPO: 4096 of 20 480. */
  readonly buffer: number
  /** The penalty at the limit and beyond. Default 1. */
  readonly factor?: number
  /** L. Default: the sampling limit of the stage. */
  readonly maxTokens?: number
}

/** What is added to the reward of a completion of `length` tokens; at most 0. */
export function overlongPenalty(length: number, { buffer, factor, maxTokens }: Required<OverlongPenalty>): number {
  return Math.max(-1, Math.min(0, (maxTokens - buffer - length) / buffer)) * factor
}
