import fc from 'fast-check'
import { expect, test } from 'vitest'
import { constant, cosineDecay, linearDecay, type Schedule } from './schedules.js'

const at = (schedule: Schedule, steps: number[]) => steps.map(schedule)

test('constant with and without warm-up', () => {
  expect(at(constant({ peak: 0.1 }), [0, 1, 999])).toEqual([0.1, 0.1, 0.1])
  expect(at(constant({ peak: 1, warmup: 4 }), [0, 1, 2, 3, 4, 5])).toEqual([0, 0.25, 0.5, 0.75, 1, 1])
})

test('linear: up to the peak, down to the floor, flat after it', () => {
  const schedule = linearDecay({ peak: 1, warmup: 2, steps: 6, floor: 0.25 })
  expect(at(schedule, [0, 1, 2, 4, 6, 100])).toEqual([0, 0.5, 1, 0.625, 0.25, 0.25])
})

test('cosine: values of get_cosine_schedule_with_warmup', () => {
  const schedule = cosineDecay({ peak: 2e-5, warmup: 10, steps: 110 })
  expect(schedule(5)).toBeCloseTo(1e-5, 12)
  expect(schedule(10)).toBeCloseTo(2e-5, 12)
  expect(schedule(35)).toBeCloseTo(2e-5 * 0.8535533905932737, 12)
  expect(schedule(60)).toBeCloseTo(1e-5, 12)
  expect(schedule(110)).toBeCloseTo(0, 12)
  expect(schedule(500)).toBeCloseTo(0, 12)
})

test('every schedule stays between 0 and the peak and never rises after the warm-up', () => {
  const options = fc
    .record({
      peak: fc.double({ min: 1e-9, max: 1, noNaN: true }),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
      warmup: fc.nat(20),
      more: fc.nat(50),
    })
    .map(({ peak, part, warmup, more }) => ({ peak, floor: peak * part, warmup, steps: warmup + more }))
  fc.assert(
    fc.property(options, fc.constantFrom(linearDecay, cosineDecay), (given, make) => {
      const schedule = make(given)
      for (let step = 0; step <= given.steps + 5; step++) {
        const rate = schedule(step)
        expect(rate).toBeGreaterThanOrEqual(0)
        expect(rate).toBeLessThanOrEqual(given.peak * (1 + 1e-12))
        if (step > given.warmup) expect(rate).toBeLessThanOrEqual(schedule(step - 1) * (1 + 1e-12))
        if (step >= given.steps && step > given.warmup) expect(rate).toBeCloseTo(given.floor, 12)
      }
    }),
  )
})

test('impossible options are refused', () => {
  expect(() => cosineDecay({ peak: 1, steps: 3, warmup: 5 })).toThrow(/0 ≤ warmup ≤ steps/)
  expect(() => linearDecay({ peak: 1, steps: 3, floor: 2 })).toThrow(/0 ≤ floor ≤ peak/)
  expect(() => constant({ peak: NaN })).toThrow(RangeError)
})
