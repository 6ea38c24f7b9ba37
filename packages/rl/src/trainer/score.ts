/** Scoring many completions in micro-batches, and the token batches they are made of. */
import type { Completion, Policy, RlExample, TokenBatch, TokenScores } from '../types.js'
import type { MemoryBudget } from './memory-budget.js'
import { microBatches } from './micro-batches.js'

/** Completions with what scoring them needs. */
export interface ScorableBatch<Prompt> {
  readonly completions: readonly Completion[]
  readonly examples: readonly RlExample<Prompt>[]
  readonly temperature: number
  readonly policy: Policy<Prompt>
}

const promptOf = <Prompt>({ completions, examples }: ScorableBatch<Prompt>, index: number): Prompt => {
  const { requestIndex } = completions[index] as Completion
  return (examples[requestIndex] as RlExample<Prompt>).prompt
}

/** Prompt plus completion tokens. */
export function sequenceLength<Prompt>(batch: ScorableBatch<Prompt>, index: number): number {
  const { completionIds } = batch.completions[index] as Completion
  return batch.policy.promptLength(promptOf(batch, index)) + completionIds.length
}

/** The given completions as the policy takes them. */
export function tokenBatch<Prompt>(batch: ScorableBatch<Prompt>, indices: readonly number[]): TokenBatch<Prompt> {
  const sequences = indices.map((index) => {
    const { completionIds } = batch.completions[index] as Completion
    return { prompt: promptOf(batch, index), completionIds }
  })
  return { sequences, temperature: batch.temperature, vocabulary: 'sampling' }
}

export const lengthsOf = <Prompt>(batch: ScorableBatch<Prompt>, indices: readonly number[]): number[] =>
  indices.map((index) => sequenceLength(batch, index))

/** Micro-batches of some completions, as positions in `indices`. */
export const pieces = <Prompt>(batch: ScorableBatch<Prompt>, indices: readonly number[], tokens: number): number[][] =>
  microBatches(lengthsOf(batch, indices), tokens)

/** By index of completion. */
export interface CompletionScores {
  readonly logProbs: ReadonlyMap<number, Float32Array>
  readonly entropies: ReadonlyMap<number, Float32Array>
}

/** Log-probs and entropies of the given completions without gradient; repeated indices are scored once. */
export async function scoreAll<Prompt>(
  batch: ScorableBatch<Prompt>,
  indices: readonly number[],
  budget: MemoryBudget,
  score: (tokens: TokenBatch<Prompt>) => Promise<TokenScores>,
): Promise<CompletionScores> {
  const different = [...new Set(indices)]
  return budget.fit(lengthsOf(batch, different), async (budgetTokens) => {
    const logProbs = new Map<number, Float32Array>()
    const entropies = new Map<number, Float32Array>()
    for (const piece of pieces(batch, different, budgetTokens)) {
      const own = piece.map((position) => different[position] as number)
      const scores = await score(tokenBatch(batch, own))
      own.forEach((index, position) => {
        logProbs.set(index, scores.logProbs[position] as Float32Array)
        entropies.set(index, scores.entropies[position] as Float32Array)
      })
    }
    return { logProbs, entropies }
  })
}
