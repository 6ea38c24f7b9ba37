import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDevice, readSafetensors, type Device } from '@revisual/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fixture, nanoModel } from '../../test/support.js'
import { loadModel } from './folder.js'
import { cutShards, saveModel } from './save.js'

let device: Device
let directory: string
beforeAll(async () => {
  device = await createDevice()
  directory = await mkdtemp(join(tmpdir(), 'revisual-save-'))
})
afterAll(async () => {
  device.destroy()
  await rm(directory, { recursive: true })
})

const at = (...path: string[]) => join(directory, ...path)
const readJson = async (...path: string[]) => JSON.parse(await readFile(at(...path), 'utf8')) as Record<string, unknown>

describe('saveModel', () => {
  it('keeps the dtype of the checkpoint, its unknown keys and the bits of its weights', async () => {
    const name = 'qwen2_5_vl-tied-bf16-sharded'
    const model = await loadModel(fixture(`models/${name}`), device)
    await saveModel(model, at('kept'))
    const before = JSON.parse(await readFile(fixture(`models/${name}/config.json`), 'utf8')) as object
    expect(await readJson('kept', 'config.json')).toEqual(before)
    const { tensors } = await readSafetensors(at('kept', 'model.safetensors'))
    const shards = (await readdir(fixture(`models/${name}`))).filter((file) => file.startsWith('model-'))
    let compared = 0
    for (const shard of shards) {
      for (const [key, { data, dtype }] of (await readSafetensors(fixture(`models/${name}/${shard}`))).tensors) {
        const written = tensors.get(key.replace('model.language_model.', 'model.').replace('model.visual.', 'visual.'))
        expect(written?.dtype, key).toBe(dtype)
        expect(written?.data, key).toEqual(data)
        compared++
      }
    }
    expect(compared).toBe(tensors.size)
    model.dispose()
  })

  it('cuts shards, with an index that loads to the same bits', async () => {
    const model = nanoModel(device)
    await saveModel(model, at('shards'), { maxShardBytes: 500_000 })
    const files = (await readdir(at('shards'))).filter((file) => file.endsWith('.safetensors'))
    expect(files.length).toBeGreaterThan(5)
    expect(files[0]).toBe(`model-00001-of-${String(files.length).padStart(5, '0')}.safetensors`)
    const index = await readJson('shards', 'model.safetensors.index.json')
    expect(index['metadata']).toEqual({ total_parameters: 959_680, total_size: 4 * 959_680 })
    const again = await loadModel(at('shards'), device)
    expect(await again.parameters.values()).toEqual(await model.parameters.values())
    again.dispose()
    model.dispose()
  })

  it('gives tokenizer and processor files back byte for byte', async () => {
    const model = nanoModel(device)
    await saveModel(model, at('first'))
    const odd = {
      'special_tokens_map.json': '{ "x":1 }',
      'merges.txt': '#version\n',
      'video_preprocessor_config.json': '{}',
    }
    for (const [name, text] of Object.entries(odd)) await writeFile(at('first', name), text)
    await writeFile(at('first', 'pytorch_model.bin'), 'pickle')
    await writeFile(at('first', 'tokenizer.json'), `${await readFile(at('first', 'tokenizer.json'), 'utf8')}\n\n`)
    const loaded = await loadModel(at('first'), device)
    await saveModel(loaded, at('second'))
    for (const name of [...Object.keys(odd), 'tokenizer.json', 'generation_config.json', 'chat_template.jinja']) {
      expect(await readFile(at('second', name), 'utf8'), name).toBe(await readFile(at('first', name), 'utf8'))
    }
    expect(existsSync(at('second', 'pytorch_model.bin'))).toBe(false)
    loaded.dispose()
    model.dispose()
  })

  it('refuses f16 for a value that would overflow, and leaves what was there', async () => {
    const model = nanoModel(device)
    await saveModel(model, at('safe'), { dtype: 'f16' })
    const before = await readFile(at('safe', 'model.safetensors'))
    const norm = new Float32Array(model.parameters.shape('model.norm.weight')[0] as number).fill(70_000)
    model.parameters.write('model.norm.weight', norm)
    await expect(saveModel(model, at('safe'), { dtype: 'f16' })).rejects.toThrow(
      /model\.norm\.weight.*does not fit F16/,
    )
    expect((await readFile(at('safe', 'model.safetensors'))).equals(before)).toBe(true)
    expect(await readdir(directory)).not.toContainEqual(expect.stringMatching(/^\.safe/))
    model.dispose()
  })
})

describe('cutShards', () => {
  const sizes = (shards: { bytes: number }[][]) => shards.map((shard) => shard.map(({ bytes }) => bytes))
  const tensors = [5, 5, 30, 1, 9].map((bytes) => ({ bytes }))

  it('fills shards in order and never cuts a tensor', () => {
    expect(sizes(cutShards(tensors, 10))).toEqual([[5, 5], [30], [1, 9]])
    expect(sizes(cutShards(tensors, 1000))).toEqual([[5, 5, 30, 1, 9]])
    expect(sizes(cutShards([], 10))).toEqual([[]])
  })
})
