import { keyValueBytesPerToken, nanoConfig } from '@revisual/model'
import { expect, it } from 'vitest'
import { checkConfig } from '../config/read.js'
import { memoryPlan, stageMemory } from './memory-plan.js'

const { architecture } = nanoConfig()
const stage = {
  name: 'rl',
  kind: 'rl',
  steps: 1,
  promptsPerStep: 3,
  groupSize: 5,
  learningRate: 1,
  sampling: { maxTokens: 7 },
  rewards: [{ use: 'accuracy' }],
  kl: { coefficient: 0.1 },
  data: [{ source: 'digits', modality: 'text' }],
}
const config = checkConfig({ out: 'x', model: { preset: 'nano' }, stages: [stage] }, 'test')

it('counts weights, moments and the reference exactly', () => {
  const plan = stageMemory(architecture, config.stages[0] as never)
  // 959,680 parameters of 4 bytes.
  expect(plan).toMatchObject({ weights: 3_838_720, gradients: 3_838_720, optimizer: 7_677_440, reference: 3_838_720 })
  // 4 layers × keys and values × 2 heads × 32 × 4 bytes; 3 prompts × 5 completions × 7 tokens.
  expect(keyValueBytesPerToken(architecture)).toBe(2048)
  expect(plan.keyValueCache).toBe(15 * 7 * 2048)
})

it('grows activations with the micro-batch', () => {
  const half = stageMemory(architecture, { ...config.stages[0], tokensPerMicroBatch: 8192 } as never)
  expect(half.activations * 2).toBe(stageMemory(architecture, config.stages[0] as never).activations)
})

it('prints a row per stage', () => {
  expect(memoryPlan(architecture, config)).toMatch(/959,680 parameters[\s\S]*^rl +3\.7 MiB/m)
})
