import { createDevice, type Device } from '@revisual/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { difference, nanoModel, samplePrompts } from '../../test/support.js'
import type { VisionLanguageModel } from '../model.js'
import { scoreTokens } from '../policy/completion-batch.js'
import type { ModelPrompt } from '../prompt.js'
import { generate, type GenerationOptions } from './generate.js'
import { samplingMask } from './sampling-mask.js'

let device: Device
let model: VisionLanguageModel
let prompts: ModelPrompt[]
beforeAll(async () => {
  device = await createDevice()
  model = nanoModel(device)
  prompts = await samplePrompts(model)
})
afterAll(() => device.destroy())

const options = (more: Partial<GenerationOptions> = {}): GenerationOptions => ({
  maxTokens: 12,
  temperature: 1,
  stopIds: model.parts.generation.stopIds,
  mask: samplingMask(model),
  ...more,
})

describe('generate', () => {
  it('gives cached log-probs equal to a full forward pass, over several cache blocks', async () => {
    const requests = prompts.map((prompt, index) => ({ prompt, n: 2, seed: index }))
    const sequences = await generate(model.network, requests, options({ maxTokens: 70, stopIds: [] }))
    const batch = {
      sequences: sequences.map(({ requestIndex, ids }) => ({
        prompt: prompts[requestIndex] as ModelPrompt,
        completionIds: ids,
      })),
      temperature: 1,
      vocabulary: 'sampling',
    } as const
    using _scope = device.scope()
    const full = await scoreTokens(model.network, batch, samplingMask(model)).logProbs.read()
    expect(
      difference(
        full,
        sequences.flatMap(({ logProbs }) => logProbs),
      ),
    ).toBeLessThan(1e-4)
  })

  it('gives a request the same tokens alone and in a batch of unequal prompts', async () => {
    const requests = prompts.map((prompt, index) => ({ prompt, n: 3, seed: 10 + index }))
    const together = await generate(model.network, requests, options())
    for (const [index, request] of requests.entries()) {
      const alone = await generate(model.network, [request], options())
      const mine = together.filter(({ requestIndex }) => requestIndex === index)
      expect(alone.map(({ ids }) => ids)).toEqual(mine.map(({ ids }) => ids))
    }
  })

  it('orders samples, gives each its own randomness, and repeats them', async () => {
    const requests = [{ prompt: prompts[1] as ModelPrompt, n: 4, seed: 5 }]
    const first = await generate(model.network, requests, options())
    expect(first.map(({ sampleIndex }) => sampleIndex)).toEqual([0, 1, 2, 3])
    expect(new Set(first.map(({ ids }) => ids.join())).size).toBeGreaterThan(1)
    expect(await generate(model.network, requests, options())).toEqual(first)
    const [single] = await generate(model.network, [{ prompt: prompts[1] as ModelPrompt, n: 1, seed: 5 }], options())
    expect(single?.ids).toEqual(first[0]?.ids)
  })

  it('tells seeds above 32 bits apart and refuses others', async () => {
    const draw = (seed: number) =>
      generate(model.network, [{ prompt: prompts[1] as ModelPrompt, n: 1, seed }], options())
    const [low, high] = [await draw(5), await draw(5 + 2 ** 40)]
    expect(high[0]?.ids.join()).not.toBe(low[0]?.ids.join())
    await expect(draw(-1)).rejects.toThrow(/seed is -1/)
    await expect(draw(0.5)).rejects.toThrow(/seed is 0.5/)
  })

  it('drops finished rows without changing the others', async () => {
    // Any token may stop, so sequences end at very different lengths.
    const stopIds = Array.from({ length: 64 }, (_, id) => id).filter((id) => id % 5 === 2)
    const requests = prompts.map((prompt, index) => ({ prompt, n: 4, seed: 20 + index }))
    const stopping = await generate(model.network, requests, options({ maxTokens: 40, stopIds }))
    const free = await generate(model.network, requests, options({ maxTokens: 40, stopIds: [] }))
    stopping.forEach(({ ids, finishReason }, index) => {
      expect(ids).toEqual(free[index]?.ids.slice(0, ids.length))
      if (finishReason === 'stop') expect(stopIds).toContain(ids.at(-1))
      expect(ids.slice(0, -1).some((id) => stopIds.includes(id))).toBe(false)
    })
    expect(new Set(stopping.map(({ ids }) => ids.length)).size).toBeGreaterThan(2)
  })

  it('never samples placeholders, padding or unused rows, even when hot', async () => {
    const mask = samplingMask(model)
    const requests = prompts.map((prompt, index) => ({ prompt, n: 32, seed: 100 + index }))
    const sequences = await generate(model.network, requests, options({ temperature: 2, maxTokens: 24 }))
    const sampled = new Set(sequences.flatMap(({ ids }) => ids))
    for (const id of sampled) expect(mask[id], `token ${id}`).toBe(0)
    // Fresh weights sample nearly uniformly, so everything allowed turns up.
    expect(sampled.size).toBe(mask.filter((value) => value === 0).length)
    expect(sampled.has(model.tokenizer.tokenToId('<|im_end|>') as number)).toBe(true)
  })

  it('obeys top-k and top-p', async () => {
    const requests = [{ prompt: prompts[1] as ModelPrompt, n: 4, seed: 3 }]
    const greedy = await generate(model.network, requests, options({ temperature: 0 }))
    const narrow = await generate(model.network, requests, options({ topK: 1 }))
    const nucleus = await generate(model.network, requests, options({ topP: 1e-6 }))
    expect(narrow.map(({ ids }) => ids)).toEqual(greedy.map(({ ids }) => ids))
    expect(nucleus.map(({ ids }) => ids)).toEqual(greedy.map(({ ids }) => ids))
    expect(new Set(greedy.map(({ ids }) => ids.join())).size).toBe(1)
  })

  it('stops when aborted and says so', async () => {
    const signal = AbortSignal.abort()
    const [sequence] = await generate(
      model.network,
      [{ prompt: prompts[0] as ModelPrompt, n: 1, seed: 0 }],
      options({ signal, stopIds: [] }),
    )
    expect(sequence?.finishReason).toBe('aborted')
    expect(sequence?.ids.length).toBe(0)
  })

  it('leaves no tensors behind', async () => {
    const before = device.memory.liveTensors().length
    await generate(model.network, [{ prompt: prompts[0] as ModelPrompt, n: 2, seed: 0 }], options())
    expect(device.memory.liveTensors().length).toBe(before)
  })
})
