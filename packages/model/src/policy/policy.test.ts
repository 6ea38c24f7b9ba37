import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TokenBatch, TokenLoss, TokenSequence } from '@revisual/rl'
import { createDevice, type Device } from '@revisual/tensor'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { difference, nanoModel, samplePrompts } from '../../test/support.js'
import type { VisionLanguageModel } from '../model.js'
import type { ModelPrompt } from '../prompt.js'
import { createPolicy, type ModelPolicy } from './policy.js'

let device: Device
let model: VisionLanguageModel
let policy: ModelPolicy
let prompts: ModelPrompt[]
let fresh: Map<string, Float32Array>
let directory: string

beforeAll(async () => {
  device = await createDevice()
  model = nanoModel(device)
  policy = createPolicy(model, { betas: [0.9, 0.95] })
  prompts = await samplePrompts(model)
  fresh = await model.parameters.values()
  directory = await mkdtemp(join(tmpdir(), 'revisual-policy-'))
})
afterAll(async () => {
  device.destroy()
  await rm(directory, { recursive: true })
})
beforeEach(async () => {
  for (const [name, values] of fresh) model.parameters.write(name, values)
  model.parameters.zeroGrad()
  policy.setTrainable(['vision', 'text'])
  await policy.resetOptimizer()
})

const answers = ['<think> 3 + 5 = 8 </think> \\boxed{8}', '\\boxed{8}', '<think> 1 0 </think> \\boxed{10}']
const sequences = (): TokenSequence<ModelPrompt>[] =>
  prompts.flatMap((prompt, index) => [
    { prompt, completionIds: model.encodeCompletion(answers[index] as string) },
    { prompt, completionIds: model.encodeCompletion(answers[(index + 1) % 3] as string) },
  ])
const batchOf = (
  part: readonly TokenSequence<ModelPrompt>[],
  vocabulary: 'full' | 'sampling' = 'full',
  temperature = 1,
): TokenBatch<ModelPrompt> => ({
  sequences: part,
  vocabulary,
  temperature,
})

/** Mean negative log-prob minus a little entropy, over a total given from outside. */
const loss =
  (total: number): TokenLoss =>
  ({ logProbs, entropies }) => ({
    loss: logProbs.reduce((sum, row) => sum - row.reduce((a, b) => a + b, 0), 0) / total,
    logProbGradients: logProbs.map((row) => new Float32Array(row.length).fill(-1 / total)),
    entropyGradients: entropies.map((row) => Float32Array.from(row, (_, t) => (0.01 * (t + 1)) / total)),
  })
const total = () => sequences().reduce((sum, { completionIds }) => sum + completionIds.length, 0)

async function gradients(): Promise<Float32Array> {
  const names = model.parameters.names
  const values = await device.read(names.map((name) => model.parameters.gradient(name)))
  return Float32Array.from(values.flatMap((value) => [...value]))
}

