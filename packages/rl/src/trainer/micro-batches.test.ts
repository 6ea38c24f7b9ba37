import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { evenParts, microBatches } from './micro-batches.js'

describe('microBatches', () => {
  it('sorts by length and fills the padded budget', () => {
    expect(microBatches([5, 1, 2, 30, 2], 6)).toEqual([[1, 2, 4], [0], [3]])
  })

  it('holds every sequence once, within the budget unless alone', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 40 }),
        fc.integer({ min: 1, max: 200 }),
        (lengths, budget) => {
          const pieces = microBatches(lengths, budget)
          expect(pieces.flat().sort((a, b) => a - b)).toEqual([...lengths.keys()])
          for (const piece of pieces) {
            const longest = Math.max(...piece.map((index) => lengths[index] as number))
            if (piece.length > 1) expect(piece.length * longest).toBeLessThanOrEqual(budget)
          }
        },
      ),
    )
  })
})

describe('evenParts', () => {
  it('cuts into parts that differ by at most one, and drops empty ones', () => {
    expect(evenParts([1, 2, 3, 4, 5], 2)).toEqual([
      [1, 2],
      [3, 4, 5],
    ])
    expect(evenParts([1], 3)).toEqual([[1]])
  })
})
