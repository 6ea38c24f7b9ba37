import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TabularPolicy } from '../../test/tabular-policy.js'
import { createRandom } from '../random.js'
import { combineRewards } from '../rewards/scorer.js'
import type { DataSource, JsonValue, RlExample, SftExample } from '../types.js'
import type { MetricRecord } from './records.js'
import type { RlStage, SftStage, Stage } from './stages.js'
import { train, type TrainOptions } from './train.js'

const PROMPTS = 3
const answerOf = (prompt: number) => [1 + (prompt % 3), 2, 0]

/** An endless stream of prompts in an order made from the index. */
function stream<Example>(make: (prompt: number) => Example, limit = Infinity): DataSource<Example> {
  let index = 0
  return {
    next(count) {
      const taken = Math.min(count, limit - index)
      return Array.from({ length: taken }, () => make(createRandom(5, 'data', index++).below(PROMPTS)))
    },
    state: () => ({ index }),
    restore: (state: JsonValue) => {
      index = (state as { readonly index: number }).index
    },
  }
}

const sftData = (limit?: number) =>
  stream((prompt): SftExample<number> => ({ id: String(prompt), prompt, completionIds: answerOf(prompt) }), limit)
const rlData = (limit?: number) =>
  stream(
    (prompt): RlExample<number> => ({
      id: String(prompt),
      prompt,
      row: { answer: answerOf(prompt).slice(0, 2).join(' ') },
    }),
    limit,
  )

/** Share of the leading tokens that are right, and whether all are. */
const rewards = combineRewards([
  {
    name: 'accuracy',
    weight: 0.5,
    reward: ({ completions, rows }) => completions.map((text, index) => (text === rows[index]?.['answer'] ? 1 : 0)),
  },
  {
    name: 'prefix',
    weight: 0.5,
    reward: ({ completions, rows }) =>
      completions.map((text, index) => {
        const answer = (rows[index]?.['answer'] as string).split(' ')
        const wrong = answer.findIndex((token, position) => text.split(' ')[position] !== token)
        return wrong < 0 ? 1 : wrong / answer.length
      }),
  },
])

const sft = (changes: Partial<SftStage<number>> = {}): SftStage<number> => ({
  name: 'cold-start',
  kind: 'sft',
  steps: 4,
  learningRate: 0.05,
  data: sftData(),
  batchSize: 4,
  tokensPerMicroBatch: 8,
  ...changes,
})

const rl = (changes: Partial<RlStage<number>> = {}): RlStage<number> => ({
  name: 'rl',
  kind: 'rl',
  steps: 6,
  learningRate: { kind: 'cosine', from: 0.1, to: 0.01, warmupSteps: 2 },
  maxGradNorm: 1,
  data: rlData(),
  promptsPerStep: 4,
  groupSize: 6,
  sampling: { maxTokens: 4, temperature: 1 },
  tokensPerMicroBatch: 40,
  rewards,
  ...changes,
})

/** Two stages with every feature that has state. */
const everything = (): Stage<number>[] => [
  sft(),
  rl({ name: 'mrl', pad: { variant: 'paper', low: 0.05, ratio: 0.7 }, updatesPerStep: 2 }),
  rl({
    name: 'trl',
    pad: { variant: 'released', low: 0.03, high: 2, ratio: 1.5, alpha: 1.5 },
    kl: { estimator: 'k3', coefficient: 0.01 },
    entropy: { coefficient: 0.02, warmupUpdates: 2, decay: 0.9 },
    stop: { kind: 'patience', metric: 'reward', mode: 'max', patience: 100, window: 2 },
  }),
]

const newPolicy = () => new TabularPolicy(PROMPTS, 4, 5)

/** Without wall clock, which no two runs share. */
const timeless = (record: object) =>
  Object.fromEntries(Object.entries(record).filter(([name]) => !name.startsWith('time/')))

