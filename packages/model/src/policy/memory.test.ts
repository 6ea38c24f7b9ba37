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
  const device = await createDevice()
  const { model, policy, prompts, batch } = await prepare(device)
  const names = ['model.layers.0.self_attn.q_proj.weight', 'model.embed_tokens.weight']
  const gradients = () => device.read(names.map((name) => model.parameters.gradient(name)))
  await policy.accumulate(batch(0, 3), loss)
  const one = device.memory.peakBytes
  await policy.accumulate(batch(3, 12), loss)
  const expected = await gradients()
  device.memory.limit = one + Math.round((device.memory.peakBytes - one) * 0.6)
  device.memory.trim()

  await policy.discardGradients()
  await policy.accumulate(batch(0, 3), loss)
  const before = device.memory.liveTensors().length
  await expect(policy.accumulate(batch(3, 12), loss)).rejects.toThrow(OutOfMemoryError)
  expect(device.memory.liveTensors().length).toBe(before)
  await policy.discardGradients()
  for (let from = 0; from < 12; from += 3) await policy.accumulate(batch(from, from + 3), loss)
  for (const [index, gradient] of (await gradients()).entries()) {
    const wanted = (expected[index] ?? new Float32Array()) as Float32Array
    const scale = Math.max(...wanted.map(Math.abs))
    expect(scale).toBeGreaterThan(0)
    expect(difference(gradient, wanted) / scale).toBeLessThan(1e-5)
  }

  device.memory.limit = Infinity
  device.memory.trim()
  device.memory.resetPeak()
  const requests = prompts.flatMap((prompt, index) => [0, 1].map((k) => ({ prompt, n: 4, seed: 10 * index + k })))
  const whole = await policy.sample(requests, { maxTokens: 8, temperature: 1 })
  const { liveBytes, peakBytes } = device.memory
  device.memory.trim()
  device.memory.limit = Math.round(liveBytes + 0.8 * (peakBytes - liveBytes))
  const inParts = await policy.sample(requests, { maxTokens: 8, temperature: 1 })
  expect(inParts.map(({ completionIds }) => completionIds)).toEqual(whole.map(({ completionIds }) => completionIds))
  device.destroy()
})

it('computes layers again instead of keeping their activations, with the same gradient', async () => {
  const device = await createDevice()
  const { model, policy, batch } = await prepare(device)
  const saving = createPolicy(model, { checkpointLayers: true })
  const names = [
    'model.layers.0.mlp.up_proj.weight',
    'model.layers.3.self_attn.v_proj.weight',
    'model.embed_tokens.weight',
  ]
  const results = []
  for (const each of [policy, saving]) {
    model.parameters.zeroGrad()
    await device.sync()
    device.memory.resetPeak()
    const held = device.memory.liveBytes
    await each.accumulate(batch(0, 6), loss)
    results.push({
      bytes: device.memory.peakBytes - held,
      gradients: await device.read(names.map((name) => model.parameters.gradient(name))),
    })
  }
  const [plain, checkpointed] = results
  expect(checkpointed?.bytes).toBeLessThan((plain?.bytes ?? 0) * 0.8)
  checkpointed?.gradients.forEach((gradient, i) => {
    const wanted = (plain?.gradients[i] ?? new Float32Array()) as Float32Array
    const scale = Math.max(...wanted.map(Math.abs))
    expect(scale).toBeGreaterThan(0)
    expect(difference(gradient as Float32Array, wanted) / scale).toBeLessThan(1e-5)
  })
  device.destroy()
})
