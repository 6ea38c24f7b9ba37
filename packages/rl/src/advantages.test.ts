import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { groupAdvantages, groupRewardMetrics } from './advantages.js'

const goldens = JSON.parse(readFileSync(new URL('../test/fixtures/easyr1-core.json', import.meta.url), 'utf8')) as {
  readonly advantages: readonly {
    readonly estimator: string
    readonly rewards: readonly number[]
    readonly advantages: readonly number[][]
  }[]
}
const grpo = goldens.advantages.filter(({ estimator }) => estimator === 'grpo')

describe('groupAdvantages', () => {
  it.each(grpo)('is that of EasyR1 for $rewards', ({ rewards, advantages }) => {
    const own = groupAdvantages(rewards, 4).advantages
    own.forEach((value, index) => expect(value).toBeCloseTo(advantages[index]?.[0] as number, 9))
  })

  it('leaves null rewards out of the statistics', () => {
    const { advantages, groups } = groupAdvantages([1, null, 0, null], 4)
    expect(groups).toEqual([{ scored: 2, mean: 0.5, std: Math.SQRT1_2 }])
    expect(advantages[1]).toBe(0)
    expect(advantages[0]).toBeCloseTo(0.5 / (Math.SQRT1_2 + 1e-6), 12)
  })

  it('takes floating-point noise for no spread', () => {
    const { advantages } = groupAdvantages([0.1 + 0.2, 0.3, 0.3, 0.3], 4)
    expect(advantages).toEqual([0, 0, 0, 0])
  })

  it('gives 0 to a group with one scored member or none', () => {
    expect(groupAdvantages([1, null, null, null], 2).advantages).toEqual([0, 0, 0, 0])
  })

  it('sums to zero in every group, and no advantage exceeds (G − 1)/√G', () => {
    const rewards = fc.array(fc.double({ min: -10, max: 10, noNaN: true }), { minLength: 6, maxLength: 6 })
    fc.assert(
      fc.property(rewards, (values) => {
        const { advantages } = groupAdvantages(values, 3)
        expect(advantages.slice(0, 3).reduce((a, b) => a + b)).toBeCloseTo(0, 6)
        for (const advantage of advantages) expect(Math.abs(advantage)).toBeLessThanOrEqual(2 / Math.sqrt(3) + 1e-9)
      }),
    )
  })

  it('refuses what it cannot compare', () => {
    expect(() => groupAdvantages([1], 1)).toThrow('Group size is 1')
    expect(() => groupAdvantages([1, 2, 3], 2)).toThrow('3 rewards do not fill groups of 2')
    expect(() => groupAdvantages([1, NaN], 2)).toThrow('Reward 1 is NaN')
  })
})

describe('groupRewardMetrics', () => {
  it('counts groups without spread', () => {
    const rewards = [1, 0, 1, 1, null, null]
    const metrics = groupRewardMetrics(rewards, groupAdvantages(rewards, 2).groups)
    expect(metrics).toEqual({ reward: 0.75, reward_std: Math.SQRT1_2 / 2, frac_reward_zero_std: 2 / 3 })
  })

  it('leaves out the mean of nothing', () => {
    const rewards = [null, null]
    expect(groupRewardMetrics(rewards, groupAdvantages(rewards, 2).groups)).toEqual({ frac_reward_zero_std: 1 })
  })
})