const lines = (path: string): object[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => timeless(JSON.parse(line) as object))

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'revisual-run-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('train', () => {
  it('learns a sequence task with GRPO and PAD', async () => {
    const policy = newPolicy()
    const records: MetricRecord[] = []
    const stage = rl({ steps: 60, learningRate: 0.15, groupSize: 16, pad: { variant: 'paper', low: 0.05, ratio: 1 } })
    const result = await train({ policy, stages: [stage], hooks: { onMetrics: (record) => void records.push(record) } })
    expect(result).toMatchObject({ interrupted: false, globalStep: 60 })
    for (let prompt = 0; prompt < PROMPTS; prompt++) {
      expect(policy.probability(prompt, answerOf(prompt).slice(0, 2))).toBeGreaterThan(0.8)
    }
    const rewardAt = (step: number) => records[step]?.['reward'] as number
    expect(rewardAt(0)).toBeLessThan(0.3)
    expect(rewardAt(59)).toBeGreaterThan(0.8)
    // The sampler and the learner are the same numbers, but for float32.
    expect(records[0]?.['sampling/sampling_logp_difference/max']).toBeLessThan(1e-6)
  })

  it('learns by imitation', async () => {
    const policy = newPolicy()
    await train({ policy, stages: [sft({ steps: 80, learningRate: 0.2 })] })
    expect(policy.probability(1, answerOf(1))).toBeGreaterThan(0.9)
  })

  it('records what TRL would, and what became of PAD', async () => {
    const records: MetricRecord[] = []
    await train({
      policy: newPolicy(),
      stages: [
        rl({
          steps: 1,
          kl: { estimator: 'k3', coefficient: 0.1 },
          pad: { variant: 'paper', low: 0.05, ratio: 0.5 },
          entropy: { coefficient: 0.1 },
        }),
      ],
      hooks: { onMetrics: (record) => void records.push(record) },
    })
    const [record = {} as MetricRecord] = records
    for (const name of [
      ...['stage', 'step', 'global_step', 'loss', 'policy_loss', 'kl', 'entropy', 'entropy_coef', 'grad_norm'],
      ...['learning_rate', 'num_tokens', 'skipped_steps', 'reward', 'reward_std', 'frac_reward_zero_std'],
      ...['rewards/accuracy/mean', 'rewards/prefix/std', 'completions/mean_length', 'completions/clipped_ratio'],
      ...['clip_ratio/low_mean', 'clip_ratio/high_mean', 'clip_ratio/region_mean', 'pad/num_selected_samples'],
      ...['pad/num_effective_samples', 'pad/temperature', 'pad/num_empty_batches', 'time/step', 'time/sample'],
    ]) {
      expect(record, name).toHaveProperty([name])
    }
    // The policy is its own reference in the first step.
    expect(record['kl']).toBeCloseTo(0, 9)
    expect(record['entropy']).toBeCloseTo(Math.log(5), 6)
    expect(record['pad/num_selected_samples']).toBeLessThanOrEqual(12)
  })

  it('gives the same weights for every micro-batch size', async () => {
    const run = async (tokensPerMicroBatch: number) => {
      const policy = newPolicy()
      await train({ policy, stages: [sft({ tokensPerMicroBatch }), rl({ tokensPerMicroBatch })] })
      return policy.tables.logits.flat()
    }
    const [one, many] = [await run(1e6), await run(6)]
    one.forEach((value, index) => expect(many[index]).toBeCloseTo(value, 5))
  })

  it('goes through stages: groups, optimizer, reference, evaluations', async () => {
    const policy = newPolicy()
    const seen: string[] = []
    const result = await train({
      policy,
      stages: [sft({ steps: 4, trainable: ['text'] }), rl({ steps: 2, kl: { estimator: 'k3', coefficient: 0.1 } })],
      evaluateEvery: 2,
      hooks: {
        evaluate: ({ stage, step, globalStep, phase }) => {
          seen.push(`${phase} ${stage} ${step} ${globalStep} ${policy.trainable.join()} ${policy.tables.updates}`)
          return { metrics: { accuracy: globalStep / 10 }, details: { any: ['thing'] } }
        },
      },
    })
    expect(seen).toEqual([
      'before cold-start 0 0 table 0',
      'during cold-start 2 2 text 2',
      'after cold-start 4 4 text 4',
      'after rl 2 6 text 2',
    ])
    expect(result.evaluations.at(-1)).toEqual({
      stage: 'rl',
      step: 2,
      globalStep: 6,
      phase: 'after',
      metrics: { accuracy: 0.6 },
      details: { any: ['thing'] },
    })
    expect(result.stages.map(({ name, steps, updates, end }) => [name, steps, updates, end])).toEqual([
      ['cold-start', 4, 4, 'steps'],
      ['rl', 2, 2, 'steps'],
    ])
  })

  it('keeps the optimizer when a stage says so', async () => {
    const policy = newPolicy()
    await train({ policy, stages: [sft({ steps: 2 }), sft({ name: 'more', steps: 3, resetOptimizer: false })] })
    expect(policy.tables.updates).toBe(5)
  })

  it('ends a stage when its data or its patience does', async () => {
    const policy = newPolicy()
    const stop = { kind: 'threshold', metric: 'eval/accuracy', above: 0.5 } as const
    const { stages } = await train({
      policy,
      stages: [sft({ data: sftData(10), steps: 100 }), rl({ steps: 100, stop })],
      evaluateEvery: 3,
      hooks: { evaluate: ({ step }) => ({ metrics: { accuracy: step >= 6 ? 0.6 : 0.1 } }) },
    })
    expect(stages.map(({ end, steps }) => [end, steps])).toEqual([
      ['data', 3],
      ['stop-rule', 6],
    ])
    expect(stages[1]?.reason).toBe('eval/accuracy is 0.6: threshold reached')
  })

  it('leaves truncated completions out when asked, but counts their rewards', async () => {
    const records: MetricRecord[] = []
    const selected: number[] = []
    await train({
      policy: newPolicy(),
      stages: [rl({ steps: 1, maskTruncated: true, sampling: { maxTokens: 1, temperature: 1 } })],
      hooks: {
        onMetrics: (record) => void records.push(record),
        onSamples: ({ prompts }) => {
          for (const { completions } of prompts) {
            for (const { finishReason, selected: times } of completions) {
              selected.push(times)
              expect(times).toBe(finishReason === 'stop' ? 1 : 0)
            }
          }
        },
      },
    })
    expect(selected).toHaveLength(24)
    expect(selected.filter((times) => times === 1).length).toBeGreaterThan(0)
    expect(records[0]?.['completions/clipped_ratio']).toBe(selected.filter((times) => times === 0).length / 24)
  })

  it('skips the update of an empty PAD selection and counts it', async () => {
    const policy = newPolicy()
    const records: MetricRecord[] = []
    const same = combineRewards([{ name: 'same', weight: 1, reward: ({ completions }) => completions.map(() => 1) }])
    await train({
      policy,
      stages: [rl({ steps: 2, rewards: same, pad: { variant: 'paper', low: 0.05, ratio: 1 } })],
      hooks: { onMetrics: (record) => void records.push(record) },
    })
    expect(policy.tables.updates).toBe(0)
    expect(records.map((record) => record['pad/num_empty_batches'])).toEqual([1, 2])
    expect(records[1]).toMatchObject({ skipped_steps: 0, frac_reward_zero_std: 1 })
  })

  it.each<[string, Partial<RlStage<number>>, string]>([
    ['group size 1', { groupSize: 1 }, "Stage 'rl': groupSize is 1; allowed: an integer ≥ 2"],
    ['greedy sampling', { sampling: { maxTokens: 4, temperature: 0 } }, 'sampling.temperature is 0'],
    ['a bad schedule', { learningRate: -1 }, "Stage 'rl': learningRate: the value is -1"],
    ['a bad PAD', { pad: { variant: 'paper', low: 0, ratio: 1 } }, 'PAD (paper): low is 0'],
    [
      'a bad PAD temperature',
      { pad: { variant: 'paper', low: 0.1, ratio: 1, temperature: { from: 1, to: 0 } } },
      'pad.temperature is 0',
    ],
    ['no steps', { steps: 0 }, 'steps is 0'],
  ])('refuses %s before it starts', async (_, changes, message) => {
    const policy = newPolicy()
    await expect(train({ policy, stages: [sft(), rl(changes)] })).rejects.toThrow(message)
    expect(policy.tables.updates).toBe(0)
  })

  it('refuses KL without a reference, and two stages of one name', async () => {
    const { sample, score, accumulate, step, setTrainable, resetOptimizer, save, load, promptLength } = newPolicy()
    const policy = { sample, score, accumulate, step, setTrainable, resetOptimizer, save, load, promptLength }
    const stages = [rl({ kl: { estimator: 'k3', coefficient: 0.1 } })]
    await expect(train({ policy, stages })).rejects.toThrow('the policy has no reference')
    await expect(train({ policy, stages: [sft(), sft()] })).rejects.toThrow("Two stages are called 'cold-start'")
  })
})

