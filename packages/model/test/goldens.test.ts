/**
 * The network against transformers, through the runner that users have: vision output, positions, logits, loss, gradients,
 * greedy ids, optimizer steps. What a case must have measured is listed, so that none can hold by being empty.
 */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDevice, type Device } from '@revisual/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findCases, runImageCases, runModelCase, type ModelQuantity } from '../src/testing/index.js'
import { fixture } from './support.js'

let device: Device
let scratch: string
beforeAll(async () => {
  device = await createDevice()
  scratch = await mkdtemp(join(tmpdir(), 'revisual-cases-'))
})
afterAll(async () => {
  device.destroy()
  await rm(scratch, { recursive: true })
})

const text = ['logits', 'greedy', 'loss', 'grad_norms', 'grad_tensors', 'adamw_losses', 'adamw_grad_norms'] as const
const full: readonly ModelQuantity[] = [...text, 'position_ids', 'next_position', 'vision']

describe('cases of transformers 5.18', () => {
  it.each([
    ['qwen2_vl', full],
    ['qwen2_5_vl', full],
    ['qwen2_5_vl-text', text],
    ['qwen2_5_vl-tied-bf16-sharded', full],
    ['qwen3_vl', [...full, 'deepstack']],
    ['qwen2_5_vl-lora', ['logits', 'adamw_losses', 'adamw_grad_norms']],
  ] as const)('%s', async (name, quantities) => {
    const report = await runModelCase(fixture(`models/${name}`), device)
    expect(report).toMatchObject({ ok: true, beyond: [], ignored: [] })
    expect(Object.keys(report.errors ?? {}).sort()).toEqual([...quantities].sort())
    // Far below the tolerances: what is left is the rounding of f32. Adam divides every gradient by its own size, so that
    // gradients which are nothing but rounding move their parameters by whole steps: after some, that shows.
    for (const [quantity, error] of Object.entries(report.errors ?? { none: Infinity })) {
      expect(error, quantity).toBeLessThan(quantity.startsWith('adamw') ? 1e-4 : 2e-5)
    }
    expect(report.rotaryFrequencies).toBe(name.includes('bf16') ? 'bf16' : undefined)
  })
})

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const result: T[] = []
  for await (const item of items) result.push(item)
  return result
}

describe('the runner', () => {
  const copy = async (name: string) => {
    const target = join(scratch, name)
    await cp(fixture('models/qwen2_5_vl-text'), target, { recursive: true })
    const edit = async (change: (json: Record<string, unknown>) => void) => {
      const path = join(target, 'expected.json')
      const json = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>
      change(json)
      await writeFile(path, JSON.stringify(json))
    }
    return { target, edit }
  }

  it('sees a wrong loss, a wrong gradient and wrong ids', async () => {
    const { target, edit } = await copy('wrong')
    await edit((json) => {
      json['loss'] = (json['loss'] as number) + 1e-3
      json['greedy'] = (json['greedy'] as number[]).map((id, place) => (place === 7 ? id + 1 : id))
      const norms = json['grad_l2'] as Record<string, number>
      norms['model.language_model.norm.weight'] = 1.01 * (norms['model.language_model.norm.weight'] as number)
      delete json['adamw']
    })
    const report = await runModelCase(target, device)
    expect(report.ok).toBe(false)
    expect([...(report.beyond ?? [])].sort()).toEqual(['grad_norms', 'greedy', 'loss'])
    expect(report.errors).toMatchObject({ greedy: 1, loss: expect.closeTo(1e-3, 5) as number })
    expect(report.errors).not.toHaveProperty('adamw_losses')
  })

  it('says why a case cannot be run', async () => {
    const { target, edit } = await copy('unknown')
    await edit((json) => {
      json['grad_l2'] = { 'model.language_model.layers.9.mlp.up_proj.weight': 1 }
    })
    expect(await runModelCase(target, device)).toMatchObject({
      ok: false,
      problem: expect.stringMatching(/no parameter 'model.language/) as string,
    })
    await edit((json) => {
      json['input_ids'] = 'none'
    })
    expect(await runModelCase(target, device)).toMatchObject({
      ok: false,
      problem: expect.stringMatching(/'input_ids' must be a list/) as string,
    })
    expect(await runModelCase(join(scratch, 'absent'), device)).toMatchObject({ case: 'absent', ok: false })
  })

  it('finds cases in a folder, and a case that is the folder', () => {
    expect(findCases(fixture('models')).length).toBe(6)
    expect(findCases(fixture('models/qwen3_vl'))).toEqual([fixture('models/qwen3_vl')])
    expect(() => findCases(join(scratch, 'nothing'))).toThrow(/does not exist/)
  })

  it('runs images, and sees a wrong one', async () => {
    const folder = fixture('image-processing')
    const reports = await all(runImageCases(folder))
    expect(reports.map(({ ok }) => ok)).toEqual([true, true, true, true, true])
    const golden = JSON.parse(await readFile(join(folder, 'image-processing.json'), 'utf8')) as {
      images: { file: string; sample_value: number[] }[]
      smart_resize: number[][]
    }
    const [first] = golden.images
    if (!first) throw new Error('fixture')
    first.file = join(folder, first.file)
    first.sample_value[3] = (first.sample_value[3] as number) + 2e-5
    const [row] = golden.smart_resize
    const wrong = { smart_resize: [[...(row as number[]).slice(0, 6), 1]], images: [first, { file: 'gone.png' }] }
    await writeFile(join(scratch, 'wrong.json'), JSON.stringify(wrong))
    const found = await all(runImageCases(join(scratch, 'wrong.json')))
    expect(found).toMatchObject([
      { ok: false, beyond: ['resized'] },
      { ok: false, beyond: ['pixel_values'] },
      { ok: false, problem: expect.stringMatching(/Cannot decode/) as string },
    ])
  })
})
