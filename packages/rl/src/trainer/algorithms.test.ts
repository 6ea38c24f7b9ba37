import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { newPolicy, PROMPTS, answerOf, rl } from '../../test/sequence-task.js'
import type { TabularPolicy } from '../../test/tabular-policy.js'
import { algorithmNames } from '../algorithms.js'
import { createRandom } from '../random.js'
import type { MetricRecord } from './records.js'
import type { RlStage } from './stages.js'
import { train, type TrainOptions } from './train.js'

type Settings = Partial<RlStage<number>>

/** Every algorithm, off-policy, so that ratios are not 1; and every feature that has state or draws. */
const variants: (readonly [string, Settings])[] = [
  ...algorithmNames.map((algorithm) => [algorithm, { algorithm, updatesPerStep: 2 }] as const),
  ['inner epochs', { algorithm: 'grpo', innerEpochs: 3 }],
  ['pad of the paper', { pad: { variant: 'paper', low: 0.05, ratio: 0.7 } }],
  ['pad as released', { pad: { variant: 'released', low: 0.03, high: 2, ratio: 1.5, alpha: 1.5 }, updatesPerStep: 2 }],
  ['high-entropy tokens', { highEntropyShare: 0.3, updatesPerStep: 2 }],
  ['correction', { correction: { level: 'sequence', mode: 'mask', max: 3 }, offPolicyThreshold: 0.5, innerEpochs: 2 }],
  [
    'adaptive kl in the loss',
    { kl: { estimator: 'k3', coefficient: 0.1, ratioCorrected: true, adaptive: { target: 0.01, horizon: 100 } } },
  ],
  [
    'adaptive kl in the reward',
    {
      algorithm: 'reinforce_plus_plus',
      kl: { estimator: 'k1', coefficient: 0.1, in: 'reward', adaptive: { target: 0.01, horizon: 100 } },
    },
  ],
  ['adaptive entropy', { entropy: { coefficient: 0.01, adaptive: { target: 1.5, delta: 0.01 } }, updatesPerStep: 2 }],
  ['linear entropy', { entropy: { coefficient: 0.05, linearUpdates: 5 } }],
  ['overlong', { overlong: { buffer: 2 } }],
  ['replay', { replay: { capacity: 4, maxAge: 3 }, sampling: { maxTokens: 2, temperature: 1 } }],
  ['dynamic sampling and replay', { dynamicSampling: { tolerance: 0.2, maxRounds: 2 }, replay: {} }],
]

const stageOf = (settings: Settings) => rl({ steps: 4, learningRate: 0.1, ...settings })

const timeless = (record: object) =>
  Object.fromEntries(Object.entries(record).filter(([name]) => !name.startsWith('time/')))

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'revisual-algorithm-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

const start = (policy: TabularPolicy, settings: Settings, options: Partial<TrainOptions<number>> = {}) =>
  train({ policy, stages: [stageOf(settings)], seed: 3, checkpoints: { every: 2 }, ...options })

const weights = ({ tables }: TabularPolicy) => tables.logits.flat()