describe('values that are not finite', () => {
  /** Makes accumulated log-probs NaN in the given calls. */
  function poison(policy: TabularPolicy, isBad: (call: number) => boolean): void {
    const accumulate = policy.accumulate.bind(policy)
    let call = 0
    policy.accumulate = (batch, loss) => {
      const bad = isBad(call++)
      return accumulate(batch, (scores) =>
        loss(
          bad
            ? { ...scores, logProbs: scores.logProbs.map(({ length }) => new Float32Array(length).fill(NaN)) }
            : scores,
        ),
      )
    }
  }

  it('skip the step, count it, and change nothing', async () => {
    const policy = newPolicy()
    const records: MetricRecord[] = []
    const logits: string[] = []
    // One micro-batch per step; steps 2 and 3 are bad.
    poison(policy, (call) => call === 1 || call === 2)
    await train({
      policy,
      stages: [sft({ steps: 4, tokensPerMicroBatch: 1000 })],
      hooks: {
        onMetrics: (record) => {
          records.push(record)
          logits.push(JSON.stringify(policy.tables.logits))
        },
      },
    })
    expect(records.map((record) => record['skipped_steps'])).toEqual([0, 1, 2, 2])
    expect(logits[0]).toBe(logits[2])
    expect(logits[2]).not.toBe(logits[3])
    expect(policy.tables.updates).toBe(2)
  })

  it('drop what good micro-batches had accumulated', async () => {
    const policy = newPolicy()
    poison(policy, (call) => call === 1)
    await train({ policy, stages: [sft({ steps: 1, tokensPerMicroBatch: 8 })] })
    expect(policy.tables.logits.flat().every((value) => value === 0)).toBe(true)
    expect(policy.tables.gradients.flat().every((value) => value === 0)).toBe(true)
  })

  it('end the run after several in a row, with a diagnosis', async () => {
    const policy = newPolicy()
    poison(policy, (call) => call >= 2)
    const failing = train({ policy, stages: [sft({ steps: 20, tokensPerMicroBatch: 1000 })], maxSkippedSteps: 3 })
    await expect(failing).rejects.toThrow(
      /Stage 'cold-start', step 5: .* in 3 optimizer steps in a row[\s\S]*step 2: loss \d/,
    )
  })
})

