import { describe, expect, it } from 'vitest'
import {
  adaptiveEntropyCoefficient,
  afterEntropy,
  checkSchedule,
  entropyCoefficient,
  scheduleValue,
  temperatureAt,
} from './schedules.js'

describe('scheduleValue', () => {
  it('is constant for a number', () => {
    expect([0, 5, 50].map((step) => scheduleValue(0.1, step, 10))).toEqual([0.1, 0.1, 0.1])
  })

  it('warms up linearly and never starts at zero', () => {
    const schedule = { kind: 'constant', from: 1, warmupSteps: 3 } as const
    expect([0, 1, 2, 3, 4].map((step) => scheduleValue(schedule, step, 10))).toEqual([0.25, 0.5, 0.75, 1, 1])
  })

  it('falls linearly to the last step and stays there', () => {
    const schedule = { kind: 'linear', from: 1, to: 0.2 } as const
    const values = [0, 2, 4, 9].map((step) => scheduleValue(schedule, step, 5))
    ;[1, 0.6, 0.2, 0.2].forEach((value, index) => expect(values[index]).toBeCloseTo(value, 12))
  })

  it('falls along a cosine after a warm-up given as a share', () => {
    const schedule = { kind: 'cosine', from: 2, warmupRatio: 0.1 } as const
    expect(scheduleValue(schedule, 0, 21)).toBeCloseTo(0.5, 12)
    expect(scheduleValue(schedule, 3, 21)).toBeCloseTo(2, 12)
    expect(scheduleValue(schedule, 20, 21)).toBeCloseTo(0, 12)
    expect(scheduleValue({ ...schedule, warmupRatio: 0 }, 10, 21)).toBeCloseTo(1, 12)
  })

  it('refuses nonsense by name', () => {
    expect(() => checkSchedule(-1, 'learningRate')).toThrow('learningRate: the value is -1')
    expect(() => checkSchedule({ kind: 'linear', from: 1, warmupRatio: 2 }, 'x')).toThrow('warmupRatio is 2')
    expect(() => checkSchedule({ kind: 'linear', from: 1, warmupRatio: 0.1, warmupSteps: 3 }, 'x')).toThrow(
      'give one of them',
    )
  })
})

describe('PAD temperature', () => {
  it('falls linearly from 1.0 to 0.3', () => {
    const values = [0, 1, 2].map((step) => temperatureAt({ from: 1, to: 0.3 }, step, 3))
    ;[1, 0.65, 0.3].forEach((value, index) => expect(values[index]).toBeCloseTo(value, 12))
    expect(temperatureAt(0.3, 7, 10)).toBe(0.3)
  })
})

describe('entropy coefficient', () => {
  const paper = { coefficient: 0.02, warmupUpdates: 140, decay: 0.985, floor: 0 }

  it('is zero before warm-up, c0 at it, and decays per update', () => {
    expect(entropyCoefficient(paper, 139)).toBe(0)
    expect(entropyCoefficient(paper, 140)).toBe(0.02)
    expect(entropyCoefficient(paper, 141)).toBeCloseTo(0.02 * 0.985, 15)
  })

  it('falls below 1e-4 about 351 updates after warm-up', () => {
    expect(entropyCoefficient(paper, 140 + 350)).toBeGreaterThan(1e-4)
    expect(entropyCoefficient(paper, 140 + 351)).toBeLessThan(1e-4)
  })

  it('keeps to its floor', () => {
    expect(entropyCoefficient({ ...paper, floor: 0.01 }, 1000)).toBe(0.01)
  })

  it('falls linearly when asked to', () => {
    const linear = { coefficient: 0.02, warmupUpdates: 10, linearUpdates: 4, floor: 0.01 }
    const values = [9, 10, 12, 14, 99].map((update) => entropyCoefficient(linear, update))
    ;[0, 0.02, 0.015, 0.01, 0.01].forEach((value, index) => expect(values[index]).toBeCloseTo(value, 12))
  })

  it('follows a target, and rests while the entropy is above it', () => {
    const adaptive = { target: 0.5, delta: 0.1, max: 0.15 }
    const first = afterEntropy({ coefficient: 0, last: null }, 0.4, adaptive)
    expect(first).toEqual({ coefficient: 0.1, last: 0.4 })
    expect(adaptiveEntropyCoefficient(first, adaptive)).toBe(0.1)
    const second = afterEntropy(first, 0.4, adaptive)
    expect(second.coefficient).toBe(0.15)
    const third = afterEntropy(second, 0.6, adaptive)
    expect(third.coefficient).toBeCloseTo(0.05, 12)
    expect(adaptiveEntropyCoefficient(third, adaptive)).toBe(0)
    expect(adaptiveEntropyCoefficient({ coefficient: 0.2, last: null }, adaptive)).toBe(0.2)
  })
})
