import { describe, expect, it } from 'vitest'
import { createRandom } from '../random.js'
import { denominatorsOf, localTokenCounts, type Aggregation, type Denominators } from './aggregation.js'
import { klEstimators, type KlEstimator } from './kl.js'
import { addPolicyLossSums, policyLoss, policyLossMetrics } from './policy.js'
import type { PolicyObjective } from './objectives.js'
import type { PolicyLossInputs, PolicyLossSettings } from './policy.js'
import { selectCovariance } from './selection.js'

const LENGTHS = [4, 1, 6, 0, 3]

/** Objectives whose gradient is that of their value. */
const differentiable: PolicyObjective[] = [
  { kind: 'clip' },
  { kind: 'clip', level: 'sequence' },
  { kind: 'sapo' },
  { kind: 'sapo', level: 'sequence', temperaturePositive: 0.7 },
  { kind: 'gmpo' },
  { kind: 'reinforce' },
  { kind: 'clip-cov', share: 0.3, lower: -1, upper: 1 },
  { kind: 'kl-cov', share: 0.3, coefficient: 0.5 },
]
/** Objectives that hold the ratio constant in a product with log π. */
const heldConstant: PolicyObjective[] = [
  { kind: 'cispo', bound: 'range' },
  { kind: 'cispo', bound: 'cap', max: 1.1 },
  { kind: 'cispo', bound: 'cap', max: 1.1, level: 'sequence' },
  { kind: 'vespo' },
]
const aggregations: Aggregation[] = [
  'token-mean',
  'sequence-mean',
  'sequence-sum',
  'token-sum',
  'local-token-mean',
  { kind: 'sequence-sum-constant', length: 8 },
  { kind: 'constant', denominator: 20 },
]

const local = localTokenCounts(LENGTHS, [0, 0, 1, 1, 1])
const denominators: Denominators = { ...denominatorsOf(LENGTHS), localBatches: local.batches }

/** A batch with everything a loss may read; advantages per token where `perToken`. */
function batch(seed: number, objective: PolicyObjective, perToken = false): PolicyLossInputs {
  const random = createRandom(seed, 'losses')
  const draw = (low: number, high: number) =>
    LENGTHS.map((length) => Array.from({ length }, () => low + (high - low) * random.uniform()))
  const logProbs = draw(-2, -0.1)
  const near = (spread: number) =>
    logProbs.map((row) => row.map((value) => value + spread * (2 * random.uniform() - 1)))
  const advantages = LENGTHS.map(() => 4 * random.uniform() - 2)
  const inputs = {
    logProbs,
    oldLogProbs: near(0.5),
    referenceLogProbs: near(1),
    samplerLogProbs: near(0.6),
    entropies: draw(0, 2),
    advantages: perToken ? draw(-2, 2) : advantages,
    tokenFactors: draw(0, 1).map((row) => row.map((value) => (value < 0.2 ? 0 : value))),
    localTokens: local.tokens,
  }
  const covariance = objective.kind === 'clip-cov' || objective.kind === 'kl-cov' ? objective : null
  if (!covariance) return inputs
  return { ...inputs, pickedTokens: selectCovariance(logProbs, inputs.advantages, covariance, random) }
}

const STEP = 1e-6

/** Replaces one token of one argument by itself plus `by`. */
const moved = (values: readonly (ArrayLike<number> | null)[], i: number, t: number, by: number) =>
  values.map((row, index) => {
    const copy = Array.from(row as ArrayLike<number>)
    if (index === i) copy[t] = (copy[t] as number) + by
    return copy
  })

/**
 * Checks the gradient of every token by central differences. `together` names arguments that move with the log-probs, so that
 * what depends on differences of log-probs alone stays constant. Corners, where the slopes of both sides differ, are passed over.
 */
function expectSlopes(
  inputs: PolicyLossInputs,
  settings: PolicyLossSettings,
  together: readonly ('oldLogProbs' | 'samplerLogProbs')[],
): void {
  const { logProbGradients, entropyGradients } = policyLoss(inputs, settings, denominators)
  const lossAt = (name: 'logProbs' | 'entropies', i: number, t: number, by: number) => {
    const changed = { [name]: moved(inputs[name], i, t, by) }
    for (const other of name === 'logProbs' ? together : []) changed[other] = moved(inputs[other] ?? [], i, t, by)
    return policyLoss({ ...inputs, ...changed }, settings, denominators).loss
  }
  const here = policyLoss(inputs, settings, denominators).loss
  let checked = 0
  LENGTHS.forEach((length, i) => {
    for (let t = 0; t < length; t++) {
      const [before, after] = [lossAt('logProbs', i, t, -STEP), lossAt('logProbs', i, t, STEP)]
      const own = logProbGradients[i]?.[t] as number
      if (Math.abs(after - here - (here - before)) > 1e-9) continue
      expect(Math.abs(own - (after - before) / (2 * STEP)), `token ${t} of ${i}`).toBeLessThan(
        2e-7 * Math.max(1, Math.abs(own)),
      )
      checked++
      const entropySlope = (lossAt('entropies', i, t, STEP) - lossAt('entropies', i, t, -STEP)) / (2 * STEP)
      expect(entropyGradients?.[i]?.[t] ?? 0).toBeCloseTo(entropySlope, 7)
    }
  })
  expect(checked).toBeGreaterThan(12)
}

const clip = { low: 0.2, high: 0.28, dual: 3 }
const named = (objective: PolicyObjective) => [JSON.stringify(objective), objective] as const