describe('accumulate', () => {
  it('gives the same gradient for every split into micro-batches', async () => {
    const all = sequences()
    const report = await policy.accumulate(batchOf(all), loss(total()))
    const whole = await gradients()
    const scale = whole.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
    expect(scale).toBeGreaterThan(1e-3)
    for (const cuts of [
      [1, 3],
      [2, 4, 5],
    ]) {
      model.parameters.zeroGrad()
      let sum = 0
      for (const [index, start] of [0, ...cuts].entries()) {
        sum += (await policy.accumulate(batchOf(all.slice(start, cuts[index] ?? all.length)), loss(total()))).loss
      }
      expect(Math.abs(sum - report.loss)).toBeLessThan(1e-5)
      expect(difference(await gradients(), whole) / scale).toBeLessThan(1e-5)
    }
  })

  it('gives the gradient of the loss, by finite differences', async () => {
    const batch = batchOf(sequences().slice(0, 3), 'sampling', 1.3)
    const value = async () => {
      const { logProbs, entropies } = await policy.score(batch)
      const flat = (rows: readonly Float32Array[]) => rows.flatMap((row) => [...row].map((x, t) => [x, t] as const))
      return (
        flat(logProbs).reduce((sum, [x]) => sum - x, 0) +
        flat(entropies).reduce((sum, [x, t]) => sum + 0.01 * (t + 1) * x, 0)
      )
    }
    await policy.accumulate(batch, loss(1))
    for (const name of [
      'model.layers.1.self_attn.k_proj.weight',
      'visual.blocks.2.attn.qkv.weight',
      'model.embed_tokens.weight',
    ]) {
      const gradient = await model.parameters.gradient(name).read()
      const values = fresh.get(name) as Float32Array
      const norm = Math.hypot(...gradient)
      const along = async (step: number) => {
        model.parameters.write(
          name,
          values.map((x, i) => x + (step * (gradient[i] as number)) / norm),
        )
        return value()
      }
      const step = 0.02
      const slope = ((await along(step)) - (await along(-step))) / (2 * step)
      model.parameters.write(name, values)
      expect(Math.abs(slope - norm) / norm, name).toBeLessThan(2e-2)
    }
  })

  it('reports the scores that score() gives, and those of a lone sequence', async () => {
    const batch = batchOf(sequences(), 'sampling')
    const { scores } = await policy.accumulate(batch, loss(total()))
    const scored = await policy.score(batch)
    for (const [index, sequence] of batch.sequences.entries()) {
      const alone = await policy.score(batchOf([sequence], 'sampling'))
      for (const kind of ['logProbs', 'entropies'] as const) {
        expect(difference(scores[kind][index] as Float32Array, scored[kind][index] as Float32Array)).toBe(0)
        expect(difference(scores[kind][index] as Float32Array, alone[kind][0] as Float32Array)).toBeLessThan(1e-5)
      }
    }
  })

  it('takes empty completions and checks what the loss returns', async () => {
    const [first] = sequences() as [TokenSequence<ModelPrompt>]
    const empty = { ...first, completionIds: [] }
    const { scores } = await policy.accumulate(batchOf([empty, first]), loss(1))
    expect(scores.logProbs.map((row) => row.length)).toEqual([0, first.completionIds.length])
    expect((await policy.score(batchOf([empty]))).logProbs).toEqual([new Float32Array()])
    await expect(policy.accumulate(batchOf([first]), () => ({ loss: 0, logProbGradients: [] }))).rejects.toThrow(
      /sequence 0/,
    )
    await expect(policy.score(batchOf([first], 'full', 0))).rejects.toThrow(/temperature is 0/)
    await expect(policy.score(batchOf([{ ...first, completionIds: [64] }]))).rejects.toThrow(/completion id 64/)
  })

  it('leaves no tensors behind', async () => {
    await policy.accumulate(batchOf(sequences()), loss(1))
    await policy.step({ learningRate: 1e-3, weightDecay: 0 })
    const before = device.memory.liveTensors().length
    await policy.accumulate(batchOf(sequences()), loss(1))
    await policy.score(batchOf(sequences()))
    await policy.step({ learningRate: 1e-3, weightDecay: 0 })
    expect(device.memory.liveTensors().length).toBe(before)
  })
})

describe('step', () => {
  it('learns', async () => {
    const losses: number[] = []
    for (let step = 0; step < 8; step++) {
      losses.push((await policy.accumulate(batchOf(sequences()), loss(total()))).loss)
      expect((await policy.step({ learningRate: 2e-3, weightDecay: 0.01, maxGradNorm: 1 })).applied).toBe(true)
    }
    expect(losses.at(-1)).toBeLessThan((losses[0] as number) * 0.7)
  })

  it('drops gradients that are not finite and changes nothing', async () => {
    await policy.accumulate(batchOf(sequences()), (scores) => ({
      loss: NaN,
      logProbGradients: scores.logProbs.map((row) => new Float32Array(row.length).fill(NaN)),
    }))
    const { gradNorm, applied } = await policy.step({ learningRate: 1e-3, weightDecay: 0.1, maxGradNorm: 1 })
    expect(Number.isFinite(gradNorm)).toBe(false)
    expect(applied).toBe(false)
    for (const [name, values] of await model.parameters.values())
      expect(difference(values, fresh.get(name) as Float32Array)).toBe(0)
    expect(await model.parameters.gradNorm()).toBe(0)
  })

  it('leaves frozen groups alone', async () => {
    policy.setTrainable(['text'])
    await policy.accumulate(batchOf(sequences()), loss(total()))
    await policy.step({ learningRate: 1e-3, weightDecay: 0.1 })
    const changed = [...(await model.parameters.values())].filter(
      ([name, values]) => difference(values, fresh.get(name) as Float32Array) > 0,
    )
    expect(changed.length).toBeGreaterThan(20)
    expect(changed.some(([name]) => name.startsWith('visual.'))).toBe(false)
    expect(() => policy.setTrainable(['tower'])).toThrow(/'tower'/)
  })
})

