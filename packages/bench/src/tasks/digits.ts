/** Arithmetic on held-out handwritten digits, seen or named in words. */
import { digitsEvalSet, type DigitKind, type DigitLevel, type DigitModality } from '@revisual/data'
import { mathScorer } from '../scorers.js'
import type { Task } from '../types.js'

export interface DigitsTaskOptions {
  /** Problems. Default 500. */
  readonly n?: number
  /** Another seed is another set of problems. Default 0. */
  readonly seed?: number
  /** Default all. */
  readonly kinds?: readonly DigitKind[]
  /** Default all. */
  readonly levels?: readonly DigitLevel[]
}

/** `digits-image` or `digits-text`. The question goes to the model as it is. */
export function digitsTask(
  modality: DigitModality,
  { n = 500, seed = 0, kinds, levels }: DigitsTaskOptions = {},
): Task {
  return {
    name: `digits-${modality}`,
    description: `Arithmetic on held-out handwritten digits ${modality === 'image' ? 'in images' : 'named in words'}`,
    load: () => digitsEvalSet({ modality, n, seed, ...(kinds && { kinds }), ...(levels && { levels }) }),
    prompt: ({ question }) => ({ question }),
    score: mathScorer,
    maxTokens: 64,
    categories: ['task', 'level'],
  }
}
