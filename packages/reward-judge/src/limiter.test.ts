import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Limiter } from './limiter.js'

const never = new AbortController().signal
const start = async () => performance.now()

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

test('starts are spaced evenly over a minute', async () => {
  const limiter = new Limiter(8, 1200)
  const begun = performance.now()
  const times = Promise.all([0, 1, 2, 3, 4].map(() => limiter.run(start, never)))
  await vi.advanceTimersByTimeAsync(1000)
  expect((await times).map((time) => time - begun)).toEqual([0, 50, 100, 150, 200])
})

test('nothing starts in a pause', async () => {
  const limiter = new Limiter(8)
  const paused = performance.now()
  limiter.pause(60)
  const first = limiter.run(start, never)
  await vi.advanceTimersByTimeAsync(1000)
  expect((await first) - paused).toBe(60)
})

test('a failure frees its place', async () => {
  const limiter = new Limiter(1)
  const failed = limiter.run(async () => {
    throw new Error('no')
  }, never)
  const next = limiter.run(async () => 'next', never)
  await expect(failed).rejects.toThrow('no')
  expect(await next).toBe('next')
})

test('an aborted signal ends waiting and frees its place', async () => {
  const limiter = new Limiter(1, 1)
  await limiter.run(start, never)
  const clock = new AbortController()
  const late = limiter.run(start, clock.signal)
  const later = limiter.run(start, clock.signal)
  clock.abort(new Error('over'))
  await expect(late).rejects.toThrow('over')
  await expect(later).rejects.toThrow('over')
})