describe('reference', () => {
  it('keeps scoring with the weights it was made from', async () => {
    const batch = batchOf(sequences())
    const before = await policy.score(batch)
    await policy.snapshotReference()
    await policy.accumulate(batch, loss(total()))
    await policy.step({ learningRate: 1e-2, weightDecay: 0 })
    const reference = await policy.scoreReference(batch)
    const after = await policy.score(batch)
    before.logProbs.forEach((row, index) => {
      expect(difference(row, reference.logProbs[index] as Float32Array)).toBe(0)
      expect(difference(row, after.logProbs[index] as Float32Array)).toBeGreaterThan(1e-3)
    })
  })
})

describe('save and load', () => {
  it.each([32, 8] as const)('continues with the same bits, moments of %d', async (momentBits) => {
    const other = nanoModel(device, 99)
    const resumed = createPolicy(other, { betas: [0.9, 0.95], momentBits })
    const policy = createPolicy(model, { betas: [0.9, 0.95], momentBits })
    const train = async (target: ModelPolicy, steps: number) => {
      for (let step = 0; step < steps; step++) {
        await target.accumulate(batchOf(sequences().slice(step % 2)), loss(total()))
        await target.step({ learningRate: 1e-3, weightDecay: 0.01, maxGradNorm: 1 })
      }
    }
    await policy.snapshotReference()
    await train(policy, 2)
    const saved = await mkdtemp(join(directory, 'state-'))
    await policy.save(saved)
    await resumed.load(saved)
    await train(policy, 2)
    await train(resumed, 2)
    const [a, b] = [await model.parameters.values(), await other.parameters.values()]
    for (const [name, values] of a) expect(difference(values, b.get(name) as Float32Array), name).toBe(0)
    const batch = batchOf(sequences())
    expect(await resumed.scoreReference(batch)).toEqual(await policy.scoreReference(batch))
    other.parameters.dispose()
  })
})

describe('sample', () => {
  it('gives text, ids and log-probs that score() confirms', async () => {
    const requests = prompts.map((prompt, index) => ({ prompt, n: 3, seed: index }))
    const completions = await policy.sample(requests, { maxTokens: 10, temperature: 0.8 })
    expect(completions.map(({ requestIndex, sampleIndex }) => [requestIndex, sampleIndex])).toEqual(
      [0, 1, 2].flatMap((request) => [0, 1, 2].map((sample) => [request, sample])),
    )
    const batch = batchOf(
      completions.map(({ requestIndex, completionIds }) => ({
        prompt: prompts[requestIndex] as ModelPrompt,
        completionIds,
      })),
      'sampling',
      0.8,
    )
    const { logProbs } = await policy.score(batch)
    completions.forEach((completion, index) => {
      expect(difference(completion.logProbs, logProbs[index] as Float32Array)).toBeLessThan(1e-4)
      const stopped = completion.finishReason === 'stop'
      expect(completion.text).toBe(
        model.tokenizer.decode(stopped ? completion.completionIds.slice(0, -1) : completion.completionIds),
      )
    })
    const small = createPolicy(model, { maxConcurrentSequences: 4 })
    expect(await small.sample(requests, { maxTokens: 10, temperature: 0.8 })).toEqual(completions)
  })

  it('knows the length of a prompt', () => {
    expect(prompts.map((prompt) => policy.promptLength(prompt))).toEqual(prompts.map(({ ids }) => ids.length))
  })
})