describe('gradients by finite differences, every aggregation', () => {
  it.each(differentiable.map(named))('%s', (_, objective) => {
    aggregations.forEach((aggregation, seed) => {
      for (const perToken of [false, true]) {
        expectSlopes(batch(seed, objective, perToken), { clip, objective, aggregation }, [])
      }
    })
  })

  it.each(heldConstant.map(named))('%s, the ratio held constant', (_, objective) => {
    aggregations.forEach((aggregation, seed) => {
      for (const perToken of [false, true]) {
        expectSlopes(batch(seed, objective, perToken), { clip, objective, aggregation }, ['oldLogProbs'])
      }
    })
  })

  it('with a cap on the ratio', () => {
    for (let seed = 0; seed < 6; seed++) {
      for (const cap of [1.1, 1.4]) {
        const settings = { clip: { low: 0.2, high: 0.28, cap }, aggregation: 'token-mean' } as const
        expectSlopes(batch(seed, { kind: 'clip' }), settings, [])
      }
    }
  })

  it('GSPO-token has the value of GSPO, and its slope when all tokens move together', () => {
    for (const aggregation of aggregations) {
      const inputs = {
        ...batch(3, { kind: 'clip' }),
        tokenFactors: LENGTHS.map((length) => Array<number>(length).fill(1)),
      }
      const of = (level: 'sequence' | 'sequence-token') =>
        policyLoss(inputs, { clip, objective: { kind: 'clip', level }, aggregation }, denominators)
      const [whole, token] = [of('sequence'), of('sequence-token')]
      expect(token.loss).toBe(whole.loss)
      const totals = ({ logProbGradients }: typeof whole) =>
        logProbGradients.map((row) => row.reduce((a, b) => a + b, 0))
      totals(whole).forEach((slope, index) => expect(totals(token)[index]).toBeCloseTo(slope, 12))
    }
  })
})

describe('KL, entropy and corrections by finite differences', () => {
  const valued = klEstimators.filter((name) => !name.endsWith('through'))
  const objectives: PolicyObjective[] = [{ kind: 'clip' }, { kind: 'clip', level: 'sequence' }]

  it.each(valued.flatMap((name) => [false, true].map((corrected) => [name, corrected] as const)))(
    '%s, ratio-corrected: %s',
    (estimator, ratioCorrected) => {
      for (const objective of objectives) {
        for (const aggregation of aggregations) {
          const kl = { estimator, coefficient: 0.3, ratioCorrected }
          expectSlopes(batch(5, objective), { clip, objective, aggregation, kl }, [])
        }
      }
    },
  )

  it.each(['k1', 'k3'] as const)('%s-straight-through has its value and the gradient of k2', (base) => {
    const inputs = { ...batch(5, { kind: 'clip' }), advantages: LENGTHS.map(() => 0) }
    const at = (estimator: KlEstimator) =>
      policyLoss(inputs, { clip, aggregation: 'token-mean', kl: { estimator, coefficient: 1 } }, denominators)
    const through = at(`${base}-straight-through`)
    expect(through.loss).toBe(at(base).loss)
    expect(through.logProbGradients).toEqual(at('k2').logProbGradients)
  })

  it.each(['true-entropy', 'sampled-logprob'] as const)('entropy, %s', (kind) => {
    for (const aggregation of aggregations) {
      const entropy = { coefficient: 0.1, kind }
      expectSlopes(batch(6, { kind: 'clip' }), { clip, aggregation, entropy }, [])
    }
  })

  it('weights between sampler and learner are held constant', () => {
    for (const level of ['token', 'sequence', 'geometric'] as const) {
      for (const mode of ['truncate', 'mask'] as const) {
        for (const objective of [...heldConstant, { kind: 'reinforce' } as const]) {
          const correction = { level, mode, max: 1.3, min: 0.6 }
          const settings: PolicyLossSettings = { clip, objective, aggregation: 'sequence-mean', correction }
          expectSlopes(batch(7, objective), settings, ['oldLogProbs', 'samplerLogProbs'])
        }
      }
    }
  })
})

describe('any split into micro-batches', () => {
  const slice = (inputs: PolicyLossInputs, from: number, to: number): PolicyLossInputs =>
    Object.fromEntries(
      Object.entries(inputs).map(([name, values]) => [name, (values as readonly unknown[]).slice(from, to)]),
    ) as unknown as PolicyLossInputs

  it.each([...differentiable, ...heldConstant, { kind: 'clip', level: 'sequence-token' } as const].map(named))(
    'gives the same loss, gradients and metrics: %s',
    (_, objective) => {
      aggregations.forEach((aggregation, seed) => {
        const settings: PolicyLossSettings = {
          clip,
          objective,
          aggregation,
          kl: { estimator: 'k3', coefficient: 0.1, ratioCorrected: true },
          entropy: { coefficient: 0.1, kind: 'true-entropy' },
          correction: { level: 'token', mode: 'truncate', max: 2 },
          offPolicyThreshold: 0.1,
        }
        const inputs = batch(seed, objective)
        const whole = policyLoss(inputs, settings, denominators)
        const parts = [slice(inputs, 0, 2), slice(inputs, 2, 3), slice(inputs, 3, 5)].map((part) =>
          policyLoss(part, settings, denominators),
        )
        expect(parts.reduce((total, { loss }) => total + loss, 0)).toBeCloseTo(whole.loss, 12)
        expect(parts.flatMap(({ logProbGradients }) => logProbGradients)).toEqual(whole.logProbGradients)
        const together = policyLossMetrics(addPolicyLossSums(parts.map(({ sums }) => sums)))
        for (const [name, value] of Object.entries(policyLossMetrics(whole.sums))) {
          expect(together[name], name).toBeCloseTo(value, 12)
        }
      })
    },
  )
})
