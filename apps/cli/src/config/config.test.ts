import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { nearest } from './nearest.js'
import { checkConfig, readConfig } from './read.js'
import { stageSettings } from '../train/stage-settings.js'
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

  it('leaves to an algorithm what it sets, and to the stage what it says', () => {
    const config = minimal()
    const changed = { ...config, stages: [{ ...rl, algorithm: 'gspo', clip: { low: 0.1, high: 0.2, dual: null } }] }
    const [stage] = checkConfig(changed, 'x.yaml').stages
    expect(stage).toMatchObject({ algorithm: 'gspo', clip: { low: 0.1, high: 0.2, dual: null, cap: null } })
    expect(stageSettings(stage as NonNullable<typeof stage>)).toEqual({
      name: 'mrl',
      kind: 'rl',
      steps: 2,
      promptsPerStep: 2,
      groupSize: 8,
      updatesPerStep: 1,
      innerEpochs: 1,
      sampling: { maxTokens: 8, temperature: 1, topP: 1, topK: 0 },
      learningRate: { kind: 'cosine', from: 1e-3, to: 0 },
      weightDecay: 0,
      maxGradNorm: 1,
      trainable: ['text', 'vision'],
      tokensPerMicroBatch: 16_384,
      resetOptimizer: true,
      algorithm: 'gspo',
      clip: { low: 0.1, high: 0.2 },
    })
  })

  it('reaches every setting of the trainer', () => {
    const settings = {
      advantage: { kind: 'grpo', epsilon: 1e-4, ddof: 1, scale: 'batch' },
      loss: { kind: 'vespo', positive: { k: 2, lambda: 3 } },
      aggregation: { kind: 'sequence-sum-constant', length: 64 },
      localBatch: 4,
      innerEpochs: 2,
      kl: {
        ...{ estimator: 'k3-straight-through', coefficient: 0.1, maxValue: 10, ratioCorrected: true, in: 'loss' },
        ...{ reference: 'stage', adaptive: { target: 0.1, horizon: 100 } },
      },
      entropy: { coefficient: 0.01, kind: 'sampled-logprob', adaptive: { target: 1, delta: 0.1, min: 0, max: 0.5 } },
      highEntropyShare: 0.2,
      correction: { level: 'sequence', mode: 'mask', max: 3, min: 0.1 },
      offPolicyThreshold: 0.5,
      dynamicSampling: {
        ...{ tolerance: 0.1, meanAbove: 0.01, meanBelow: 0.99, metric: 'accuracy' },
        maxRounds: 3,
        onExhausted: 'raise',
      },
      replay: { capacity: 8, maxAge: 4 },
      overlong: { buffer: 4, factor: 0.5, maxTokens: 8 },
      maskTruncated: true,
      resetOptimizer: false,
      stop: { kind: 'threshold', metric: 'reward', above: 0.9, window: 3 },
    }
    const [stage] = checkConfig({ ...minimal(), stages: [{ ...rl, ...settings }] }, 'x.yaml').stages
    expect(stageSettings(stage as NonNullable<typeof stage>)).toMatchObject(settings)
    const off = checkConfig({ ...minimal(), stages: [{ ...rl, correction: null }] }, 'x.yaml').stages[0]
    expect(stageSettings(off as NonNullable<typeof off>)).toHaveProperty('correction', null)
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
    [
      'a mistyped algorithm',
      (config) => ({ ...config, stages: [{ ...rl, algorithm: 'dr-grpo' }] }),
      [/stages\[0\]\.algorithm: "dr-grpo".*gspo.*'dr_grpo'/],
    ],
    [
      'a key of another loss',
      (config) => ({ ...config, stages: [{ ...rl, loss: { kind: 'sapo', max: 5 } }] }),
      [/stages\[0\]\.loss\.max: there is no such key.*temperaturePositive/],
    ],
    [
      'a bound without a bound',
      (config) => ({ ...config, stages: [{ ...rl, loss: { kind: 'cispo', bound: 'cap' } }] }),
      [/stages\[0\]\.loss\.max: is missing/],
    ],
    [
      'settings that exclude each other',
      (config) => ({ ...config, stages: [{ ...rl, replay: {}, loss: { kind: 'reinforce' } }] }),
      [/Stage 'mrl': replay is set, but loss 'reinforce' does not bound the ratio/],
    ],
    [
      'two kinds of entropy bonus',
      (config) => ({
        ...config,
        stages: [{ ...rl, entropy: { coefficient: 0.1, decay: 0.9, adaptive: { target: 1 } } }],
      }),
      [/Stage 'mrl': entropy has both adaptive and decay/],
    ],
    [
      'a watched metric that nobody measures',
      (config) => ({
        ...config,
        best: { metric: 'eval/gsm8k/accuracy' },
        evaluation: { tasks: ['digits-text'] },
        stages: [{ ...rl, stop: { kind: 'patience', metric: 'eval/digits-text/accuracy', mode: 'max', patience: 2 } }],
      }),
      [
        /best\.metric: .*evaluations measure eval\/digits-text\/accuracy/,
        /stages\[0\]\.stop\.metric: .*set evaluation\.every/,
      ],
    ],
    [
      'a reference below an adapter that is not there',
      (config) => ({ ...config, stages: [{ ...rl, kl: { coefficient: 0.1, reference: 'base' } }] }),
      [/stages\[0\]\.kl\.reference: "base" is the model without its adapter; allowed with model\.lora/],
    ],
    [
      'a curriculum of one source',
      (config) => ({ ...config, stages: [{ ...rl, curriculum: { kind: 'adaptive' } }] }),
      [/stages\[0\]\.curriculum: needs at least two sources/],
    ],
    [
      'a curriculum that follows rewards where there are none',
      (config) => ({
        ...config,
        stages: [{ ...sft, data: [...sft.data, { ...sft.data[0], weight: 2 }], curriculum: { kind: 'adaptive' } }],
      }),
      [/curriculum\.kind: "adaptive" follows rewards/, /leave their weight out/],
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
    expect(resolved.model).toMatchObject({ path: join(folder, 'base') })
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