describe.each(variants)('%s', (_, settings) => {
  it('killed and resumed ends in the same bits and records', async () => {
    const remains = (policy: TabularPolicy, path: string) => ({
      tables: JSON.stringify(policy.tables),
      metrics: readFileSync(join(path, 'metrics.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => timeless(JSON.parse(line) as object)),
    })
    const calm = newPolicy()
    const calmPath = join(directory, 'calm')
    let calls = 0
    calm.onCall = () => void calls++
    await start(calm, settings, { runDirectory: calmPath })
    const path = join(directory, 'killed')
    let kills = 0
    for (let attempt = 0; ; attempt++) {
      const policy = newPolicy()
      // Before the end of the run, and later than its first checkpoint.
      let left = Math.floor(calls * (0.55 + 0.4 * createRandom(attempt, 'kill').uniform()))
      policy.onCall = () => {
        if (--left === 0) throw new Error('killed')
      }
      try {
        await start(policy, settings, { runDirectory: path, resume: true })
        expect(remains(policy, path)).toEqual(remains(calm, calmPath))
        break
      } catch (thrown) {
        if (!(thrown instanceof Error && thrown.message === 'killed')) throw thrown
        kills++
        expect(attempt).toBeLessThan(20)
      }
    }
    expect(kills).toBeGreaterThan(0)
  })

  it('learns the same whatever the micro-batches, and something', async () => {
    const run = async (tokensPerMicroBatch: number) => {
      const policy = newPolicy()
      await start(policy, { ...settings, tokensPerMicroBatch })
      return weights(policy)
    }
    const [one, many] = [await run(1e6), await run(6)]
    one.forEach((value, index) => expect(many[index]).toBeCloseTo(value, 4))
    expect(one.some((value) => value !== 0)).toBe(true)
  })

  it('is made by its seed', async () => {
    const run = async (seed: number) => {
      const policy = newPolicy()
      await start(policy, settings, { seed })
      return weights(policy)
    }
    const first = await run(1)
    expect(await run(1)).toEqual(first)
    expect(await run(2)).not.toEqual(first)
  })
})

describe('what the settings do', () => {
  const record = async (settings: Settings, steps = 3) => {
    const records: MetricRecord[] = []
    const notes: string[] = []
    const policy = newPolicy()
    await start(
      policy,
      { ...settings, steps },
      {
        hooks: { onMetrics: (one) => void records.push(one), onNote: (note) => void notes.push(note) },
      },
    )
    return { records, notes, policy, last: records.at(-1) as MetricRecord }
  }

  it.each(['dr_grpo', 'rloo', 'remax', 'reinforce_plus_plus', 'cispo', 'sapo'] as const)(
    '%s learns the task',
    async (algorithm) => {
      const { policy } = await record({ algorithm, learningRate: 0.2, groupSize: 12 }, 50)
      const solved = Array.from({ length: PROMPTS }, (_, prompt) =>
        policy.probability(prompt, answerOf(prompt).slice(0, 2)),
      )
      for (const probability of solved) expect(probability).toBeGreaterThan(0.5)
    },
  )

  it('dynamic sampling fills the batch with groups that teach', async () => {
    const { last, records } = await record({ dynamicSampling: { tolerance: 0.05, maxRounds: 20 } })
    expect(last['dynamic_sampling/num_kept']).toBe(4)
    expect(records.some((one) => Number(one['dynamic_sampling/rounds']) > 1)).toBe(true)
    expect(last['dynamic_sampling/num_prompts']).toBeGreaterThanOrEqual(4)
  })

  it('dynamic sampling gives up as it is told', async () => {
    const never = { tolerance: 10, maxRounds: 2 }
    const { policy, last } = await record({ dynamicSampling: never })
    expect(policy.tables.updates).toBe(0)
    expect(last['dynamic_sampling/num_kept']).toBe(0)
    await expect(record({ dynamicSampling: { ...never, onExhausted: 'raise' } })).rejects.toThrow(
      'found 0 of 4 groups that teach something in 2 rounds (8 prompts)',
    )
    await expect(record({ dynamicSampling: { metric: 'nothing' } })).rejects.toThrow('allowed: accuracy, prefix')
  })

  it('replay takes the place of groups without spread', async () => {
    const { records } = await record({ replay: {}, groupSize: 2 }, 6)
    const replayed = records.map((one) => Number(one['replay/num_groups']))
    expect(replayed[0]).toBe(0)
    expect(Math.max(...replayed)).toBeGreaterThan(0)
    expect(records.at(-1)?.['replay/size']).toBeGreaterThan(2)
  })

  it('a KL in the reward lowers advantages instead of entering the loss', async () => {
    const kl = { estimator: 'k1', coefficient: 0.5, in: 'reward' } as const
    const { last } = await record({ kl }, 4)
    expect(last['kl']).not.toBe(0)
    expect(last['loss']).toBe(last['policy_loss'])
    const plain = await record({}, 4)
    expect(weights(plain.policy)).not.toEqual(weights((await record({ kl }, 4)).policy))
  })

  it('coefficients adapt', async () => {
    const { records } = await record({
      kl: { estimator: 'k3', coefficient: 0.1, adaptive: { target: 1, horizon: 100 } },
      entropy: { coefficient: 0, adaptive: { target: 10, delta: 0.01 } },
    })
    const [first, second] = records
    // 24 completions, KL far below its target: 1 − 0.2 · 24/100.
    expect(second?.['kl_coef']).toBeCloseTo(0.1 * (1 - 0.048), 12)
    expect([first, second].map((one) => one?.['entropy_coef'])).toEqual([0, 0.01])
  })

  it('the overlong penalty is one more reward', async () => {
    const { last } = await record({ overlong: { buffer: 3, factor: 0.5 } })
    expect(last['rewards/overlong/mean']).toBeLessThan(0)
    expect(last['rewards/overlong/mean']).toBeGreaterThanOrEqual(-0.5)
  })

  it('PAD tells which right and wrong completions it kept', async () => {
    const { records } = await record({ pad: { variant: 'paper', low: 0.05, ratio: 0.5 } }, 6)
    expect(records.some((one) => 'pad/kept_correct_rate' in one)).toBe(true)
    for (const one of records) {
      expect(one['pad/frac_effective']).toBe(Number(one['pad/num_effective_samples']) / 24)
      expect(one['pad/kept_wrong_rate']).toBeLessThan(1)
    }
  })

  it('the first step is explained, once', async () => {
    const { notes } = await record({ kl: { estimator: 'k3', coefficient: 0.1 }, groupSize: 2 })
    expect(notes.join('\n')).toMatch(/loss is near 0[\s\S]*ratio is 1[\s\S]*KL is 0/)
    expect(new Set(notes).size).toBe(notes.length)
  })

  it.each<[string, Settings, string]>([
    ['replay with a loss without bounds', { replay: {}, loss: { kind: 'reinforce' } }, 'does not bound the ratio'],
    [
      'two entropy schedules',
      { entropy: { coefficient: 1, decay: 0.9, linearUpdates: 3 } },
      'both decay and linearUpdates',
    ],
    [
      'a schedule and a controller',
      { entropy: { coefficient: 1, decay: 0.9, adaptive: { target: 1 } } },
      'both adaptive and decay',
    ],
    ['a buffer beyond the limit', { overlong: { buffer: 9 } }, 'overlong.buffer is 9; allowed: 1 to the limit (4)'],
    ['no inner epoch', { innerEpochs: 0 }, 'innerEpochs is 0'],
    [
      'GDPO with a KL in the reward',
      { algorithm: 'gdpo', kl: { estimator: 'k1', coefficient: 0.1, in: 'reward' } },
      'GDPO normalises rewards one by one',
    ],
    ['a bad clip of an algorithm', { algorithm: 'gspo', clip: { low: 2, high: 1 } }, 'clip.low is 2'],
  ])('%s is refused', async (_, settings, message) => {
    await expect(record(settings)).rejects.toThrow(message)
  })

  it('a policy whose reference is fixed needs no snapshot', async () => {
    const policy = newPolicy()
    await policy.snapshotReference()
    const { sample, score, scoreReference, accumulate, step, setTrainable, resetOptimizer, promptLength } = policy
    const bound = { sample, score, scoreReference, accumulate, step, setTrainable, resetOptimizer, promptLength }
    const fixed = Object.fromEntries(
      Object.entries(bound).map(([name, method]) => [name, (method as (...all: unknown[]) => unknown).bind(policy)]),
    ) as unknown as typeof policy
    const records: MetricRecord[] = []
    const stages = [
      stageOf({ kl: { estimator: 'k3', coefficient: 0.1 } }),
      stageOf({ name: 'more', kl: { estimator: 'k3', coefficient: 0.1, reference: 'base' } }),
    ]
    await train({ policy: fixed, stages, hooks: { onMetrics: (one) => void records.push(one) } })
    // Still compared with the weights before the first stage.
    expect(records.at(4)?.['kl']).toBeGreaterThan(0)
  })
})

describe('the best checkpoint', () => {
  const accuracies = [0.1, 0.5, 0.4, 0.3, 0.6, 0.2, 0.2]
  const evaluate = ({ globalStep }: { globalStep: number }) => ({ metrics: { accuracy: accuracies[globalStep] ?? 0 } })

  it('is kept, and loaded at the end when asked for', async () => {
    const policy = newPolicy()
    const seen: string[] = []
    const best = { metric: 'eval/accuracy', mode: 'max', restore: true } as const
    const result = await start(
      policy,
      { steps: 6 },
      {
        runDirectory: directory,
        evaluateEvery: 1,
        best,
        hooks: {
          evaluate: (request) => {
            seen[request.globalStep] = JSON.stringify(policy.tables.logits)
            return evaluate(request)
          },
        },
      },
    )
    expect(result.best).toEqual({ metric: 'eval/accuracy', value: 0.6, stage: 'rl', step: 4, globalStep: 4 })
    expect(JSON.stringify(policy.tables.logits)).toBe(seen[4])
  })

  it('is the same after a crash, and needs a margin when told so', async () => {
    const dying = newPolicy()
    let samples = 0
    dying.onCall = (call) => {
      if (call === 'sample' && ++samples === 4) throw new Error('killed')
    }
    const options = {
      runDirectory: directory,
      resume: true,
      evaluateEvery: 1,
      checkpoints: { every: 2 },
      best: { metric: 'eval/accuracy', mode: 'max', minDelta: 0.2 },
      hooks: { evaluate },
    } as const
    await expect(start(dying, { steps: 6 }, options)).rejects.toThrow('killed')
    const { best } = await start(newPolicy(), { steps: 6 }, options)
    expect(best).toMatchObject({ value: 0.5, globalStep: 1 })
  })
})
