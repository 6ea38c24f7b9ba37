import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { appendRuns, BlockPool, type SlotRun } from './block-pool.js'

describe('BlockPool', () => {
  it('never hands a block out twice, nor more than were reserved', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5), { maxLength: 60 }), fc.integer({ min: 1, max: 12 }), (sizes, budget) => {
        const pool = new BlockPool(4, budget, 1)
        const owners: { reserved: number; blocks: number[] }[] = []
        for (const size of sizes) {
          const held = owners.reduce((sum, { reserved }) => sum + reserved, 0)
          expect(pool.reserve(size)).toBe(held + size <= budget)
          if (held + size <= budget) {
            owners.push({ reserved: size, blocks: Array.from({ length: size }, () => pool.take()) })
          } else {
            const done = owners.shift()
            pool.giveBack(done?.blocks ?? [])
            pool.release(done?.reserved ?? 0)
          }
          const taken = owners.flatMap(({ blocks }) => blocks)
          expect(new Set(taken).size).toBe(taken.length)
          expect(pool.used).toBe(taken.length)
          expect(pool.reserved).toBe(taken.length)
          for (const block of taken) expect(block > 0 && block < pool.extent && pool.extent <= budget + 1).toBe(true)
        }
      }),
    )
  })

  it('refuses to take beyond the budget and to release what is not reserved', () => {
    const pool = new BlockPool(4, 1)
    pool.take()
    expect(() => pool.take()).toThrow(/more blocks taken/)
    expect(() => pool.release(1)).toThrow(/1 blocks released, 0/)
  })
})

describe('appendRuns', () => {
  it('lists every slot of the tokens in order, neighbours joined', () => {
    const runs: SlotRun[] = [{ start: 4, length: 4 }]
    appendRuns(runs, [2, 3, 7, 0], 13, 4)
    expect(runs).toEqual([
      { start: 4, length: 12 },
      { start: 28, length: 4 },
      { start: 0, length: 1 },
    ])
    appendRuns(runs, [], 0, 4)
    expect(runs.length).toBe(3)
  })
})
