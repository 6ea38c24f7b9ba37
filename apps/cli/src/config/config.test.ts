import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { nearest } from './nearest.js'
import { checkConfig, readConfig } from './read.js'
import { applyOverride } from './set.js'

const sft = {
  name: 'cold-start',
  kind: 'sft',
  data: [{ source: 'digits', modality: 'text' }],
  steps: 2,
  batchSize: 4,
  learningRate: 1e-3,
}
const rl = {
  name: 'mrl',
  kind: 'rl',
  data: [{ source: 'digits', modality: 'image' }],
  steps: 2,
  promptsPerStep: 2,
  sampling: { maxTokens: 8 },
  rewards: [{ use: 'accuracy' }],
  learningRate: { kind: 'cosine', from: 1e-3 },
}
const minimal = () => structuredClone({ out: 'runs/x', model: { preset: 'nano' }, stages: [sft, rl] })

describe('checkConfig', () => {
  it('fills in defaults', () => {
    const config = checkConfig(minimal(), 'x.yaml')
    expect(config.seed).toBe(0)
    expect(config.stages[1]).toMatchObject({
      groupSize: 8,
      clip: { low: 0.2, high: 0.25, dual: 3 },
      pad: null,
      kl: null,
    })
  })

  const broken: [string, (config: ReturnType<typeof minimal>) => unknown, RegExp[]][] = [
    [
      'an unknown key',
      (config) => ({ ...config, sead: 3 }),
      [/^\s+sead: there is no such key \(value 3\).*Did you mean 'seed'\?/m],
    ],
    [
      'an unknown key in a stage',
      (config) => ({ ...config, stages: [{ ...sft, learningRat: 1 }] }),
      [/stages\[0\]\.learningRat: .*value 1.*allowed here: name, kind, data, steps, batchSize.*'learningRate'/],
    ],
    [
      'a key of the other kind of stage',
      (config) => ({ ...config, stages: [{ ...sft, groupSize: 8 }] }),
      [/stages\[0\]\.groupSize: there is no such key/],
    ],
    [
      'a kind that does not exist',
      (config) => ({ ...config, stages: [{ ...sft, kind: 'stf' }] }),
      [/stages\[0\]\.kind: "stf".*sft, rl.*'sft'/],
    ],
    [
      'a value of a wrong type',
      (config) => ({ ...config, stages: [{ ...sft, steps: 'many' }] }),
      [/stages\[0\]\.steps: "many" is not allowed/],
    ],
    [
      'a missing key',
      (config) => ({ ...config, stages: [{ ...sft, steps: undefined }] }),
      [/stages\[0\]\.steps: is missing/],
    ],
    [
      'a number out of range',
      (config) => ({ ...config, stages: [{ ...rl, groupSize: 1 }] }),
      [/stages\[0\]\.groupSize: 1 is not allowed.*>=2/],
    ],
    [
      'a misspelt word in a list',
      (config) => ({ ...config, stages: [{ ...sft, trainable: ['vison'] }] }),
      [/stages\[0\]\.trainable\[0\]: "vison".*text, vision.*'vision'/],
    ],
    [
      'a misspelt word in an alternative',
      (config) => ({ ...config, stages: [{ ...sft, learningRate: { kind: 'cosin', from: 1 } }] }),
      [/stages\[0\]\.learningRate\.kind: "cosin".*constant, linear, cosine.*'cosine'/],
    ],
    [
      'a word where a number or a schedule is wanted',
      (config) => ({ ...config, stages: [{ ...sft, learningRate: 'fast' }] }),
      [/learningRate: "fast".*number or object/],
    ],
    [
      'a model that is two things',
      (config) => ({ ...config, model: { preset: 'nano', path: 'x' } }),
      [/model\.(path|preset): there is no such key/],
    ],
    ['stages of one name', (config) => ({ ...config, stages: [sft, sft] }), [/stages: .*names must differ/]],
    ['two mistakes at once', (config) => ({ ...config, sead: 1, out: 2 }), [/sead/, /out: 2/]],
  ]
  it.each(broken)('explains %s', (_, change, expected) => {
    for (const pattern of expected) expect(() => checkConfig(change(minimal()), 'x.yaml')).toThrow(pattern)
  })
})

describe('--set', () => {
  it('reaches keys, indices and named elements, and reads YAML values', () => {
    const config = minimal() as Record<string, unknown>
    for (const set of [
      'seed=7',
      'stages.mrl.steps=10',
      'stages[0].batchSize=3',
      'evaluation.samples=5',
      'stages.1.pad=null',
    ]) {
      applyOverride(config, set)
    }
    expect(config).toMatchObject({
      seed: 7,
      evaluation: { samples: 5 },
      stages: [{ batchSize: 3 }, { steps: 10, pad: null }],
    })
  })

  it.each([
    ['stages.mlr.steps=1', /has no element 'mlr'.*Did you mean 'mrl'/],
    ['stages[7].steps=1', /has no element '7'/],
    ['seed', /must look like/],
    ['out.deep=1', /'out' is "runs\/x"/],
    ['seed={', /not YAML/],
  ])('refuses %s', (assignment, expected) => {
    expect(() => applyOverride(minimal(), assignment)).toThrow(expected)
  })
})

describe('readConfig', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'revisual-config-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  it('resolves inputs from the file and the run folder from the working directory', async () => {
    const path = join(folder, 'run.yaml')
    const config = minimal() as Record<string, unknown>
    config['model'] = { path: './base' }
    config['stages'] = [
      {
        ...rl,
        rewards: [{ use: './mine.js#score' }, { use: 'accuracy' }],
        data: [{ source: 'file', path: 'a.jsonl' }],
      },
    ]
    await writeFile(path, JSON.stringify(config))
    const resolved = await readConfig(path)
    expect(resolved.model).toEqual({ path: join(folder, 'base') })
    expect(resolved.out).toBe(join(process.cwd(), 'runs/x'))
    expect(resolved.stages[0]).toMatchObject({
      rewards: [{ use: `${join(folder, 'mine.js')}#score` }, { use: 'accuracy' }],
      data: [{ path: join(folder, 'a.jsonl') }],
    })
  })

  it('says what a file that is no configuration is', async () => {
    const path = join(folder, 'broken.yaml')
    await writeFile(path, 'a: [1, 2')
    await expect(readConfig(path)).rejects.toThrow(/not YAML/)
    await writeFile(path, '- 1')
    await expect(readConfig(path)).rejects.toThrow(/mapping with the keys out, seed/)
    await expect(readConfig(join(folder, 'none.yaml'))).rejects.toThrow(/cannot be read/)
  })
})

it('suggests only near words', () => {
  expect(nearest('learning_rate', ['learningRate', 'steps'])).toBe('learningRate')
  expect(nearest('banana', ['learningRate', 'steps'])).toBeUndefined()
})
