/** A policy that runs out of memory: the failed micro-batch leaves nothing behind, and smaller ones give its gradient. */
import { createDevice, OutOfMemoryError, type Device } from '@revisual/tensor'
import type { TokenLoss } from '@revisual/rl'
import { expect, it } from 'vitest'
import { difference, nanoModel, samplePrompts } from '../../test/support.js'
import { createPolicy } from './policy.js'

const loss: TokenLoss = ({ logProbs }) => ({
  loss: 0,
  logProbGradients: logProbs.map(({ length }) => new Float32Array(length).fill(-0.1)),
})

async function prepare(device: Device) {
  const model = nanoModel(device)
  const prompts = await samplePrompts(model)
  const completionIds = model.encodeCompletion('<think> 3 + 5 = 8 </think> \\boxed{8}')
  const batch = (from: number, to: number) => ({
    sequences: Array.from({ length: to - from }, (_, i) => ({
      prompt: prompts[(from + i) % 3] as never,
      completionIds,
    })),
    temperature: 1,
    vocabulary: 'full' as const,
  })
  return { model, prompts, policy: createPolicy(model), batch }
}

it('drops what a failed micro-batch accumulated, and samples in smaller parts', async () => {
  const roomy = await createDevice()
  const { model: expectedModel, policy: expected, batch } = await prepare(roomy)
  const held = roomy.memory.liveBytes
  await expected.accumulate(batch(0, 3), loss)
  const one = roomy.memory.peakBytes
  await expected.accumulate(batch(3, 12), loss)
  const limit = Math.max(one, held) + Math.round((roomy.memory.peakBytes - one) * 0.6)

  const device = await createDevice({ memoryLimit: limit })
  const { model, policy, prompts, batch: again } = await prepare(device)
  await policy.accumulate(again(0, 3), loss)
  await expect(policy.accumulate(again(3, 12), loss)).rejects.toThrow(OutOfMemoryError)
  const before = device.memory.liveTensors().length
  await policy.discardGradients()
  for (let from = 0; from < 12; from += 3) await policy.accumulate(again(from, from + 3), loss)
  expect(device.memory.liveTensors().length).toBe(before)
  for (const name of ['model.layers.0.self_attn.q_proj.weight', 'model.embed_tokens.weight']) {
    const [a, b] = [await model.parameters.gradient(name).read(), await expectedModel.parameters.gradient(name).read()]
    const scale = Math.max(...b.map(Math.abs))
    expect(scale).toBeGreaterThan(0)
    expect(difference(a, b) / scale).toBeLessThan(1e-5)
  }

  roomy.memory.resetPeak()
  const requests = prompts.flatMap((prompt, index) => [0, 1].map((k) => ({ prompt, n: 4, seed: 10 * index + k })))
  const whole = await expected.sample(requests, { maxTokens: 8, temperature: 1 })
  const needed = roomy.memory.peakBytes - roomy.memory.liveBytes
  const small = await createDevice({ memoryLimit: Math.round(roomy.memory.liveBytes + 0.8 * needed) })
  const { policy: cramped } = await prepare(small)
  const inParts = await cramped.sample(requests, { maxTokens: 8, temperature: 1 })
  expect(inParts.map(({ completionIds }) => completionIds)).toEqual(whole.map(({ completionIds }) => completionIds))
  for (const opened of [roomy, device, small]) opened.destroy()
})
