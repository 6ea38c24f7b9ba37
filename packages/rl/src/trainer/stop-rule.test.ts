import { describe, expect, it } from 'vitest'
import type { StopRule } from './stages.js'
import { freshStopState, watch } from './stop-rule.js'

/** Number of values after which a rule stops, or null. */
function stopsAfter(rule: StopRule, values: readonly number[]): number | null {
  let state = freshStopState
  for (const [index, value] of values.entries()) {
    const seen = watch(rule, state, { reward: value })
    // Through JSON, as a checkpoint does it.
    state = JSON.parse(JSON.stringify(seen.state)) as typeof state
    if (seen.reason !== null) return index + 1
  }
  return null
}

describe('stop rules', () => {
  it('stop at a threshold of the windowed mean', () => {
    const rule: StopRule = { kind: 'threshold', metric: 'reward', above: 0.9, window: 2 }
    expect(stopsAfter(rule, [1, 0.5, 0.8, 0.9, 0.95])).toBe(5)
    expect(stopsAfter({ kind: 'threshold', metric: 'reward', below: 0.2 }, [0.5, 0.1])).toBe(2)
  })

  it('stop when nothing gets better', () => {
    const rule: StopRule = { kind: 'patience', metric: 'reward', mode: 'max', patience: 2, minDelta: 0.05 }
    expect(stopsAfter(rule, [0.1, 0.2, 0.22, 0.24, 0.9])).toBe(4)
    expect(stopsAfter({ ...rule, mode: 'min' }, [0.9, 0.5, 0.4, 0.1])).toBeNull()
  })

  it('do not look at steps without their metric', () => {
    const rule: StopRule = { kind: 'patience', metric: 'eval/accuracy', mode: 'max', patience: 1 }
    expect(watch(rule, freshStopState, { reward: 1 })).toEqual({ state: freshStopState, reason: null })
  })
})
