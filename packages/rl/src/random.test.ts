import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chooseWithoutReplacement, chooseWithReplacement, createRandom, deriveSeed, philox, shuffle } from './random.js'

describe('philox', () => {
  // Known answers of the Random123 distribution, philox4x32-10.
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as const)('counter %j with key %j', (counter, key, expected) => {
    expect(philox(counter, key)).toEqual(expected)
  })
})

describe('createRandom', () => {
  const draws = (...labels: (string | number)[]) => {
    const random = createRandom(7, ...labels)
    return Array.from({ length: 5 }, () => random.uniform())
  }

  it('is a function of seed and labels', () => {
    expect(draws('pad', 3)).toEqual(draws('pad', 3))
    expect(draws('pad', 3)).not.toEqual(draws('pad', 4))
    expect(draws('1')).not.toEqual(draws(1))
    expect(deriveSeed(1, 'a')).not.toBe(deriveSeed(2, 'a'))
  })

  it('is uniform', () => {
    const random = createRandom(1, 'uniform')
    const bins = Array<number>(10).fill(0)
    for (let draw = 0; draw < 20_000; draw++) {
      const bin = Math.floor(random.uniform() * 10)
      bins[bin] = (bins[bin] as number) + 1
    }
    for (const count of bins) expect(Math.abs(count - 2000)).toBeLessThan(200)
  })

  it('refuses a seed that is no number', () => {
    expect(() => createRandom(NaN)).toThrow('The seed is NaN')
  })
})

describe('shuffle and choices', () => {
  it('shuffles into a permutation', () => {
    const items = [...Array(50).keys()]
    const mixed = shuffle(items, createRandom(1))
    expect(mixed).not.toEqual(items)
    expect([...mixed].sort((a, b) => a - b)).toEqual(items)
  })

  it('chooses different indices without replacement', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 10, noNaN: true }), { minLength: 1, maxLength: 20 }),
        fc.nat(),
        fc.nat(),
        (weights, seed, wanted) => {
          const count = wanted % (weights.length + 1)
          const chosen = chooseWithoutReplacement(weights, count, createRandom(seed))
          expect(new Set(chosen).size).toBe(count)
          // What has no weight is only drawn when everything that has is.
          const heavy = weights.filter((weight) => weight > 0).length
          expect(chosen.filter((index) => weights[index] === 0).length).toBe(Math.max(0, count - heavy))
        },
      ),
    )
  })

  it.each([
    ['without', chooseWithoutReplacement],
    ['with', chooseWithReplacement],
  ])('follows the weights (%s replacement)', (_, choose) => {
    const counts = [0, 0, 0]
    for (let seed = 0; seed < 6000; seed++) {
      const index = choose([1, 2, 3], 1, createRandom(seed))[0] as number
      counts[index] = (counts[index] as number) + 1
    }
    counts.forEach((count, index) => expect(Math.abs(count - 1000 * (index + 1))).toBeLessThan(150))
  })

  it('never draws weight zero with replacement unless all weights are', () => {
    const chosen = chooseWithReplacement([0, 1, 0], 100, createRandom(3))
    expect(new Set(chosen)).toEqual(new Set([1]))
    expect(new Set(chooseWithReplacement([0, 0], 100, createRandom(3)))).toEqual(new Set([0, 1]))
  })

  it('refuses impossible draws', () => {
    expect(() => chooseWithoutReplacement([1, 2], 3, createRandom(0))).toThrow('Cannot draw 3 of 2')
    expect(() => chooseWithReplacement([], 1, createRandom(0))).toThrow('empty list')
    expect(() => chooseWithReplacement([1, -1], 1, createRandom(0))).toThrow('Weight 1 is -1')
  })
})