describe('resume', () => {
  type Options = Partial<TrainOptions<number>>
  const start = (policy: TabularPolicy, runDirectory: string, options: Options = {}) =>
    train({
      policy,
      stages: everything(),
      seed: 3,
      runDirectory,
      checkpoints: { every: 2, keep: 2 },
      evaluateEvery: 4,
      ...options,
      hooks: {
        evaluate: ({ globalStep }) => ({
          metrics: { sum: policy.tables.logits.flat().reduce((a, b) => a + b, globalStep) },
        }),
        ...options.hooks,
      },
    })

  /** What a finished run leaves behind. */
  const remains = (policy: TabularPolicy, path: string) => ({
    tables: JSON.stringify(policy.tables),
    metrics: lines(join(path, 'metrics.jsonl')),
    samples: lines(join(path, 'samples', 'training.jsonl')),
  })

  async function undisturbed() {
    const policy = newPolicy()
    const path = join(directory, 'undisturbed')
    const result = await start(policy, path)
    return { ...remains(policy, path), result }
  }

  const withoutSeconds = ({ stages, ...rest }: Awaited<ReturnType<typeof start>>) => ({
    ...rest,
    stages: stages.map(({ seconds: _, ...stage }) => stage),
  })

  it('after a crash at any moment ends in the same bits and the same records', async () => {
    const expected = await undisturbed()
    expect(expected.metrics).toHaveLength(16 + 6)
    const crashes = new Set<string>()
    for (const round of [1, 2, 3]) {
      const path = join(directory, `crashing-${round}`)
      for (let attempt = 0; ; attempt++) {
        expect(attempt).toBeLessThan(50)
        const policy = newPolicy()
        let left = 5 + createRandom(round, 'crash', attempt).below(40)
        policy.onCall = (call) => {
          if (--left > 0) return
          crashes.add(call)
          throw new Error('killed')
        }
        try {
          const result = await start(policy, path, { resume: true })
          expect(withoutSeconds(result)).toEqual(withoutSeconds(expected.result))
          expect(remains(policy, path)).toEqual({
            tables: expected.tables,
            metrics: expected.metrics,
            samples: expected.samples,
          })
          break
        } catch (error) {
          if (!(error instanceof Error && error.message === 'killed')) throw error
        }
      }
    }
    // Also halfway through writing a checkpoint.
    expect([...crashes].sort()).toEqual(['accumulate', 'sample', 'save', 'score', 'step'])
  })

  it('after an abort between or within steps does, too', async () => {
    const expected = await undisturbed()
    const path = join(directory, 'aborted')
    let interruptions = 0
    for (let attempt = 0; ; attempt++) {
      const policy = newPolicy()
      const controller = new AbortController()
      let calls = 0
      const moment = 3 + createRandom(11, 'abort', attempt).below(25)
      policy.onCall = () => {
        if (++calls === moment) controller.abort()
      }
      const result = await start(policy, path, { resume: true, signal: controller.signal })
      if (!result.interrupted) {
        expect(remains(policy, path)).toEqual({
          tables: expected.tables,
          metrics: expected.metrics,
          samples: expected.samples,
        })
        break
      }
      interruptions++
      expect(attempt).toBeLessThan(100)
    }
    expect(interruptions).toBeGreaterThan(3)
  })

  it('drops a step that was aborted while sampling', async () => {
    const policy = newPolicy()
    const controller = new AbortController()
    const started: unknown[] = []
    policy.onCall = (call) => {
      if (call === 'sample') controller.abort()
    }
    const first = await start(policy, directory, { signal: controller.signal })
    expect(first).toMatchObject({ interrupted: true, globalStep: 4 })
    await start(newPolicy(), directory, { resume: true, hooks: { onStart: (from) => void started.push(from) } })
    expect(started).toEqual([{ stage: 'cold-start', step: 4, globalStep: 4 }])
  })

  it('from a damaged checkpoint goes back one further, with a warning', async () => {
    const expected = await undisturbed()
    const policy = newPolicy()
    const path = join(directory, 'damaged')
    policy.onCall = (call) => {
      if (call === 'sample' && existsSync(join(path, 'checkpoints', 'step-000008'))) throw new Error('killed')
    }
    await expect(start(policy, path)).rejects.toThrow('killed')
    const checkpoints = join(path, 'checkpoints')
    expect(readdirSync(checkpoints).sort()).toEqual(['step-000006', 'step-000008'])
    truncateSync(join(checkpoints, 'step-000008', 'policy', 'optimizer.json'), 100)
    const warnings: string[] = []
    const second = newPolicy()
    await start(second, path, { resume: true, hooks: { onWarning: (message) => void warnings.push(message) } })
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toContain('step-000008 is damaged (policy/optimizer.json has 100 bytes')
    expect(remains(second, path)).toEqual({
      tables: expected.tables,
      metrics: expected.metrics,
      samples: expected.samples,
    })
  })

  it('of a finished run returns what it had', async () => {
    const first = await undisturbed()
    const path = join(directory, 'again')
    cpSync(join(directory, 'undisturbed'), path, { recursive: true })
    const policy = newPolicy()
    expect(withoutSeconds(await start(policy, path, { resume: true }))).toEqual(withoutSeconds(first.result))
    expect(remains(policy, path).metrics).toEqual(first.metrics)
  })

  it('is refused with another seed or other stages, and so is starting over a used folder', async () => {
    await start(newPolicy(), directory)
    await expect(start(newPolicy(), directory)).rejects.toThrow('holds a run already. Pass resume: true')
    await expect(start(newPolicy(), directory, { resume: true, seed: 4 })).rejects.toThrow('its seed is 3, now it is 4')
    await expect(start(newPolicy(), directory, { resume: true, stages: [sft()] })).rejects.toThrow('list of stages')
    await expect(train({ policy: newPolicy(), stages: [sft()], resume: true })).rejects.toThrow(
      'resume needs a runDirectory',
    )
  })
})
