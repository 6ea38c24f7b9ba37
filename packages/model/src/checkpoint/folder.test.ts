import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDevice, readSafetensors, writeSafetensors, type Device } from '@revisual/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { difference, fixture, nanoModel, samplePrompts } from '../../test/support.js'
import { parameterCount } from '../network/parameters.js'
import { questionPrompt } from '../prompt.js'
import { loadModel } from './folder.js'
import { saveModel } from './save.js'

let device: Device
let directory: string
beforeAll(async () => {
  device = await createDevice()
  directory = await mkdtemp(join(tmpdir(), 'revisual-folder-'))
})
afterAll(async () => {
  device.destroy()
  await rm(directory, { recursive: true })
})

const read = async (...path: string[]) =>
  JSON.parse(await readFile(join(directory, ...path), 'utf8')) as Record<string, unknown>

describe('saveModel and loadModel', () => {
  it('round-trip the nano model bit for bit, with everything around it', async () => {
    const model = nanoModel(device, 3)
    const target = join(directory, 'nano')
    await saveModel(model, target)
    expect((await readdir(target)).sort()).toEqual([
      'chat_template.jinja',
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'preprocessor_config.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ])
    const loaded = await loadModel(target, device)
    const values = await loaded.parameters.values()
    for (const [name, expected] of await model.parameters.values())
      expect(difference(values.get(name) as Float32Array, expected), name).toBe(0)
    expect(loaded.parts.config.architecture).toEqual(model.parts.config.architecture)
    expect(loaded.parts.processor).toEqual(model.parts.processor)
    expect(loaded.parts.generation).toEqual(model.parts.generation)
    expect(await samplePrompts(loaded)).toEqual(await samplePrompts(model))
    expect(loaded.encodeCompletion('\\boxed{8}')).toEqual(model.encodeCompletion('\\boxed{8}'))
    // Saving again replaces the folder and leaves nothing beside it.
    await saveModel(loaded, target)
    expect((await readdir(directory)).filter((name) => name.includes('nano'))).toEqual(['nano'])
    const { tensors, metadata } = await readSafetensors(join(target, 'model.safetensors'))
    expect(metadata).toEqual({ format: 'pt' })
    expect(tensors.has('lm_head.weight')).toBe(false)
    expect(tensors.has('visual.blocks.0.attn.qkv.weight')).toBe(true)
  })

  it('keeps keys of config.json it does not know', async () => {
    const source = join(directory, 'unknown-keys')
    await cp(fixture('models/qwen2_5_vl'), source, { recursive: true })
    const config = JSON.parse(await readFile(join(source, 'config.json'), 'utf8')) as object
    await writeFile(join(source, 'config.json'), JSON.stringify({ ...config, from_the_future: { a: [1] } }))
    const model = await loadModel(source, device)
    await saveModel(model, join(directory, 'kept'))
    expect(await read('kept', 'config.json')).toEqual({ ...config, from_the_future: { a: [1] }, dtype: 'float32' })
    expect(await read('kept', 'generation_config.json')).toMatchObject({ eos_token_id: 63 })
    expect(model.parts.generation).toEqual({ stopIds: [63], padId: null })
    expect(() => model.tokenizer).toThrow(/no tokenizer.json/)
  })

  it('reads the in-memory names of newer transformers', async () => {
    const source = join(directory, 'new-names')
    await cp(fixture('models/qwen2_5_vl-text'), source, { recursive: true })
    const { tensors } = await readSafetensors(join(source, 'model.safetensors'))
    const renamed = [...tensors].map(([name, tensor]) => {
      const inMemory = name.startsWith('visual.') ? `model.${name}` : name.replace(/^model\./, 'model.language_model.')
      return [inMemory, tensor] as const
    })
    await writeSafetensors(join(source, 'model.safetensors'), new Map(renamed))
    const [a, b] = [await loadModel(source, device), await loadModel(fixture('models/qwen2_5_vl-text'), device)]
    const values = await a.parameters.values()
    for (const [name, expected] of await b.parameters.values()) {
      expect(difference(values.get(name) as Float32Array, expected), name).toBe(0)
    }
  })

  it('says what is missing or wrong', async () => {
    const source = join(directory, 'broken')
    await cp(fixture('models/qwen2_5_vl-text'), source, { recursive: true })
    const { tensors } = await readSafetensors(join(source, 'model.safetensors'))
    const without = new Map(tensors)
    without.delete('model.norm.weight')
    await writeSafetensors(join(source, 'model.safetensors'), without)
    await expect(loadModel(source, device)).rejects.toThrow(/1 of \d+ tensors are missing.*model\.norm\.weight/)
    const norm = tensors.get('model.norm.weight')
    if (!norm) throw new Error('fixture')
    await writeSafetensors(
      join(source, 'model.safetensors'),
      new Map([...tensors, ['model.norm.weight', { ...norm, shape: [8, 8] }]]),
    )
    await expect(loadModel(source, device)).rejects.toThrow(/model\.norm\.weight has shape \[8, 8\]/)
    await writeFile(join(source, 'config.json'), '{')
    await expect(loadModel(source, device)).rejects.toThrow(/not JSON/)
    await expect(loadModel(directory, device)).rejects.toThrow(/config\.json is missing/)
  })
})

describe('createModel', () => {
  it('has the weights of its seed, and about a million of them', async () => {
    const values = await Promise.all([1, 1, 2].map((seed) => nanoModel(device, seed).parameters.values()))
    const [a, b, c] = values.map((all) => all.get('visual.merger.mlp.0.weight') as Float32Array)
    expect(difference(a ?? [], b ?? [])).toBe(0)
    expect(difference(a ?? [], c ?? [])).toBeGreaterThan(0.01)
    const weights = values[0]?.get('model.layers.0.mlp.gate_proj.weight') as Float32Array
    const mean = weights.reduce((sum, value) => sum + value, 0) / weights.length
    const deviation = Math.sqrt(weights.reduce((sum, value) => sum + (value - mean) ** 2, 0) / weights.length)
    expect(Math.abs(mean)).toBeLessThan(1.5e-3)
    expect(deviation).toBeCloseTo(0.06, 3)
    expect(parameterCount(nanoModel(device).parts.config.architecture)).toBe(959_680)
  })
})

describe('preparePrompt', () => {
  it('expands image placeholders and refuses a wrong number of images', async () => {
    const model = nanoModel(device)
    const [prompt] = await samplePrompts(model)
    const pad = model.parts.config.architecture.tokens.image
    expect(prompt?.ids.filter((id) => id === pad).length).toBe(8)
    expect(prompt?.text).toBe('<|vision_start|><|image_pad|><|vision_end|>what is the sum of the digits ?<|im_start|>')
    expect(prompt?.nextPosition).toBe((prompt?.ids.length ?? 0) - 8 + 4)
    const parts = { messages: [{ role: 'user', content: [{ type: 'image' }] }] } as const
    await expect(model.preparePrompt(parts)).rejects.toThrow(/1 image parts, but 0 images/)
    const typed = await model.preparePrompt(questionPrompt('<|image_pad|> the digits'))
    expect(typed.images).toEqual([])
    await expect(model.preparePrompt({ messages: [] })).resolves.toMatchObject({ text: '<|im_start|>' })
  })
})
