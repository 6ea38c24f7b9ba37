import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { denominatorsOf, type Aggregation } from './aggregation.js'
import { klTerm, type KlEstimator } from './kl.js'
import {
  addPolicyLossSums,
  policyLoss,
  policyLossMetrics,
  type PolicyLossInputs,
  type PolicyLossSettings,
} from './policy.js'
import { addSftLossSums, sftLoss, sftLossMetrics } from './sft.js'

type Matrix = readonly (readonly number[])[]

const fixture = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../test/fixtures/${name}.json`, import.meta.url), 'utf8'))

const trl = fixture('trl-losses') as {
  readonly cases: readonly {
    readonly settings: { loss_type: 'grpo' | 'bnpo' | 'dapo'; beta?: number; eps_low?: number; eps_high?: number }
    readonly logp: Matrix
    readonly old_logp: Matrix
    readonly ref_logp: Matrix
    readonly entropy: Matrix
    readonly advantages: readonly number[]
    readonly lengths: readonly number[]
    readonly loss: number
    readonly grad: Matrix
    readonly metrics: { readonly [metric: string]: number }
  }[]
}

const easyR1 = fixture('easyr1-core') as {
  readonly lengths: readonly number[]
  readonly losses: readonly {
    readonly loss_avg_mode: 'token' | 'seq'
    readonly clip_ratio_low: number
    readonly clip_ratio_high: number
    readonly clip_ratio_dual: number
    readonly old_log_probs: Matrix
    readonly log_probs: Matrix
    readonly advantages: readonly number[]
    readonly loss: number
    readonly grad: Matrix
  }[]
  readonly kl: readonly {
    readonly estimator: 'kl' | 'mse' | 'low_var_kl'
    readonly log_probs: Matrix
    readonly ref_log_probs: Matrix
    readonly value: Matrix
    readonly grad_of_sum: Matrix
  }[]
}

const cut = (matrix: Matrix, lengths: readonly number[]) => matrix.map((row, index) => row.slice(0, lengths[index]))

function expectGradients(own: readonly Float64Array[], expected: Matrix, digits: number): void {
  own.forEach((row, i) => row.forEach((value, t) => expect(value).toBeCloseTo(expected[i]?.[t] as number, digits)))
}

describe('policyLoss against TRL', () => {
  it.each(trl.cases)('$settings', ({ settings, lengths, ...golden }) => {
    const { loss_type, beta = 0, eps_low = 0.2, eps_high = 0.2 } = settings
    const inputs = {
      logProbs: cut(golden.logp, lengths),
      oldLogProbs: cut(golden.old_logp, lengths),
      referenceLogProbs: cut(golden.ref_logp, lengths),
      entropies: cut(golden.entropy, lengths),
      advantages: golden.advantages,
    }
    const result = policyLoss(
      inputs,
      {
        clip: { low: eps_low, high: eps_high },
        aggregation: loss_type === 'grpo' ? 'sequence-mean' : 'token-mean',
        kl: { estimator: 'k3', coefficient: beta },
      },
      denominatorsOf(lengths),
    )
    expect(result.loss).toBeCloseTo(golden.loss, 9)
    expectGradients(result.logProbGradients, golden.grad, 9)
    const metrics = policyLossMetrics(result.sums)
    const shared = Object.keys(golden.metrics).filter((name) => name in metrics)
    expect(shared).toEqual(expect.arrayContaining(['entropy', 'clip_ratio/low_mean', 'clip_ratio/region_mean']))
    // TRL counts clipped tokens in float32.
    for (const name of shared) expect(metrics[name]).toBeCloseTo(golden.metrics[name] as number, 6)
  })
})

describe('policyLoss against EasyR1', () => {
  it.each(easyR1.losses)('$loss_avg_mode', (golden) => {
    const { lengths } = easyR1
    const logProbs = cut(golden.log_probs, lengths)
    const result = policyLoss(
      { logProbs, oldLogProbs: cut(golden.old_log_probs, lengths), entropies: logProbs, advantages: golden.advantages },
      {
        clip: { low: golden.clip_ratio_low, high: golden.clip_ratio_high, dual: golden.clip_ratio_dual },
        aggregation: golden.loss_avg_mode === 'token' ? 'token-mean' : 'sequence-mean',
      },
      denominatorsOf(lengths),
    )
    // Its means add 1e-8 to every length, which is worth up to 5e-9 here.
    expect(Math.abs(result.loss - golden.loss)).toBeLessThan(5e-9)
    expectGradients(result.logProbGradients, golden.grad, 8)
  })
})

describe('klTerm', () => {
  const names = { kl: 'k1', mse: 'k2', low_var_kl: 'k3' } as const
  it.each(easyR1.kl)('is that of EasyR1: $estimator', ({ estimator, log_probs, ref_log_probs, value, grad_of_sum }) => {
    easyR1.lengths.forEach((length, i) => {
      for (let t = 0; t < length; t++) {
        const term = klTerm(names[estimator], log_probs[i]?.[t] as number, ref_log_probs[i]?.[t] as number)
        // EasyR1 casts to float32 here.
        expect(term.value).toBeCloseTo(value[i]?.[t] as number, 6)
        expect(term.gradient).toBeCloseTo(grad_of_sum[i]?.[t] as number, 6)
      }
    })
  })

  it('stays finite for hopeless tokens, and can be bounded', () => {
    expect(klTerm('k3', -1000, -1)).toEqual({ value: Math.exp(20) - 21, gradient: 0 })
    expect(klTerm('k3', -5, -1, 10)).toEqual({ value: 10, gradient: 0 })
    expect(klTerm('k1', -15, -1, 10)).toEqual({ value: -10, gradient: 0 })
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

describe('gradients by finite differences', () => {
  const h = 1e-6

  /** Whether the ratio is so close to a corner of the clipped loss that a difference would straddle it. */
  const nearCorner = (some: Batch, { clip }: PolicyLossSettings) =>
    some.some(({ tokens }) =>
      tokens.some(({ logProb: own, old }) =>
        [1 - clip.low, 1 + clip.high, clip.dual ?? 1].some((corner) => Math.abs(Math.exp(own - old) - corner) < 1e-4),
      ),
    )

  it('agree with the analytic ones', () => {
    fc.assert(
      fc.property(batch, settings, (some, how) => {
        fc.pre(!nearCorner(some, how))
        const inputs = inputsOf(some)
        const denominators = denominatorsOf(some.map(({ tokens }) => tokens.length))
        const { logProbGradients, entropyGradients } = policyLoss(inputs, how, denominators)
        const moved = (name: 'logProbs' | 'entropies', i: number, t: number, by: number) => {
          const values = inputs[name].map((row) => Array.from(row))
          const row = values[i] as number[]
          row[t] = (row[t] as number) + by
          return policyLoss({ ...inputs, [name]: values }, how, denominators).loss
        }
        some.forEach(({ tokens }, i) =>
          tokens.forEach((_, t) => {
            const slope = (name: 'logProbs' | 'entropies') => (moved(name, i, t, h) - moved(name, i, t, -h)) / (2 * h)
            const own = logProbGradients[i]?.[t] as number
            expect(Math.abs(own - slope('logProbs'))).toBeLessThan(1e-6 * Math.max(1, Math.abs(own)))
            expect(entropyGradients?.[i]?.[t] ?? 0).toBeCloseTo(slope('entropies'), 7)
          }),
        )
      }),
      { numRuns: 50 },
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
