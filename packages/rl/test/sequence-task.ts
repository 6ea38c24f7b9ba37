/**
 * A task small enough for a table: every prompt has an answer of two tokens, and half the reward is for leading tokens.
 * With it, stages that a test changes where it wants to.
 */
import { createRandom } from '../src/random.js'
import { combineRewards } from '../src/rewards/scorer.js'
import type { RlStage, SftStage } from '../src/trainer/stages.js'
import type { DataSource, JsonValue, RlExample, SftExample } from '../src/types.js'
import { TabularPolicy } from './tabular-policy.js'

export const PROMPTS = 3
export const answerOf = (prompt: number) => [1 + (prompt % 3), 2, 0]

/** An endless stream of prompts in an order made from the index. */
function stream<Example>(make: (prompt: number) => Example, limit = Infinity): DataSource<Example> {
  let index = 0
  return {
    next(count) {
      const taken = Math.min(count, limit - index)
      return Array.from({ length: taken }, () => make(createRandom(5, 'data', index++).below(PROMPTS)))
    },
    state: () => ({ index }),
    restore: (state: JsonValue) => {
      index = (state as { readonly index: number }).index
    },
  }
}

export const sftData = (limit?: number) =>
  stream((prompt): SftExample<number> => ({ id: String(prompt), prompt, completionIds: answerOf(prompt) }), limit)
export const rlData = (limit?: number) =>
  stream(
    (prompt): RlExample<number> => ({
      id: String(prompt),
      prompt,
      row: { answer: answerOf(prompt).slice(0, 2).join(' ') },
    }),
    limit,
  )

/** Share of the leading tokens that are right, and whether all are. */
const rewards = combineRewards([
  {
    name: 'accuracy',
    weight: 0.5,
    reward: ({ completions, rows }) => completions.map((text, index) => (text === rows[index]?.['answer'] ? 1 : 0)),
  },
  {
    name: 'prefix',
    weight: 0.5,
    reward: ({ completions, rows }) =>
      completions.map((text, index) => {
        const answer = (rows[index]?.['answer'] as string).split(' ')
        const wrong = answer.findIndex((token, position) => text.split(' ')[position] !== token)
        return wrong < 0 ? 1 : wrong / answer.length
      }),
  },
])

export const sft = (changes: Partial<SftStage<number>> = {}): SftStage<number> => ({
  name: 'cold-start',
  kind: 'sft',
  steps: 4,
  learningRate: 0.05,
  data: sftData(),
  batchSize: 4,
  tokensPerMicroBatch: 8,
  ...changes,
})

export const rl = (changes: Partial<RlStage<number>> = {}): RlStage<number> => ({
  name: 'rl',
  kind: 'rl',
  steps: 6,
  learningRate: { kind: 'cosine', from: 0.1, to: 0.01, warmupSteps: 2 },
  maxGradNorm: 1,
  data: rlData(),
  promptsPerStep: 4,
  groupSize: 6,
  sampling: { maxTokens: 4, temperature: 1 },
  tokensPerMicroBatch: 40,
  rewards,
  ...changes,
})

export const newPolicy = () => new TabularPolicy(PROMPTS, 4, 5)
