import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { groupAdvantages } from './advantages.js'
import {
  estimateAdvantages,
  gdpoAdvantages,
  gpgAdvantages,
  maxRlAdvantages,
  opoAdvantages,
  passAtKAdvantages,
  reinforcePlusPlusAdvantages,
  reinforcePlusPlusBaselineAdvantages,
  remaxAdvantages,
  rlooAdvantages,
  type AdvantageEstimator,
  type AdvantageInputs,
} from './estimators.js'

const close = (own: readonly number[], expected: readonly number[]) => {
  expect(own).toHaveLength(expected.length)
  own.forEach((value, index) => expect(value, `element ${index}`).toBeCloseTo(expected[index] as number, 12))
}

/** Two groups of four: one with spread, one without. */
const rewards = [1, 0, 0, 0.5, 1, 1, 1, 1]
const lengths = [2, 3, 1, 4, 2, 2, 2, 2]

describe('estimators by hand', () => {
  it('GRPO with every scale and ddof', () => {
    const centred = [0.625, -0.375, -0.375, 0.125]
    const squares = centred.reduce((total, value) => total + value * value, 0)
    const of = (options: object) => groupAdvantages(rewards, 4, options).advantages.slice(0, 4)
    close(
      of({ epsilon: 0 }),
      centred.map((value) => value / Math.sqrt(squares / 3)),
    )
    close(
      of({ epsilon: 0, ddof: 0 }),
      centred.map((value) => value / Math.sqrt(squares / 4)),
    )
    close(of({ scale: 'none' }), centred)
    // All eight: mean 0.6875.
    const all = Math.sqrt(rewards.reduce((total, value) => total + (value - 0.6875) ** 2, 0) / 7)
    close(
      of({ scale: 'batch', epsilon: 1e-4 }),
      centred.map((value) => value / (all + 1e-4)),
    )
  })

  it('RLOO is the reward minus the mean of the others', () => {
    close(rlooAdvantages(rewards, 4), [1 - 0.5 / 3, -0.5, -0.5, 0.5 - 1 / 3, 0, 0, 0, 0])
    const normalised = rlooAdvantages(rewards, 4, true)
    expect(normalised.reduce((total, value) => total + value, 0)).toBeCloseTo(0, 12)
    expect(normalised[0]).toBeGreaterThan(1)
  })

  it('OPO weighs its baseline by length', () => {
    // (2·1 + 4·0.5) / 10
    close(opoAdvantages(rewards, 4, lengths), [0.6, -0.4, -0.4, 0.1, 0, 0, 0, 0])
  })

  it('GPG scales by the share of rewards that are not 0', () => {
    const alpha = 8 / 6
    close(gpgAdvantages(rewards, 4), [0.625 * alpha, -0.375 * alpha, -0.375 * alpha, 0.125 * alpha, 0, 0, 0, 0])
  })

  it('pass@k rewards the best alone, by its lead', () => {
    close(passAtKAdvantages([1, 0, 0, 0.5], 4, { epsilon: 0 }), [0.5 / Math.sqrt(0.6875 / 3), 0, 0, 0])
    close(passAtKAdvantages([1, 0, 1, 0], 4), [0, 0, 0, 0])
  })

  it('MaxRL divides by the mean', () => {
    close(maxRlAdvantages(rewards, 4), [5 / 3, -1, -1, 1 / 3, 0, 0, 0, 0])
    close(maxRlAdvantages([-1, 1], 2), [0, 0])
  })

  it('ReMax subtracts what greedy decoding got', () => {
    close(remaxAdvantages(rewards, 4, [0.5, null]), [0.5, -0.5, -0.5, 0, 0, 0, 0, 0])
    expect(() => remaxAdvantages(rewards, 4, [1])).toThrow('1 greedy rewards for 8')
  })

  it('REINFORCE++ whitens discounted returns over tokens', () => {
    const returns = [0.5, 1, 0]
    const centre = 0.5
    const scale = 1 / Math.sqrt(0.5 / 2 + 1e-8)
    const [first, second] = reinforcePlusPlusAdvantages([1, 0], [2, 1], undefined, { gamma: 0.5 })
    close(
      [...(first ?? []), ...(second ?? [])],
      returns.map((value) => (value - centre) * scale),
    )
    // A penalty counts at its token and before it.
    const [penalised] = reinforcePlusPlusAdvantages([1, 0], [2, 1], [[0, 1], [0]])
    expect(Array.from(penalised ?? [])).toEqual([0, 0])
  })

  it('REINFORCE++ with a baseline whitens what is left of it', () => {
    const rows = reinforcePlusPlusBaselineAdvantages([1, 0], 2, [3, 1])
    // Values 0.5 ×3, −0.5 ×1: mean 0.25, variance 0.25.
    const scale = 1 / Math.sqrt(0.25 + 1e-8)
    close(
      [...(rows[0] ?? [])],
      [0.25, 0.25, 0.25].map((value) => value * scale),
    )
    close([...(rows[1] ?? [])], [-0.75 * scale])
  })

  it('GDPO keeps apart rewards that a sum confuses', () => {
    // Sums 1, 1, 0, 0: GRPO cannot tell the first two; the rarer achievement counts more here.
    const components = [
      { weight: 1, scores: [1, 0, 0, 0] },
      { weight: 1, scores: [0, 1, 0, 1] },
    ]
    const sequences = gdpoAdvantages(components, 4, [1, 1, 1, 1]) as readonly number[]
    expect(sequences[0]).toBeGreaterThan(sequences[1] as number)
    expect(sequences.reduce((total, value) => total + value, 0)).toBeCloseTo(0, 9)
    const tokens = gdpoAdvantages(components, 4, [9, 1, 1, 1], { whiten: 'tokens' }) as readonly Float64Array[]
    expect(tokens.map(({ length }) => length)).toEqual([9, 1, 1, 1])
    // The whitening is over tokens, so the long completion pulls the mean.
    expect(tokens[0]?.[0]).toBeLessThan(sequences[0] as number)
    expect(tokens.flatMap((row) => Array.from(row)).reduce((total, value) => total + value, 0)).toBeCloseTo(0, 9)
  })
})

