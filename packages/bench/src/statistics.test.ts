import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  accuracyInterval,
  clusteredStandardError,
  mcNemarExact,
  pairedDifference,
  passAtK,
  wilsonInterval,
} from './statistics.js'

describe('wilsonInterval', () => {
  it.each([
    // The worked examples of R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
    [5, 10, 0.2366, 0.7634],
    [10, 10, 0.7225, 1],
  ])('of %i in %i', (right, n, low, high) => {
    const interval = wilsonInterval(right / n, n)
    expect(interval[0]).toBeCloseTo(low, 4)
    expect(interval[1]).toBeCloseTo(high, 4)
  })

  it('holds the proportion, lies in [0, 1], is symmetric and narrows with n', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.double({ min: 0, max: 1, noNaN: true }), (n, share) => {
        const p = Math.round(share * n) / n
        const [low, high] = wilsonInterval(p, n)
        expect(low >= 0 && low <= p && p <= high && high <= 1).toBe(true)
        const mirrored = wilsonInterval(1 - p, n)
        expect(mirrored[0]).toBeCloseTo(1 - high, 9)
        const [wideLow, wideHigh] = wilsonInterval(p, n / 4)
        expect(wideHigh - wideLow).toBeGreaterThan(high - low)
      }),
    )
    expect(wilsonInterval(0, 0)).toEqual([0, 1])
  })
})

describe('clusteredStandardError', () => {
  it('has the values worked out by hand', () => {
    // Deviations of the clusters from the mean ½: +1, −1; √(2/1 · 2)/4.
    expect(
      clusteredStandardError([
        [1, 1],
        [0, 0],
      ]),
    ).toBeCloseTo(0.5, 12)
    expect(
      clusteredStandardError([
        [1, 0],
        [1, 0],
      ]),
    ).toBe(0)
    expect(clusteredStandardError([[1, 1, 0]])).toBe(0)
  })

  it('is the ordinary standard error when every cluster is one score', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 2, maxLength: 50 }), (scores) => {
        const p = scores.reduce((a, b) => a + b, 0) / scores.length
        const ordinary = Math.sqrt((p * (1 - p)) / (scores.length - 1))
        expect(clusteredStandardError(scores.map((score) => [score]))).toBeCloseTo(ordinary, 12)
      }),
    )
  })
})

describe('accuracyInterval', () => {
  it('is Wilson’s for one sample per problem', () => {
    expect(accuracyInterval([[1], [0], [1], [1]])).toEqual(wilsonInterval(0.75, 4))
  })

  it('counts the samples of a problem as one trial when they agree, and as many when they are independent', () => {
    expect(
      accuracyInterval([
        [1, 1, 1],
        [0, 0, 0],
      ]),
    ).toEqual(wilsonInterval(0.5, 2))
    expect(
      accuracyInterval([
        [1, 1],
        [1, 1],
      ]),
    ).toEqual(wilsonInterval(1, 2))
    expect(
      accuracyInterval([
        [1, 0],
        [0, 1],
        [1, 0],
      ]),
    ).toEqual(wilsonInterval(0.5, 6))
    expect(accuracyInterval([])).toEqual([0, 1])
  })
})

describe('passAtK', () => {
  it('is the share of subsets with a right answer', () => {
    expect(passAtK(4, 2, 2)).toBeCloseTo(5 / 6, 12)
    expect(passAtK(5, 1, 3)).toBeCloseTo(0.6, 12)
    expect(passAtK(3, 0, 3)).toBe(0)
    expect(passAtK(3, 3, 1)).toBe(1)
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 }), fc.nat(10), fc.nat(9), (n, c, k) => {
        const correct = c % (n + 1)
        const size = (k % n) + 1
        let hits = 0
        let subsets = 0
        for (let set = 0; set < 2 ** n; set++) {
          const members = Array.from({ length: n }, (_, i) => i).filter((i) => (set >> i) & 1)
          if (members.length !== size) continue
          subsets++
          if (members.some((i) => i < correct)) hits++
        }
        expect(passAtK(n, correct, size)).toBeCloseTo(hits / subsets, 12)
      }),
    )
  })

  it('needs enough samples', () => {
    expect(() => passAtK(2, 1, 3)).toThrow(/k is 3, n is 2/)
  })
})

describe('mcNemarExact', () => {
  it('has the values of the binomial', () => {
    // 2 · (1 + 7) / 2⁷
    expect(mcNemarExact(1, 6)).toBeCloseTo(0.125, 12)
    expect(mcNemarExact(0, 10)).toBeCloseTo(2 / 1024, 12)
    expect(mcNemarExact(5, 5)).toBe(1)
    expect(mcNemarExact(0, 0)).toBe(1)
    // Normal approximation: |d|/√n = 400/√4000 = 6.3 standard deviations; must not underflow to 0.
    expect(mcNemarExact(1800, 2200)).toBeGreaterThan(1e-11)
    expect(mcNemarExact(1800, 2200)).toBeLessThan(1e-8)
    expect(mcNemarExact(6, 1)).toBe(mcNemarExact(1, 6))
  })
})

describe('pairedDifference', () => {
  it('has the values worked out by hand', () => {
    const { difference, ci95 } = pairedDifference([1, 0, 0, -1, 1])
    expect(difference).toBeCloseTo(0.2, 12)
    // Variance 2.8/4 = 0.7; 1.95996 · √(0.7/5) = 0.73335.
    expect(ci95[0]).toBeCloseTo(0.2 - 0.73335, 5)
    expect(ci95[1]).toBeCloseTo(0.2 + 0.73335, 5)
  })
})
