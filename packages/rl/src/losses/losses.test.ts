import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { denominatorsOf, type Aggregation } from './aggregation.js'
import { adaptedKlCoefficient, klTerm, type KlEstimator } from './kl.js'
import {
  addPolicyLossSums,
  policyLoss,
  policyLossMetrics,
  type PolicyLossInputs,
  type PolicyLossSettings,
} from './policy.js'
import { addSftLossSums, sftLoss, sftLossMetrics } from './sft.js'

describe('klTerm', () => {
  it('stays finite for hopeless tokens, and can be bounded', () => {
    expect(klTerm('k3', -1000, -1)).toEqual({ value: Math.exp(20) - 21, gradient: 0 })
    expect(klTerm('k3', -5, -1, 10)).toEqual({ value: 10, gradient: 0 })
    expect(klTerm('k1', -15, -1, 10)).toEqual({ value: -10, gradient: 0 })
  })

  it('adapts its coefficient by at most a fifth over the horizon', () => {
    const adaptive = { target: 0.1, horizon: 1000 }
    expect(adaptedKlCoefficient(0.01, 0.11, 100, adaptive)).toBeCloseTo(0.01 * (1 + 0.1 * 0.1), 12)
    expect(adaptedKlCoefficient(0.01, 5, 1000, adaptive)).toBeCloseTo(0.012, 12)
    expect(adaptedKlCoefficient(0.01, 0, 500, adaptive)).toBeCloseTo(0.009, 12)
    expect(() => adaptedKlCoefficient(0.01, 1, 1, { target: 0, horizon: 1 })).toThrow('target 0')
  })
})

const logProb = fc.double({ min: -4, max: -0.01, noNaN: true })
const sequence = fc
  .array(
    fc.record({ logProb, old: logProb, reference: logProb, entropy: fc.double({ min: 0, max: 2, noNaN: true }) }),
    {
      minLength: 0,
      maxLength: 6,
    },
  )
  .chain((tokens) => fc.record({ tokens: fc.constant(tokens), advantage: fc.double({ min: -2, max: 2, noNaN: true }) }))
const batch = fc
  .array(sequence, { minLength: 1, maxLength: 7 })
  .filter((some) => some.some(({ tokens }) => tokens.length > 0))
type Batch = typeof batch extends fc.Arbitrary<infer Value> ? Value : never

const inputsOf = (some: Batch): PolicyLossInputs => ({
  logProbs: some.map(({ tokens }) => tokens.map((token) => token.logProb)),
  oldLogProbs: some.map(({ tokens }) => tokens.map(({ old }) => old)),
  referenceLogProbs: some.map(({ tokens }) => tokens.map(({ reference }) => reference)),
  entropies: some.map(({ tokens }) => tokens.map(({ entropy }) => entropy)),
  advantages: some.map(({ advantage }) => advantage),
})

const settings = fc.record({
  clip: fc.constantFrom({ low: 0.2, high: 0.28 }, { low: 0.2, high: 0.25, dual: 3 }),
  aggregation: fc.constantFrom<Aggregation>('token-mean', 'sequence-mean'),
  kl: fc.record({ estimator: fc.constantFrom<KlEstimator>('k1', 'k2', 'k3'), coefficient: fc.constantFrom(0, 0.04) }),
  entropy: fc.record({
    coefficient: fc.constantFrom(0, 0.02),
    kind: fc.constantFrom('true-entropy' as const, 'sampled-logprob' as const),
  }),
})

/** Cuts a list at the given places. */
const split = <Item>(items: readonly Item[], cuts: readonly boolean[]): Item[][] => {
  const parts: Item[][] = [[]]
  items.forEach((item, index) => {
    if (index > 0 && cuts[index]) parts.push([])
    ;(parts.at(-1) as Item[]).push(item)
  })
  return parts
}

describe('any split into micro-batches', () => {
  it('gives the same loss, gradients and metrics (policy)', () => {
    fc.assert(
      fc.property(batch, settings, fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }), (some, how, cuts) => {
        const denominators = denominatorsOf(some.map(({ tokens }) => tokens.length))
        const whole = policyLoss(inputsOf(some), how, denominators)
        const parts = split(some, cuts).map((part) => policyLoss(inputsOf(part), how, denominators))
        expect(parts.reduce((total, { loss }) => total + loss, 0)).toBeCloseTo(whole.loss, 10)
        expect(parts.flatMap(({ logProbGradients }) => logProbGradients)).toEqual(whole.logProbGradients)
        expect(parts.flatMap(({ entropyGradients }) => entropyGradients ?? [])).toEqual(whole.entropyGradients ?? [])
        const together = policyLossMetrics(addPolicyLossSums(parts.map(({ sums }) => sums)))
        for (const [name, value] of Object.entries(policyLossMetrics(whole.sums))) {
          expect(together[name]).toBeCloseTo(value, 10)
        }
      }),
    )
  })

  it('gives the same loss, gradients and metrics (supervised)', () => {
    fc.assert(
      fc.property(
        batch,
        fc.constantFrom<Aggregation>('token-mean', 'sequence-mean'),
        fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }),
        (some, aggregation, cuts) => {
          const denominators = denominatorsOf(some.map(({ tokens }) => tokens.length))
          const whole = sftLoss(inputsOf(some), { aggregation }, denominators)
          const parts = split(some, cuts).map((part) => sftLoss(inputsOf(part), { aggregation }, denominators))
          expect(parts.flatMap(({ logProbGradients }) => logProbGradients)).toEqual(whole.logProbGradients)
          const together = sftLossMetrics(addSftLossSums(parts.map(({ sums }) => sums)))
          for (const [name, value] of Object.entries(sftLossMetrics(whole.sums))) {
            expect(together[name]).toBeCloseTo(value, 10)
          }
        },
      ),
    )
  })
})

