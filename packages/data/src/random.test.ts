import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createRandom } from './random.js'

const draw = (count: number, ...keys: number[]) => {
  const random = createRandom(...keys)
  return Array.from({ length: count }, () => random.uniform())
}

describe('createRandom', () => {
  it('is a function of its keys', () => {
    fc.assert(
      fc.property(fc.array(fc.maxSafeInteger(), { maxLength: 4 }), fc.maxSafeInteger(), (keys, other) => {
        expect(draw(4, ...keys)).toEqual(draw(4, ...keys))
        expect(draw(4, ...keys, other)).not.toEqual(draw(4, ...keys))
      }),
    )
  })

  it('gives other numbers for other keys, in either half of the key', () => {
    const keys = [1, -1, 2 ** 32, 2 ** 32 + 1, 2 ** 40]
    const firsts = [
      ...keys.flatMap((key) => [draw(1, key)[0], draw(1, 0, key)[0], draw(1, key, 0)[0]]),
      draw(1, 0)[0],
      draw(1, 0, 0)[0],
    ]
    expect(new Set(firsts).size).toBe(firsts.length)
  })

  it('is uniform across consecutive keys', () => {
    const n = 20_000
    const buckets = new Array<number>(10).fill(0)
    for (let key = 0; key < n; key++) buckets[createRandom(7, key).below(10)]!++
    const chiSquare = buckets.reduce((sum, count) => sum + (count - n / 10) ** 2 / (n / 10), 0)
    // 99.9 % quantile of chi-square with 9 degrees of freedom.
    expect(chiSquare).toBeLessThan(27.9)
  })

  it('shuffles without losing anything and reaches every order', () => {
    const orders = new Set<string>()
    for (let key = 0; key < 500; key++) orders.add(createRandom(key).shuffle(['a', 'b', 'c', 'd']).join(''))
    expect(orders.size).toBe(24)
    for (const order of orders) expect([...order].sort().join('')).toBe('abcd')
  })

  it('refuses keys it would round and empty lists', () => {
    expect(() => createRandom(0.5)).toThrow(/0\.5/)
    expect(() => createRandom(2 ** 60)).toThrow(RangeError)
    expect(() => createRandom(1).pick([])).toThrow(RangeError)
  })
})
