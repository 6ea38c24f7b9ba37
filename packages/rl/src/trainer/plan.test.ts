import { expect, it } from 'vitest'
import { newPolicy, rl, sft } from '../../test/sequence-task.js'
import type { Call } from '../../test/tabular-policy.js'
import { planStages } from './plan.js'
import type { RlStage } from './stages.js'
import { train } from './train.js'

it.each<[string, Partial<RlStage<number>>]>([
  ['as it is', {}],
  [
    'with several updates and a reference',
    { updatesPerStep: 2, innerEpochs: 2, kl: { estimator: 'k3', coefficient: 0.1 } },
  ],
  ['with token selection', { algorithm: 'kl_cov' }],
  ['with a KL in the reward', { kl: { estimator: 'k1', coefficient: 0.1, in: 'reward' } }],
])('counts what a run does, %s', async (_, changes) => {
  // Everything in one micro-batch, so that a pass is a call.
  const stage = rl({ steps: 3, tokensPerMicroBatch: 1e6, ...changes })
  const policy = newPolicy()
  const calls = new Map<Call | 'reference', number>()
  const count = (call: Call | 'reference') => calls.set(call, (calls.get(call) ?? 0) + 1)
  policy.onCall = count
  const scoreReference = policy.scoreReference.bind(policy)
  policy.scoreReference = (batch) => {
    count('reference')
    return scoreReference(batch)
  }
  await train({ policy, stages: [stage] })
  const [plan] = planStages([stage])
  expect(plan).toMatchObject({ steps: 3, prompts: 12, maxCompletions: 72, maxGeneratedTokens: 288 })
  expect(calls.get('step')).toBe(plan?.updates)
  const { updatesPerStep = 1 } = changes
  const passes = (calls.get('score') ?? 0) + (calls.get('reference') ?? 0)
  expect(passes / 3).toBe((plan?.scoringPasses ?? 0) * (changes.algorithm ? updatesPerStep : 1))
})

it('counts all rounds of dynamic sampling, and greedy completions', () => {
  const dynamic = { dynamicSampling: { maxRounds: 3 } }
  const [supervised, dapo, remax] = planStages([
    sft({ steps: 5 }),
    rl({ steps: 2, ...dynamic }),
    rl({ steps: 2, algorithm: 'remax' }),
  ])
  expect(supervised).toEqual({
    stage: 'cold-start',
    steps: 5,
    prompts: 20,
    maxPrompts: 20,
    maxCompletions: 0,
    maxGeneratedTokens: 0,
    updates: 5,
    scoringPasses: 0,
  })
  expect(dapo).toMatchObject({ prompts: 8, maxPrompts: 24, maxCompletions: 144 })
  expect(remax).toMatchObject({ maxCompletions: 2 * 4 * 7 })
})