const estimators: AdvantageEstimator[] = [
  { kind: 'grpo' },
  { kind: 'grpo', scale: 'none' },
  { kind: 'grpo', scale: 'batch' },
  { kind: 'gdpo' },
  { kind: 'gdpo', whiten: 'tokens' },
  { kind: 'rloo' },
  { kind: 'reinforce-plus-plus' },
  { kind: 'reinforce-plus-plus-baseline' },
  { kind: 'remax' },
  { kind: 'opo' },
  { kind: 'gpg' },
  { kind: 'pass-at-k' },
  { kind: 'max-rl' },
]
const flat = (advantages: ReturnType<typeof estimateAdvantages>) =>
  advantages.flatMap((value) => (typeof value === 'number' ? [value] : Array.from(value)))

describe.each(estimators.map((estimator) => [JSON.stringify(estimator), estimator] as const))('%s', (_, estimator) => {
  const inputsOf = (some: readonly (number | null)[]): AdvantageInputs => ({
    rewards: some,
    groupSize: 4,
    lengths: some.map((_reward, index) => 1 + (index % 3)),
    components: [{ weight: 1, scores: some }],
    greedy: Array.from({ length: some.length / 4 }, () => 0.5),
  })

  it('gives null rewards no advantage and no influence', () => {
    const all = estimateAdvantages(estimator, inputsOf([1, 0, null, 0, 0.5, null, 0.2, 1]))
    for (const index of [2, 5]) {
      const value = all[index] as number | Float64Array
      expect(typeof value === 'number' ? value : Math.max(...value.map(Math.abs))).toBe(0)
    }
    expect(flat(all).every(Number.isFinite)).toBe(true)
    expect(flat(all).some((value) => value !== 0)).toBe(true)
  })

  it('is finite for any rewards, and better rewards of a group have no lower advantage', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(null, 0, 0.1, 0.5, 1), { minLength: 8, maxLength: 8 }), (some) => {
        const all = estimateAdvantages(estimator, inputsOf(some))
        const first = all.map((value) => (typeof value === 'number' ? value : (value[0] as number)))
        expect(flat(all).every(Number.isFinite)).toBe(true)
        for (const group of [0, 4]) {
          for (let a = group; a < group + 4; a++) {
            for (let b = group; b < group + 4; b++) {
              const [ours, theirs] = [some[a], some[b]]
              if (typeof ours !== 'number' || typeof theirs !== 'number' || ours <= theirs) continue
              expect((first[a] as number) - (first[b] as number)).toBeGreaterThanOrEqual(-1e-9)
            }
          }
        }
      }),
      { numRuns: 60 },
    )
  })
})

it('a KL term inside the reward is subtracted, per token or as a sum', () => {
  const inputs: AdvantageInputs = {
    rewards: [1, 1],
    groupSize: 2,
    lengths: [2, 2],
    components: [],
    penalties: [
      [0.25, 0.25],
      [0, 0],
    ],
  }
  close(estimateAdvantages({ kind: 'grpo', scale: 'none' }, inputs) as number[], [-0.25, 0.25])
  const [first, second] = estimateAdvantages({ kind: 'reinforce-plus-plus' }, inputs) as Float64Array[]
  expect(first?.[0]).toBeLessThan(first?.[1] as number)
  expect(second?.[0]).toBe(second?.[1])
  expect(() => estimateAdvantages({ kind: 'remax' }, inputs)).toThrow('greedy')
})