describe('policyLoss', () => {
  const plain: PolicyLossSettings = { clip: { low: 0.2, high: 0.2 }, aggregation: 'token-mean' }
  const one = { logProbs: [[-1, -2]], entropies: [[1, 1]], advantages: [2] }

  it('has ratio 1 and gradient −A/tokens without old log-probs', () => {
    const { loss, logProbGradients, entropyGradients } = policyLoss(one, plain, { tokens: 4, sequences: 2 })
    expect(loss).toBe(-1)
    expect(logProbGradients).toEqual([Float64Array.of(-0.5, -0.5)])
    expect(entropyGradients).toBeUndefined()
  })

  it('clamps hopeless log-ratios to ±20', () => {
    const inputs = { ...one, oldLogProbs: [[-1000, 1000]], advantages: [-1] }
    const { loss, logProbGradients } = policyLoss(inputs, plain, { tokens: 1e9, sequences: 1e9 })
    expect(loss).toBeCloseTo((Math.exp(20) + 0.8) / 1e9, 12)
    expect(logProbGradients).toEqual([Float64Array.of(0, 0)])
  })

  it('bounds the loss of bad tokens by the dual clip', () => {
    const inputs = { ...one, oldLogProbs: [[-5, -2]], advantages: [-1] }
    const { loss, logProbGradients, sums } = policyLoss(
      inputs,
      { ...plain, clip: { low: 0.2, high: 0.2, dual: 3 } },
      { tokens: 2, sequences: 1 },
    )
    expect(loss).toBe(2)
    expect(logProbGradients).toEqual([Float64Array.of(0, 0.5)])
    expect(policyLossMetrics(sums)['clip_ratio/dual_mean']).toBe(0.5)
  })

  it.each([
    [{ ...one, advantages: [1, 2] }, plain, '2 advantages for 1 sequences'],
    [{ ...one, entropies: [[1]] }, plain, 'entropies[0] has 1 tokens'],
    [{ ...one, oldLogProbs: [] }, plain, 'oldLogProbs has 0 sequences'],
    [one, { ...plain, kl: { estimator: 'k3', coefficient: 0.1 } }, 'no referenceLogProbs'],
    [one, { ...plain, clip: { low: 2, high: 0.2 } }, 'clip.low is 2'],
    [one, { ...plain, clip: { low: 0.2, high: 0.2, dual: 1 } }, 'clip.dual is 1'],
    [one, { ...plain, clip: { low: 0.2, high: 0.2, cap: 0.5 } }, 'clip.cap is 0.5'],
    [one, { ...plain, objective: { kind: 'cispo', bound: 'cap', max: 0 } }, 'loss.max is 0'],
    [one, { ...plain, objective: { kind: 'kl-cov' } }, "'kl-cov' needs pickedTokens"],
    [one, { ...plain, correction: { level: 'token', mode: 'mask', max: 2 } }, 'correction needs samplerLogProbs'],
    [one, { ...plain, correction: { level: 'token', mode: 'mask', max: 2, min: 3 } }, 'correction.min is 3'],
    [one, { ...plain, aggregation: 'local-token-mean' }, 'needs localTokens'],
    [one, { ...plain, aggregation: { kind: 'constant', denominator: 0 } }, 'aggregation.denominator is 0'],
  ] as const)('refuses wrong input %#', (inputs, how, message) => {
    expect(() => policyLoss(inputs, how, { tokens: 2, sequences: 1 })).toThrow(message)
  })

  it('refuses denominators of less than the micro-batch', () => {
    expect(() => policyLoss(one, plain, { tokens: 1, sequences: 1 })).toThrow('totals of the whole optimizer batch')
  })
})

describe('sftLoss', () => {
  const inputs = { logProbs: [[-1, -3], [-2]], entropies: [[1, 1], [1]] }

  it('is the mean negative log-likelihood', () => {
    const denominators = denominatorsOf([2, 1])
    expect(sftLoss(inputs, { aggregation: 'token-mean' }, denominators).loss).toBeCloseTo(2, 12)
    const mean = sftLoss({ ...inputs, logProbs: [[-1, -3], [-4]] }, { aggregation: 'sequence-mean' }, denominators)
    expect(mean.loss).toBeCloseTo(3, 12)
    expect(mean.logProbGradients).toEqual([Float64Array.of(-0.25, -0.25), Float64Array.of(-0.5)])
  })
})
