import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { groupAdvantages } from './advantages.js'
import { selectByAdvantage, type PaperPad, type ReleasedPad } from './pad.js'
import { createRandom } from './random.js'

const paper: PaperPad = { variant: 'paper', low: 0.1, ratio: 1, temperature: 1 }
const released: ReleasedPad = { variant: 'released', low: 0.03, high: 0.97, ratio: 1.5, alpha: 1.5 }

describe('PAD of the paper', () => {
  it('keeps the closed interval', () => {
    const { indices, metrics } = selectByAdvantage(
      [0.05, 0.1, -0.5, 0.9, -1, 0],
      { ...paper, high: 0.9 },
      createRandom(0),
    )
    expect(indices).toEqual([1, 2, 3])
    expect(metrics).toEqual({
      'pad/num_effective_samples': 3,
      'pad/frac_effective': 0.5,
      'pad/num_selected_samples': 3,
      'pad/num_dropped_samples': 3,
      'pad/avg_selected_advantage': 0.5,
      'pad/avg_original_advantage': 2.55 / 6,
      'pad/frac_below_low': 2 / 6,
      'pad/frac_above_high': 1 / 6,
      'pad/temperature': 1,
    })
  })

  it('selects min(⌈ρN⌉, |E|) different completions', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: 1, maxLength: 30 }),
        fc.integer({ min: 1, max: 20 }),
        fc.nat(),
        (advantages, tenths, seed) => {
          const ratio = tenths / 10
          const { indices, metrics } = selectByAdvantage(advantages, { ...paper, ratio }, createRandom(seed))
          const wanted = Math.ceil((tenths * advantages.length) / 10)
          expect(indices.length).toBe(Math.min(wanted, metrics['pad/num_effective_samples'] as number))
          expect(new Set(indices).size).toBe(indices.length)
          for (const index of indices) expect(Math.abs(advantages[index] as number)).toBeGreaterThanOrEqual(0.1)
        },
      ),
    )
  })

  it('draws by softmax(|A|/τ): e^((1 − 0.5)/0.25) = 7.4 times as often', () => {
    let first = 0
    for (let seed = 0; seed < 4000; seed++) {
      const { indices } = selectByAdvantage([-1, 0.5], { ...paper, ratio: 0.5, temperature: 0.25 }, createRandom(seed))
      if (indices[0] === 0) first++
    }
    expect(first / 4000).toBeCloseTo(Math.exp(2) / (1 + Math.exp(2)), 1)
  })

  it('draws the rest uniformly when the weights of the others vanish', () => {
    const chosen = [0, 0, 0]
    for (let seed = 0; seed < 600; seed++) {
      const settings = { ...paper, ratio: 0.5, temperature: 1e-6 }
      const { indices } = selectByAdvantage([3, 0.2, 0.3, 0.4], settings, createRandom(seed))
      expect(indices[0]).toBe(0)
      const other = (indices[1] as number) - 1
      chosen[other] = (chosen[other] as number) + 1
    }
    for (const count of chosen) expect(Math.abs(count - 200)).toBeLessThan(50)
  })

  it('returns an empty batch when nothing qualifies', () => {
    const { indices, metrics } = selectByAdvantage([0, 0.01], paper, createRandom(0))
    expect(indices).toEqual([])
    expect(metrics['pad/avg_selected_advantage']).toBe(0)
  })

  it('is the same for the same stream', () => {
    const advantages = [...Array(40).keys()].map((index) => Math.sin(index))
    const draw = (step: number) =>
      selectByAdvantage(advantages, { ...paper, ratio: 0.3 }, createRandom(1, 'pad', 'mrl', step)).indices
    expect(draw(5)).toEqual(draw(5))
    expect(draw(5)).not.toEqual(draw(6))
  })

  it('reports what an upper bound costs: every correct answer of a hard group', () => {
    const { advantages } = groupAdvantages([1, 0, 0, 0, 0, 0, 0, 0], 8)
    expect(advantages[0]).toBeCloseTo(2.475, 3)
    const correct = advantages.map((_, index) => index === 0)
    const { indices, metrics } = selectByAdvantage(advantages, { ...paper, high: 0.97 }, createRandom(0), correct)
    expect(indices).not.toContain(0)
    expect(metrics['pad/frac_above_high']).toBe(1 / 8)
    expect(metrics['pad/kept_correct_rate']).toBe(0)
    expect(metrics['pad/kept_wrong_rate']).toBe(1)
  })

  it.each([
    [{ ...paper, low: 0 }, 'low is 0'],
    [{ ...paper, high: 0.05 }, 'high is 0.05'],
    [{ ...paper, ratio: 0 }, 'ratio is 0'],
    [{ ...paper, temperature: 0 }, 'temperature is 0'],
    [{ ...released, alpha: -1 }, 'alpha is -1'],
  ])('refuses %j', (settings, message) => {
    expect(() => selectByAdvantage([1], settings, createRandom(0))).toThrow(message)
  })
})

describe('PAD as released', () => {
  it('has exclusive thresholds and draws ⌊1.5 N⌋ with replacement', () => {
    const { indices, metrics } = selectByAdvantage([0.03, 0.5, -0.6, 0.97, 0], released, createRandom(0))
    expect(indices).toHaveLength(7)
    expect(new Set(indices)).toEqual(new Set([1, 2]))
    expect(metrics['pad/num_effective_samples']).toBe(2)
    expect(metrics['pad/num_selected_samples']).toBe(7)
    expect(metrics['pad/num_dropped_samples']).toBe(3)
    expect(metrics).not.toHaveProperty('pad/temperature')
  })

  it('draws by |A|^1.5', () => {
    const { indices } = selectByAdvantage(
      [...Array<number>(1000).fill(0.2), ...Array<number>(1000).fill(0.8)],
      released,
      createRandom(0),
    )
    const large = indices.filter((index) => index >= 1000).length / indices.length
    expect(large).toBeCloseTo(8 / 9, 1)
  })

  it('draws no more than qualify without replacement', () => {
    const settings = { ...released, withReplacement: false }
    expect(selectByAdvantage([0.5, 0.6, 0], settings, createRandom(0)).indices).toEqual([0, 1])
  })

  it('trains on the whole batch when nothing qualifies', () => {
    expect(selectByAdvantage([0, 0, 2], released, createRandom(0)).indices).toEqual([0, 1, 2])
  })
})
