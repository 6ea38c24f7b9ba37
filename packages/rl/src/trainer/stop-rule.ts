/** Early stopping, with its memory as plain data so that a resumed run decides as an undisturbed one. */
import { mean } from '../statistics.js'
import type { StopRule } from './stages.js'

/** What a rule remembers; part of the checkpoint. */
export interface StopState {
  readonly recent: readonly number[]
  readonly best: number | null
  readonly sinceBest: number
}

export const freshStopState: StopState = { recent: [], best: null, sinceBest: 0 }

/** Why a stage ends, or null to go on; and the memory to keep. */
export function watch(
  rule: StopRule,
  state: StopState,
  metrics: { readonly [metric: string]: unknown },
): { readonly state: StopState; readonly reason: string | null } {
  const value = metrics[rule.metric]
  if (typeof value !== 'number' || !Number.isFinite(value)) return { state, reason: null }
  const { window = 1 } = rule
  const recent = [...state.recent, value].slice(-window)
  if (recent.length < window) return { state: { ...state, recent }, reason: null }
  const level = mean(recent)
  const seen = `${rule.metric} ${window > 1 ? `(mean of ${window}) ` : ''}is ${level}`
  if (rule.kind === 'threshold') {
    const reached = 'above' in rule ? level >= rule.above : level <= rule.below
    return { state: { ...state, recent }, reason: reached ? `${seen}: threshold reached` : null }
  }
  const sign = rule.mode === 'max' ? 1 : -1
  const better = state.best === null || sign * (level - state.best) > (rule.minDelta ?? 0)
  const next = { recent, best: better ? level : state.best, sinceBest: better ? 0 : state.sinceBest + 1 }
  const tired = next.sinceBest >= rule.patience
  return { state: next, reason: tired ? `${seen}: no better than ${next.best} for ${rule.patience} values` : null }
}
