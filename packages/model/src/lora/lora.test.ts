import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TokenBatch, TokenLoss } from '@revisual/rl'
import {
  AdamW,
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
import { difference, fixture, nanoModel, readFixture, samplePrompts } from '../../test/support.js'
import { loadModel, saveAdapter } from '../checkpoint/folder.js'
import { saveModel } from '../checkpoint/save.js'
import { ConfigError } from '../config/json.js'
import { nanoConfig } from '../config/nano.js'
import type { GridThw } from '../images/processor.js'
import type { VisionLanguageModel } from '../model.js'
import { layOutTokens } from '../network/batch.js'
import { headWeight } from '../network/decoder.js'
import { forward, type Network } from '../network/forward.js'
import { pickRows } from '../network/rows.js'
import { createPolicy } from '../policy/policy.js'
import { promptFromIds, type ModelPrompt } from '../prompt.js'
import { adapterConfigJson, loraConfig, parseAdapterConfig } from './config.js'
import { fullMatches } from './pattern.js'
import { linearLayers, loraModules, modulePath } from './targets.js'

let device: Device
let directory: string
beforeAll(async () => {
  device = await createDevice()
  directory = await mkdtemp(join(tmpdir(), 'revisual-lora-'))
})
afterAll(async () => {
  device.destroy()
  await rm(directory, { recursive: true })
})

const at = (name: string) => join(directory, name)

interface BaseCase {
  readonly input_ids: readonly number[]
  readonly image_grid_thw: readonly GridThw[]
  readonly labels: readonly number[]
}

/** The golden prompt of the base. */
async function goldenPrompt(model: VisionLanguageModel): Promise<{ prompt: ModelPrompt; expected: BaseCase }> {
  const expected = readFixture<BaseCase>('models/qwen2_5_vl/expected.json')
  const { tensors } = await readSafetensors(fixture('models/qwen2_5_vl/expected.safetensors'))
  const pixels = toFloat32(tensors.get('pixel_values') as never)
  let offset = 0
  const images = expected.image_grid_thw.map((grid) => {
    const size = grid[0] * grid[1] * grid[2] * 96
    return { grid, pixelValues: pixels.slice(offset, (offset += size)) }
  })
  return { prompt: promptFromIds(model.parts.config, '', expected.input_ids, images), expected }
}

const hiddenOf = (network: Network, prompt: ModelPrompt) =>
  forward(network, layOutTokens([{ prompt, continuation: [] }], { visualTokenIds: [10], mergeSize: 2 }, 'packed'))
    .hidden

async function logitsOf(
  model: VisionLanguageModel,
  prompt: ModelPrompt,
  network = model.network,
): Promise<Float32Array> {
  using _scope = device.scope()
  const { weights, architecture } = network
  const logits = noGrad(() => linear(hiddenOf(network, prompt), headWeight(weights, architecture.text)))
  return (await logits.read()) as Float32Array
}

describe('an adapter of PEFT', () => {
  let model: VisionLanguageModel
  let prompt: ModelPrompt
  let expected: BaseCase
  const golden = readFixture<{ lr: number; losses: number[]; grad_norms: number[] }>(
    'models/qwen2_5_vl-lora/expected.json',
  )
  beforeAll(async () => {
    model = await loadModel(fixture('models/qwen2_5_vl'), device, { adapter: fixture('models/qwen2_5_vl-lora') })
    ;({ prompt, expected } = await goldenPrompt(model))
  })

  it('gives the logits PEFT gives', async () => {
    const { tensors } = await readSafetensors(fixture('models/qwen2_5_vl-lora/expected.safetensors'))
    const wanted = toFloat32(tensors.get('logits') as never)
    expect(difference(await logitsOf(model, prompt), wanted)).toBeLessThan(2e-4)
    const base = { ...model.network, weights: model.frozen?.weights.source as never }
    expect(difference(await logitsOf(model, prompt, base), wanted)).toBeGreaterThan(0.1)
  })

  it('is the same when merged, saved and loaded as a model', async () => {
    await saveModel(model, at('merged'), { dtype: 'f32' })
    const merged = await loadModel(at('merged'), device)
    expect(difference(await logitsOf(merged, prompt), await logitsOf(model, prompt))).toBeLessThan(2e-4)
    merged.dispose()
  })

  it('is the same when merged in place, and gone when unmerged', async () => {
    const [apart, base] = [
      await logitsOf(model, prompt),
      await logitsOf(model, prompt, { ...model.network, weights: model.frozen?.weights.source as never }),
    ]
    await model.mergeAdapter()
    expect(difference(await logitsOf(model, prompt), apart)).toBeLessThan(2e-4)
    await expect(model.mergeAdapter()).rejects.toThrow(/merged already/)
    await model.unmergeAdapter()
    expect(await logitsOf(model, prompt)).not.toEqual(base)
    const off = { ...model.network, weights: model.frozen?.weights.source as never }
    expect(difference(await logitsOf(model, prompt, off), base)).toBeLessThan(2e-4)
    await expect(model.unmergeAdapter()).rejects.toThrow(/not merged/)
  })

  it('comes back from a folder of its own, unknown fields kept', async () => {
    await saveAdapter(model, at('again'), 'qwen2_5_vl')
    const json = JSON.parse(await readFile(at('again/adapter_config.json'), 'utf8')) as Record<string, unknown>
    expect(json).toEqual({ ...readFixture<object>('models/qwen2_5_vl-lora/adapter_config.json') })
    const [written, original] = await Promise.all(
      [at('again'), fixture('models/qwen2_5_vl-lora')].map((path) =>
        readSafetensors(join(path, 'adapter_model.safetensors')),
      ),
    )
    expect([...(written?.tensors.keys() ?? [])].sort()).toEqual([...(original?.tensors.keys() ?? [])].sort())
    for (const [name, { data }] of original?.tensors ?? []) expect(written?.tensors.get(name)?.data, name).toEqual(data)
  })

  it('learns as PEFT with torch does', async () => {
    const { parameters } = model
    const optimizer = new AdamW(parameters, {})
    const places = expected.labels.flatMap((label, index) => (index > 0 && label !== -100 ? [index] : []))
    for (const [step, wanted] of golden.losses.entries()) {
      using _scope = device.scope()
      const rows = pickRows(
        hiddenOf(model.network, prompt),
        Uint32Array.from(places, (place) => place - 1),
      )
      const targets = device.tensor(Uint32Array.from(places, (place) => expected.labels[place] as number))
      const head = headWeight(model.network.weights, model.network.architecture.text)
      const loss = linearLogProb(rows, head, targets).logProbs.mean().neg()
      const names = parameters.trainable
      const gradients = grad(
        loss,
        names.map((name) => parameters.get(name)),
      )
      names.forEach((name, index) => parameters.accumulate(name, gradients[index] as Tensor))
      expect(Math.abs((await loss.item()) / wanted - 1)).toBeLessThan(1e-3)
      const norm = await parameters.gradNorm()
      expect(Math.abs(norm / (golden.grad_norms[step] as number) - 1)).toBeLessThan(3e-3)
      optimizer.update({ learningRate: golden.lr, weightDecay: 0 })
      parameters.zeroGrad()
    }
    await device.eval([])
  })
})

describe('training an adapter', () => {
  const loss: TokenLoss = ({ logProbs }) => ({
    loss: -logProbs.reduce((sum, row) => sum + row.reduce((a, b) => a + b, 0), 0),
    logProbGradients: logProbs.map((row) => new Float32Array(row.length).fill(-1)),
  })

  async function openNano(dropout = 0): Promise<{ model: VisionLanguageModel; batch: TokenBatch<ModelPrompt> }> {
    const whole = nanoModel(device)
    await saveModel(whole, at('nano'))
    whole.dispose()
    const model = await loadModel(at('nano'), device, { adapter: { rank: 4, dropout, targets: 'all-linear', seed: 7 } })
    const prompts = await samplePrompts(model)
    const sequences = prompts.map((prompt) => ({ prompt, completionIds: model.encodeCompletion('\\boxed{8}') }))
    return { model, batch: { sequences, temperature: 1, vocabulary: 'full' } }
  }

  it('begins as the base, moves away from it, and keeps it as the reference', async () => {
    const { model, batch } = await openNano()
    const policy = createPolicy(model)
    await policy.snapshotReference()
    const before = await policy.scoreReference(batch)
    expect((await policy.score(batch)).logProbs).toEqual(before.logProbs)
    for (let step = 0; step < 5; step++) {
      await policy.accumulate(batch, loss)
      expect((await policy.step({ learningRate: 1e-2, weightDecay: 0 })).applied).toBe(true)
    }
    expect((await policy.scoreReference(batch)).logProbs).toEqual(before.logProbs)
    const after = await policy.score(batch)
    const total = (rows: readonly Float32Array[]) => rows.reduce((sum, row) => sum + row.reduce((a, b) => a + b, 0), 0)
    expect(total(after.logProbs)).toBeGreaterThan(total(before.logProbs) + 10)
    model.dispose()
  })

  it('goes on to the same bits after save and load, dropout included', async () => {
    const run = async (interrupt: boolean) => {
      const opened = await openNano(0.3)
      let { model } = opened
      let policy = createPolicy(model)
      for (let step = 0; step < 4; step++) {
        if (interrupt && step === 2) {
          const state = await mkdtemp(at('state-'))
          await policy.save(state)
          model.dispose()
          ;({ model } = await openNano(0.3))
          policy = createPolicy(model)
          await policy.load(state)
        }
        await policy.accumulate(opened.batch, loss)
        await policy.step({ learningRate: 1e-2, weightDecay: 0 })
      }
      const values = await model.parameters.values()
      model.dispose()
      return values
    }
    const [whole, resumed] = [await run(false), await run(true)]
    expect(resumed).toEqual(whole)
  })

  it('drops inputs while learning only, another set in every micro-batch', async () => {
    const { model, batch } = await openNano(0.5)
    const policy = createPolicy(model)
    for (let step = 0; step < 2; step++) {
      await policy.accumulate(batch, loss)
      await policy.step({ learningRate: 1e-2, weightDecay: 0 })
    }
    const scored = (await policy.score(batch)).logProbs
    expect((await policy.score(batch)).logProbs).toEqual(scored)
    const [first, second] = [await policy.accumulate(batch, loss), await policy.accumulate(batch, loss)]
    expect(first.scores.logProbs).not.toEqual(scored)
    expect(first.scores.logProbs).not.toEqual(second.scores.logProbs)
    model.dispose()
  })

  it('samples from the adapted model', async () => {
    const { model, batch } = await openNano()
    const policy = createPolicy(model)
    for (let step = 0; step < 3; step++) {
      await policy.accumulate(batch, loss)
      await policy.step({ learningRate: 1e-2, weightDecay: 0 })
    }
    const requests = batch.sequences.map(({ prompt }, seed) => ({ prompt, n: 2, seed }))
    const sampled = await policy.sample(requests, { maxTokens: 6, temperature: 1 })
    const sequences = sampled.map(({ requestIndex, completionIds }) => ({
      prompt: requests[requestIndex]?.prompt as ModelPrompt,
      completionIds,
    }))
    const scores = await policy.score({ sequences, temperature: 1, vocabulary: 'sampling' })
    scores.logProbs.forEach((row, index) => expect(difference(row, sampled[index]?.logProbs ?? [])).toBeLessThan(1e-4))
    model.dispose()
  })

  it('learns over a base of four bits, which stays as it is', async () => {
    const { model: whole } = await openNano()
    whole.dispose()
    const model = await loadModel(at('nano'), device, { adapter: { rank: 4, seed: 7 }, dtype: 'int4' })
    const prompts = await samplePrompts(model)
    const sequences = prompts.map((prompt) => ({ prompt, completionIds: model.encodeCompletion('\\boxed{8}') }))
    const batch: TokenBatch<ModelPrompt> = { sequences, temperature: 1, vocabulary: 'full' }
    const policy = createPolicy(model)
    const before = await policy.scoreReference(batch)
    const losses: number[] = []
    for (let step = 0; step < 6; step++) {
      losses.push((await policy.accumulate(batch, loss)).loss)
      await policy.step({ learningRate: 1e-2, weightDecay: 0 })
    }
    expect(losses.at(-1)).toBeLessThan(0.7 * (losses[0] as number))
    expect((await policy.scoreReference(batch)).logProbs).toEqual(before.logProbs)
    model.dispose()
  })

  it.each([
    ['f16', 'f16', 0.02],
    ['bf16', 'bf16', 0.1],
    ['int8', 'q8', 0.15],
    ['int4', 'q4', 2.5],
  ] as const)('holds the base in %s', async (dtype, stored, tolerance) => {
    const { model, batch } = await openNano()
    const half = await loadModel(at('nano'), device, { frozen: true, dtype })
    expect(half.frozen?.weights.get('model.layers.0.mlp.up_proj.weight').dtype).toBe(stored)
    const [exact, rounded] = [await createPolicy(model).score(batch), await createPolicy(half).score(batch)]
    exact.logProbs.forEach((row, index) =>
      expect(difference(row, rounded.logProbs[index] as Float32Array)).toBeLessThan(tolerance),
    )
    expect(rounded.logProbs).not.toEqual(exact.logProbs)
    model.dispose()
    half.dispose()
  })
})

describe('targets', () => {
  const { architecture } = nanoConfig()
  const paths = (targets: Parameters<typeof loraConfig>[0]) =>
    loraModules(architecture, loraConfig(targets)).map(({ name }) => modulePath(name))

  it('match as PEFT matches', () => {
    const all = linearLayers(architecture).map(({ name }) => modulePath(name))
    expect(paths({ rank: 2, targets: 'all-linear' })).toEqual(all)
    expect(all).toContain('model.visual.merger.mlp.2')
    expect(all).not.toContain('lm_head')
    expect(paths({ rank: 2, targets: ['q_proj', 'visual.merger.mlp.0'] })).toEqual(
      all.filter((path) => path.endsWith('.q_proj') || path === 'model.visual.merger.mlp.0'),
    )
    expect(paths({ rank: 2 }).every((path) => path.startsWith('model.language_model.layers.'))).toBe(true)
    expect(paths({ rank: 2, targets: 'all-linear', exclude: { pattern: '.*visual.*' } })).toEqual(paths({ rank: 2 }))
  })

  it('have ranks and scales of their own', () => {
    const modules = loraModules(
      architecture,
      loraConfig({
        rank: 4,
        alpha: 8,
        rslora: true,
        targets: ['q_proj'],
        rankPattern: { 'layers.1.self_attn.q_proj': 16 },
        alphaPattern: { 'layers\\.[12]\\..*': 2 },
      }),
    )
    expect(modules.map(({ rank }) => rank)).toEqual([4, 16, 4, 4])
    expect(modules.map(({ scale }) => scale)).toEqual([4, 0.5, 1, 4])
  })

  it('that fit nothing are refused', () => {
    expect(() => paths({ rank: 2, targets: ['c_attn'] })).toThrow(/'c_attn' fits no linear layer.*q_proj/)
    expect(() => paths({ rank: 2, targets: { pattern: 'nothing' } })).toThrow(/selects none/)
    expect(() => paths({ rank: 2, targets: ['lm_head'] })).toThrow(/cannot be adapted/)
    expect(() => loraConfig({ rank: 0 })).toThrow(/rank is 0/)
  })

  it('that would match for ever are interrupted', () => {
    expect(() => fullMatches('(a+)+b', ['a'.repeat(60)], 'test')).toThrow(/took longer than/)
    expect(() => fullMatches('(', ['a'], 'test')).toThrow(/not a regular expression/)
  })
})

describe('adapter_config.json', () => {
  const json = readFixture<Record<string, unknown>>('models/qwen2_5_vl-lora/adapter_config.json')

  it('survives a round trip', () => {
    const { config, base } = parseAdapterConfig(json)
    expect(config).toMatchObject({ rank: 4, alpha: 8, dropout: 0, rslora: false })
    expect(adapterConfigJson(config, base, json)).toEqual(json)
  })

  it.each([
    ['use_dora', true],
    ['lora_bias', true],
    ['bias', 'all'],
    ['modules_to_save', ['lm_head']],
    ['layers_to_transform', [0]],
    ['layer_replication', [[0, 2]]],
    ['target_parameters', ['experts']],
    ['peft_type', 'IA3'],
    ['r', 0],
    ['target_modules', 3],
    ['use_rslora', 'yes'],
  ])('is refused where %s is %j', (key, value) => {
    expect(() => parseAdapterConfig({ ...json, [key]: value })).toThrow(ConfigError)
    expect(() => parseAdapterConfig({ ...json, [key]: value })).toThrow(new RegExp(key))
  })

  it('that fits another model is refused with the names', async () => {
    await saveWrong(at('wrong'))
    await expect(loadModel(fixture('models/qwen2_5_vl'), device, { adapter: at('wrong') })).rejects.toThrow(/missing/)
  })

  async function saveWrong(path: string): Promise<void> {
    const model = await loadModel(fixture('models/qwen2_5_vl'), device, { adapter: { rank: 2, targets: ['q_proj'] } })
    await saveAdapter(model, path, null)
    model.dispose()
    const file = join(path, 'adapter_config.json')
    const wrong = { ...(JSON.parse(await readFile(file, 'utf8')) as object), target_modules: ['q_proj', 'v_proj'] }
    await writeFile(file, JSON.stringify(wrong))
  }
})
