import { afterEach, expect, it, vi } from 'vitest'
import { StageProgress } from './stage-progress.js'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

it('counts from where the stage began, first step included, whatever is written in between', () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  const lines: string[] = []
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => lines.push(String(text)) > 0)
  const progress = new StageProgress([{ name: 'mrl', steps: 7 }] as never)
  const record = (step: number) => ({ stage: 'mrl', step, 'time/step': 2, loss: 0.5 }) as never
  for (const step of [5, 6, 7]) {
    vi.advanceTimersByTime(2000)
    progress.update(record(step))
    progress.stop()
  }
  expect(lines).toEqual(['mrl 7/7  2.0 s each  took 6 s  loss 0.500\n'])
})
