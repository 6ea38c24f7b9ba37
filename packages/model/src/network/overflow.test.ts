/**
 * These models were trained in bf16, whose range is that of f32: the feed-forwards of published checkpoints leave f16's range
 * (vision block 31 of Qwen2.5-VL-3B, `linear_fc1` of Qwen3-VL-2B). Weights may be stored in f16; what they make may not be.
 * Here weights are scaled until the known spots pass 65504 by orders of magnitude, and everything stays finite, equal to
 * the same weights stored in f32, with gradients.
 */
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  abs,
  createDevice,
  fromFloat32,
  grad,
  linear,
  max,
  noGrad,
  readSafetensors,
  toFloat32,
  writeSafetensors,
  type Device,
  type SafetensorsInput,
  type Tensor,
} from '@revisual/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fixture } from '../../test/support.js'
import { loadModel } from '../checkpoint/folder.js'
import { generate } from '../generation/generate.js'
import type { VisionLanguageModel } from '../model.js'
import { casePrompt } from '../testing/case-prompt.js'
import { readCase } from '../testing/case-files.js'
import type { ModelPrompt } from '../prompt.js'
import { layoutOptions, layOutTokens } from './batch.js'
import { headWeight } from './decoder.js'
import { forward, type Network } from './forward.js'
import { plainProjection, type Weights } from './layers.js'
import { parameterName } from './parameters.js'

const largestHalf = 65504

let device: Device
let scratch: string
beforeAll(async () => {
  device = await createDevice()
  scratch = await mkdtemp(join(tmpdir(), 'revisual-overflow-'))
})
afterAll(async () => {
  device.destroy()
  await rm(scratch, { recursive: true })
})

/** A copy of a golden whose feed-forwards make values about 1e5 times as large, all weights exact in f16. */
async function scaledCopy(name: string): Promise<string> {
  const folder = join(scratch, name)
  await cp(fixture(`models/${name}`), folder, { recursive: true })
  const path = join(folder, 'model.safetensors')
  const { tensors } = await readSafetensors(path)
  const scaled = [...tensors].map(([key, tensor]): [string, SafetensorsInput] => {
    const gated = /mlp\.(gate|up)_proj\./.test(key)
    const factor = gated ? 316 : /mlp\.(fc1|linear_fc1)\./.test(key) ? 4e4 : /(down_proj|fc2)\./.test(key) ? 10 : 1
    const values = toFloat32(tensor).map((value) => value * factor)
    return [key, { dtype: 'F16', shape: tensor.shape, data: fromFloat32(values, 'F16', key) }]
  })
  await writeSafetensors(path, new Map(scaled))
  return folder
}

/** Weights that note the largest input and output of every second layer of a feed-forward. */
function watched(base: Weights): { weights: Weights; inputs: Map<string, Tensor>; outputs: Map<string, Tensor> } {
  const [inputs, outputs] = [new Map<string, Tensor>(), new Map<string, Tensor>()]
  const plain = base.project ?? plainProjection(base)
  const project = (name: string, x: Tensor, bias: boolean) => {
    const y = plain(name, x, bias)
    if (/mlp\.(down_proj|fc2|linear_fc2)$/.test(name)) {
      inputs.set(name, max(abs(x)))
      outputs.set(name, max(abs(y)))
    }
    return y
  }
  return { weights: Object.assign((name: string) => base(name), { project }), inputs, outputs }
}

const logitsOf = (network: Network, prompt: ModelPrompt): Tensor => {
  const layout = layOutTokens([{ prompt, continuation: [] }], layoutOptions(network.architecture), 'packed')
  return linear(forward(network, layout).hidden, headWeight(network.weights, network.architecture.text))
}

describe.each(['qwen2_vl', 'qwen2_5_vl', 'qwen3_vl'])('%s with weights in f16', (name) => {
  let half: VisionLanguageModel
  let full: VisionLanguageModel
  let prompt: ModelPrompt
  beforeAll(async () => {
    const folder = await scaledCopy(name)
    half = await loadModel(folder, device, { dtype: 'f16', adapter: { rank: 2, alpha: 2, targets: 'all-linear' } })
    full = await loadModel(folder, device, { frozen: true })
    prompt = casePrompt((await readCase(folder)).inputs, half.parts.config)
  })
  afterAll(() => {
    half.dispose()
    full.dispose()
  })

  it('passes the range of f16 where published checkpoints do, and stays finite', async () => {
    using _scope = device.scope()
    const { weights, inputs, outputs } = watched(half.network.weights)
    const logits = noGrad(() => logitsOf({ ...half.network, weights }, prompt))
    const spots = [...inputs.keys()]
    expect(spots.some((spot) => spot.startsWith('visual.'))).toBe(true)
    expect(spots.some((spot) => spot.startsWith('model.'))).toBe(true)
    const [values, ...peaks] = await device.read([logits, ...inputs.values(), ...outputs.values()])
    const [products, results] = [peaks.slice(0, spots.length), peaks.slice(spots.length)]
    const largest = (group: string, all: typeof peaks) =>
      Math.max(...all.flatMap((value, index) => (spots[index]?.startsWith(group) ? [value[0] as number] : [])))
    for (const group of ['visual.', 'model.']) {
      expect(largest(group, products), `${group} product`).toBeGreaterThan(largestHalf)
      expect(largest(group, results), `${group} down`).toBeGreaterThan(10 * largestHalf)
    }
    expect(peaks.every((value) => Number.isFinite(value[0]))).toBe(true)
    expect(values?.every((value) => Number.isFinite(value))).toBe(true)
  })

  it('equals the same weights in f32', async () => {
    using _scope = device.scope()
    const [a, b] = noGrad(() => [logitsOf(half.network, prompt), logitsOf(full.network, prompt)] as const)
    const [inHalf = [], inFull = []] = await device.read([a, b])
    const scale = Math.max(...Array.from(inFull, Math.abs))
    Array.from(inHalf).forEach((value, index) => {
      expect(Math.abs(value - (inFull[index] as number))).toBeLessThan(1e-4 * scale)
    })
  })

  it('generates and learns without infinities', async () => {
    const [sequence] = await generate(half.network, [{ prompt, n: 1, seed: 0 }], {
      maxTokens: 3,
      temperature: 0,
      stopIds: [],
    })
    expect(sequence?.logProbs.every((value) => Number.isFinite(value))).toBe(true)
    using _scope = device.scope()
    const names = half.parameters.trainable
    expect(names.some((key) => parameterName(key).startsWith('visual.'))).toBe(true)
    const gradients = grad(
      logitsOf(half.network, prompt).square().mean(),
      names.map((key) => half.parameters.get(key)),
    )
    const values = await device.read(gradients)
    values.forEach((gradient, index) => {
      expect(
        gradient.every((value) => Number.isFinite(value)),
        names[index],
      ).toBe(true)
    })
    // B starts at zero, so A has no gradient yet; B of tower and decoder has.
    for (const group of ['visual.', 'model.']) {
      const learns = names.filter((key) => parameterName(key).startsWith(group) && key.endsWith('lora_B.weight'))
      const moving = learns.filter((key) => values[names.indexOf(key)]?.some((value) => value !== 0))
      expect(moving.length, group).toBeGreaterThan(learns.length / 2)
    }
  })
})
