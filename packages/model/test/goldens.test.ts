/** The network against transformers: vision output, positions, logits, loss, gradients, greedy ids, optimizer steps. */
import {
  AdamW,
  clipScale,
  createDevice,
  grad,
  linear,
  linearLogProb,
  noGrad,
  readSafetensors,
  toFloat32,
  type Device,
  type Tensor,
} from '@revisual/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadModel } from '../src/checkpoint/folder.js'
import { generate } from '../src/generation/generate.js'
import type { GridThw } from '../src/images/processor.js'
import type { VisionLanguageModel } from '../src/model.js'
import { layoutOptions, layOutTokens } from '../src/network/batch.js'
import { headWeight } from '../src/network/decoder.js'
import { forward } from '../src/network/forward.js'
import { parameterName } from '../src/network/parameters.js'
import { pickRows } from '../src/network/rows.js'
import { visionBatch, visionTower } from '../src/network/vision.js'
import { promptFromIds, type ModelPrompt } from '../src/prompt.js'
import { difference, fixture, readFixture } from './support.js'

interface Expected {
  readonly input_ids: readonly number[]
  readonly image_grid_thw: readonly GridThw[]
  readonly labels: readonly number[]
  readonly loss: number
  readonly grad_l2: Readonly<Record<string, number>>
  readonly greedy: readonly number[]
  readonly next_position?: number
  readonly adamw: {
    readonly lr: number
    readonly betas: readonly [number, number]
    readonly eps: number
    readonly weight_decay: number
    readonly max_grad_norm: number
    readonly losses: readonly number[]
    readonly grad_norms: readonly number[]
  }
}

let device: Device
beforeAll(async () => {
  device = await createDevice()
})
afterAll(() => device.destroy())

// The reference of the bf16 case cast the whole module to bf16 and back, and with it the rotary frequencies, which are exact
// here. With frequencies rounded the same way the difference is 7e-6.
describe.each([
  ['qwen2_vl', 2e-4],
  ['qwen2_5_vl', 2e-4],
  ['qwen3_vl', 2e-4],
  ['qwen2_5_vl-text', 2e-4],
  ['qwen2_5_vl-tied-bf16-sharded', 2e-3],
] as const)('%s', (name, tolerance) => {
  const expected = readFixture<Expected>(`models/${name}/expected.json`)
  const tensors = new Map<string, Float32Array>()
  let model: VisionLanguageModel
  let prompt: ModelPrompt

  beforeAll(async () => {
    const file = await readSafetensors(fixture(`models/${name}/expected.safetensors`))
    for (const [key, entry] of file.tensors) {
      tensors.set(
        key,
        entry.dtype === 'I32' ? Float32Array.from(new Int32Array(entry.data.slice().buffer)) : toFloat32(entry),
      )
    }
    model = await loadModel(fixture(`models/${name}`), device)
    const pixels = tensors.get('pixel_values') ?? new Float32Array()
    let offset = 0
    const images = expected.image_grid_thw.map((grid) => {
      const size = grid[0] * grid[1] * grid[2] * 96
      return { grid, pixelValues: pixels.slice(offset, (offset += size)) }
    })
    prompt = promptFromIds(model.parts.config, '', expected.input_ids, images)
  })

  const tensor = (key: string) => tensors.get(key) as Float32Array
  const layout = () => layOutTokens([{ prompt, continuation: [] }], layoutOptions(model.network.architecture), 'packed')

  /** Mean negative log-prob of the labels, as a graph. */
  const labelLogProbs = () => {
    const places = expected.labels.flatMap((label, index) => (index > 0 && label !== -100 ? [index] : []))
    const { hidden } = forward(model.network, layout())
    const rows = pickRows(
      hidden,
      Uint32Array.from(places, (place) => place - 1),
    )
    const targets = device.tensor(Uint32Array.from(places, (place) => expected.labels[place] as number))
    return linearLogProb(rows, headWeight(model.network.weights, model.network.architecture.text), targets).logProbs
  }

  it('places tokens', () => {
    if (!tensors.has('position_ids')) return expect(expected.image_grid_thw).toEqual([])
    expect([...prompt.positions]).toEqual([...tensor('position_ids')])
    expect(prompt.nextPosition).toBe(expected.next_position)
  })

  it('sees', async () => {
    if (!tensors.has('vision')) return expect(prompt.images).toEqual([])
    using _scope = device.scope()
    const { network } = model
    const batch = visionBatch(prompt.images, network.architecture)
    const output = noGrad(() => visionTower(device, network.weights, network.architecture.vision, batch))
    const raster = await noGrad(() => pickRows(output.merged, batch.rowOfCell)).read()
    expect(difference(raster, tensor('vision'))).toBeLessThan(tolerance)
  })

  it('gives the logits', async () => {
    using _scope = device.scope()
    const logits = noGrad(() =>
      linear(
        forward(model.network, layout()).hidden,
        headWeight(model.network.weights, model.network.architecture.text),
      ),
    )
    expect(difference(await logits.read(), tensor('logits'))).toBeLessThan(tolerance)
  })

  it('continues greedily', async () => {
    const [sequence] = await generate(model.network, [{ prompt, n: 1, seed: 0 }], {
      maxTokens: 16,
      temperature: 0,
      stopIds: [],
    })
    expect(sequence?.ids).toEqual(expected.greedy)
    expect(sequence?.finishReason).toBe('length')
  })

  it('gives the loss and every gradient', async () => {
    using _scope = device.scope()
    const logProbs = labelLogProbs()
    const loss = logProbs.mean().neg()
    const names = model.parameters.names
    const gradients = grad(
      loss,
      names.map((parameter) => model.parameters.get(parameter)),
    )
    expect(await loss.item()).toBeCloseTo(expected.loss, 4)
    const values = new Map((await device.read(gradients)).map((value, index) => [names[index] as string, value]))
    let checked = 0
    for (const [key, norm] of Object.entries(expected.grad_l2)) {
      const found = Math.hypot(...(values.get(parameterName(key)) as Float32Array))
      expect(Math.abs(found - norm), key).toBeLessThan(1e-3 * norm + 1e-6)
      checked++
    }
    expect(checked).toBeGreaterThan(20)
    const head = headKey(model)
    expect(difference(values.get(head) as Float32Array, tensor('grad.lm_head_or_embed'))).toBeLessThan(1e-3)
  })

  it('learns as torch does', async () => {
    const { lr, betas, eps, weight_decay, max_grad_norm, losses, grad_norms } = expected.adamw
    const { parameters } = model
    const optimizer = new AdamW(parameters, { betas, eps })
    for (let step = 0; step < losses.length; step++) {
      using _scope = device.scope()
      const loss = labelLogProbs().mean().neg()
      const names = parameters.trainable
      const gradients = grad(
        loss,
        names.map((key) => parameters.get(key)),
      )
      names.forEach((key, index) => parameters.accumulate(key, gradients[index] as Tensor))
      const value = await loss.item()
      const norm = await parameters.gradNorm()
      expect(Math.abs(value - (losses[step] as number)) / (losses[step] as number)).toBeLessThan(1e-3)
      expect(Math.abs(norm - (grad_norms[step] as number)) / (grad_norms[step] as number)).toBeLessThan(3e-3)
      optimizer.update({ learningRate: lr, weightDecay: weight_decay, gradScale: clipScale(norm, max_grad_norm) })
      parameters.zeroGrad()
    }
  })
})

const headKey = (model: VisionLanguageModel) =>
  model.parts.config.architecture.text.tiedHead ? 'model.embed_tokens.weight' : 'lm_head.weight'
