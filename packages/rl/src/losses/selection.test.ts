import { describe, expect, it } from 'vitest'
import { createRandom } from '../random.js'
import { isOffPolicy, mismatchWeights } from './correction.js'
import { vespoWeight } from './objectives.js'
import { highEntropyMask, quantile, selectCovariance, tokenCovariances } from './selection.js'

describe('tokens of the whole batch', () => {
  it('quantiles are interpolated', () => {
    expect(quantile([3, 1, 2], 0.5)).toBe(2)
    expect(quantile([0, 10], 0.25)).toBe(2.5)
    expect(quantile([4], 0.9)).toBe(4)
  })

  it('the fifth with the highest entropy is kept, wherever it is', () => {
    const masks = highEntropyMask([[0.1, 0.2, 5], [0.3, 4, 0.1, 0.2], [], [0.1, 0.1, 0.1]], 0.2)
    expect(masks.map((row) => Array.from(row))).toEqual([[0, 0, 1], [0, 1, 0, 0], [], [0, 0, 0]])
    expect(highEntropyMask([[1, 2]], 1).map((row) => Array.from(row))).toEqual([[1, 1]])
    expect(() => highEntropyMask([[1]], 0)).toThrow('highEntropyShare is 0')
  })

  it('covariances are products of deviations from means over tokens', () => {
    // Means: A (1·2 + (−2)·1)/3 = 0, log π −2.
    expect(tokenCovariances([[-1, -2], [-3]], [1, -2]).map((row) => Array.from(row))).toEqual([[1, 0], [2]])
  })

  it('KL-Cov takes the highest covariances, Clip-Cov draws within bounds', () => {
    const logProbs = [[-1, -2], [-3]]
    const pick = (rule: Parameters<typeof selectCovariance>[2], seed = 0) =>
      selectCovariance(logProbs, [1, -2], rule, createRandom(seed)).map((row) => Array.from(row))
    expect(pick({ kind: 'kl-cov' })).toEqual([[0, 0], [1]])
    expect(pick({ kind: 'kl-cov', share: 0.7 })).toEqual([[1, 0], [1]])
    expect(pick({ kind: 'clip-cov' })).toEqual([[0, 0], [1]])
    expect(pick({ kind: 'clip-cov', upper: 1.5, lower: 0.5 })).toEqual([[1, 0], [0]])
    expect(pick({ kind: 'clip-cov', lower: 6, upper: 7 })).toEqual([[0, 0], [0]])
    const drawn = new Set(
      [...Array(20).keys()].map((seed) => JSON.stringify(pick({ kind: 'clip-cov', lower: -1 }, seed))),
    )
    expect(drawn.size).toBe(3)
    expect(pick({ kind: 'clip-cov', lower: -1 }, 4)).toEqual(pick({ kind: 'clip-cov', lower: -1 }, 4))
  })
})

describe('sampler against learner', () => {
  const ln = Math.log
  const learner = [ln(4), ln(0.5)]
  const sampler = [0, 0]

  it.each([
    ['token', 'truncate', [3, 0.5], 1],
    ['token', 'mask', [0, 0.5], 1],
    ['sequence', 'truncate', [2, 2], 0],
    ['geometric', 'truncate', [Math.SQRT2, Math.SQRT2], 0],
  ] as const)('%s, %s', (level, mode, expected, bounded) => {
    const found = mismatchWeights(learner, sampler, { level, mode, max: 3 })
    expected.forEach((value, t) => expect(found.weights[t]).toBeCloseTo(value, 12))
    expect(found.bounded).toBe(bounded)
  })

  it('has a lower bound, and leaves out whole sequences', () => {
    const low = { level: 'token', mode: 'truncate', max: 3, min: 0.7 } as const
    expect(mismatchWeights(learner, sampler, low).weights[1]).toBe(0.7)
    const whole = mismatchWeights(learner, sampler, { level: 'sequence', mode: 'mask', max: 1.5 })
    expect(Array.from(whole.weights)).toEqual([0, 0])
    expect(whole.bounded).toBe(2)
    expect(whole.logWeight).toBe(ln(1e-8))
  })

  it('drifted sequences are off-policy only where the advantage is negative', () => {
    expect(isOffPolicy([-2, -2], [-1, -1], -1, 0.5)).toBe(true)
    expect(isOffPolicy([-2, -2], [-1, -1], 1, 0.5)).toBe(false)
    expect(isOffPolicy([-2, -2], [-1, -1], -1, 1)).toBe(false)
  })

  it('φ of VESPO is 1 at W = 1 and falls on both sides of its mode', () => {
    const shape = { k: 2, lambda: 3 }
    expect(vespoWeight(0, shape)).toBe(1)
    expect(vespoWeight(ln(2 / 3), shape)).toBeGreaterThan(1)
    expect(vespoWeight(3, shape)).toBeLessThan(1e-6)
    expect(vespoWeight(1e9, shape)).toBe(0)
  })
})
