import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { answerOf, newPolicy, PROMPTS, rl, sft, sftData } from '../../test/sequence-task.js'
import type { TabularPolicy } from '../../test/tabular-policy.js'
import { combineRewards } from '../rewards/scorer.js'
import { RewardWorker } from '../rewards/worker.js'
import type { MetricRecord } from './records.js'
import type { RlStage } from './stages.js'
import { train } from './train.js'

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

  it('is not held up by a reward that hangs', async () => {
    const load = (onError: 'raise' | { readonly score: number }) =>
      RewardWorker.create(
        [{ use: './bad.mjs#alwaysHangs' }, { use: 'efficient-length', options: { budget: 2 } }],
        { baseDir: fileURLToPath(new URL('../../test/fixtures/rewards', import.meta.url)) },
        { timeout: 100, onError },
      )
    const records: MetricRecord[] = []
    const hooks = { onMetrics: (record: MetricRecord) => void records.push(record) }
    const raising = rl({ steps: 2, rewards: await load('raise') })
    await expect(train({ policy: newPolicy(), stages: [raising], hooks })).rejects.toThrow(
      "Reward 'alwaysHangs': took longer",
    )
    expect(records).toEqual([])
    await train({ policy: newPolicy(), stages: [rl({ steps: 2, rewards: await load({ score: 0 }) })], hooks })
    expect(records.map((record) => record['rewards/alwaysHangs/errors'])).toEqual([1, 1])
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
