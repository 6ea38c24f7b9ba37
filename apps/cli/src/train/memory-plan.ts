/**
 * What a run will hold on the GPU, from the architecture and the configuration alone. Weights, gradients and optimizer
 * states are exact; activations are an upper estimate: what the backward pass keeps of a full micro-batch, counted
 * layer by layer in f32, the score matrices of composed attention apart because they depend on the lengths.
 */
import { keyValueBytesPerToken, parameterCount, planMemory, type Architecture, type PlanOptions } from '@revisual/model'
import type { RunConfig, StageConfig } from '../config/schema.js'
import { bytesText, textTable } from '../terminal/table.js'
import { planOptions } from './model.js'

const FLOAT = 4

export interface StageMemory {
  readonly stage: string
  readonly weights: number
  readonly gradients: number
  /** Two moments per parameter (AdamW). */
  readonly optimizer: number
  /** The frozen copy a KL term compares with. */
  readonly reference: number
  /** At most, for `tokensPerMicroBatch` tokens. */
  readonly activations: number
  /** Keys and values of all completions of a rollout at full length. */
  readonly keyValueCache: number
}

/** Values the backward pass keeps per token of the decoder. */
function decoderValuesPerToken({ text }: Architecture): number {
  const queries = text.heads * text.headSize
  const keys = text.keyValueHeads * text.headSize
  // Two norms and two residuals; q, k, v before and after rotation, attention's output; gate, up and their product.
  const layer = 4 * text.hiddenSize + 2 * (queries + 2 * keys) + 2 * queries + 3 * text.intermediateSize
  return text.layers * layer + 2 * text.hiddenSize
}

export function stageMemory(architecture: Architecture, stage: StageConfig, learning: PlanOptions = {}): StageMemory {
  const { parts } = planMemory(architecture, learning)
  const bytesOf = (...names: string[]) =>
    parts.filter(({ name }) => names.includes(name)).reduce((sum, { bytes }) => sum + bytes, 0)
  const weights = bytesOf('embedding and head', 'text', 'vision', 'adapter')
  // Over frozen weights the reference is the model without its adapter.
  const copied = learning.learns === undefined || learning.learns === 'all' ? weights : 0
  const sequences = stage.kind === 'rl' ? stage.promptsPerStep * stage.groupSize : 0
  const length = stage.kind === 'rl' ? stage.sampling.maxTokens : 0
  return {
    stage: stage.name,
    weights,
    gradients: bytesOf('gradients'),
    optimizer: bytesOf('AdamW moments'),
    reference: stage.kind === 'rl' && stage.kl !== null ? copied : 0,
    activations: stage.tokensPerMicroBatch * decoderValuesPerToken(architecture) * FLOAT,
    keyValueCache: sequences * length * keyValueBytesPerToken(architecture),
  }
}

/** The plan of all stages as text. */
export function memoryPlan(architecture: Architecture, config: RunConfig): string {
  const rows = config.stages.map((stage) => {
    const { weights, gradients, optimizer, reference, activations, keyValueCache } = stageMemory(
      architecture,
      stage,
      planOptions(config),
    )
    // Rollout and update do not overlap.
    const peak = weights + gradients + optimizer + reference + Math.max(activations, keyValueCache)
    return [stage.name, ...[weights, gradients, optimizer, reference, activations, keyValueCache, peak].map(bytesText)]
  })
  const head = ['stage', 'weights', 'gradients', 'AdamW', 'reference', 'activations ≤', 'KV cache ≤', 'peak ≤']
  const perToken = bytesText(keyValueBytesPerToken(architecture))
  return (
    `${parameterCount(architecture).toLocaleString('en')} parameters\n\n${textTable(head, rows)}\n\n` +
    `Activations are those of a full micro-batch (tokensPerMicroBatch); attention scores come on top. ` +
    `The KV cache is that of the completions; every prompt token adds ${perToken} once per prompt.`
  )
}
