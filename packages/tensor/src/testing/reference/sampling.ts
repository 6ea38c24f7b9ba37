/**
 * Choosing tokens, by sorting and summing in f64.
 */
import { at, type NdArray } from '../ndarray.js'
import { philox, unitFloat } from './random.js'

/** The k largest entries of each row of [B, V], largest first, equal ones by index. */
export function topK(x: NdArray, k: number): { values: number[][]; indices: number[][] } {
  const [rows = 0, length = 0] = x.shape
  const indices = Array.from({ length: rows }, (_, row) =>
    Array.from({ length }, (_, i) => i)
      .sort((a, b) => at(x, row * length + b) - at(x, row * length + a) || a - b)
      .slice(0, k),
  )
  return { indices, values: indices.map((list, row) => list.map((i) => at(x, row * length + i))) }
}

export interface SampleReferenceOptions {
  /** 0 picks the most likely token. */
  readonly temperature: number
  /** 0: off. */
  readonly topK?: number
  /** 1: off. */
  readonly topP?: number
  /** 0: off. */
  readonly minP?: number
  /** [B] pairs: the key of each row. */
  readonly seeds: readonly (readonly [number, number])[]
  readonly step: number
}

export interface SampleReference {
  readonly id: number
  /** Under the softmax at the temperature (at 1 when greedy), before top-k, top-p and min-p. */
  readonly logProb: number
  /** Probability of every entry after top-k, top-p and min-p. */
  readonly probabilities: readonly number[]
  /** How far the decision is from another outcome, in probability: rounding below this cannot change it. */
  readonly margin: number
}

/** Entries kept by top-k, then the smallest set of the most likely of them that holds `topP` of their mass. */
function nucleus(p: readonly number[], k: number, topP: number): { kept: Set<number>; margin: number } {
  const order = p.map((_, i) => i).sort((a, b) => (p[b] ?? 0) - (p[a] ?? 0))
  const threshold = k > 0 && k < p.length ? (p[order[k - 1] ?? 0] ?? 0) : 0
  const first = order.filter((i) => (p[i] ?? 0) >= threshold)
  if (topP >= 1) return { kept: new Set(first), margin: Infinity }
  const mass = first.reduce((sum, i) => sum + (p[i] ?? 0), 0)
  let margin = Infinity
  let sum = 0
  let least = 0
  for (const i of first) {
    sum += (p[i] ?? 0) / mass
    margin = Math.min(margin, Math.abs(sum - topP))
    least = p[i] ?? 0
    if (sum >= topP) break
  }
  return { kept: new Set(first.filter((i) => (p[i] ?? 0) >= least)), margin }
}

/** One token per row of logits [B, V], as `sampleTokens` draws it: entries in order, the draw from Philox stream 0x5a. */
export function sampleTokens(logits: NdArray, options: SampleReferenceOptions): SampleReference[] {
  const [rows = 0, length = 0] = logits.shape
  const { temperature, topK: k = 0, topP = 1, minP = 0, seeds, step } = options
  return Array.from({ length: rows }, (_, row) => {
    const scaled = Array.from(logits.data.subarray(row * length, (row + 1) * length), (x) => x / (temperature || 1))
    const top = Math.max(...scaled)
    const logSum = top + Math.log(scaled.reduce((sum, x) => sum + Math.exp(x - top), 0))
    const p = scaled.map((x) => Math.exp(x - logSum))
    if (temperature === 0) {
      const id = scaled.indexOf(top)
      const probabilities = p.map((_, i) => (i === id ? 1 : 0))
      return { id, logProb: top - logSum, probabilities, margin: Infinity }
    }
    const { kept: likely, margin: nucleusMargin } = nucleus(p, k, topP)
    const least = minP * Math.exp(top - logSum)
    const kept = new Set([...likely].filter((i) => (p[i] ?? 0) >= least))
    const minimumMargin = Math.min(...p.map((value) => Math.abs(value - least)))
    const mass = p.reduce((sum, value, i) => (kept.has(i) ? sum + value : sum), 0)
    const probabilities = p.map((value, i) => (kept.has(i) ? value / mass : 0))
    const draw = unitFloat(philox([step, 0, 0x5a, 0], seeds[row] ?? [0, 0])[0])
    let margin = Math.min(nucleusMargin, minP > 0 ? minimumMargin : Infinity)
    let sum = 0
    let id = -1
    probabilities.forEach((value, i) => {
      if (value === 0) return
      sum += value
      margin = Math.min(margin, Math.abs(sum - draw))
      if (id < 0 && draw < sum) id = i
    })
    return { id, logProb: (scaled[id] ?? NaN) - logSum, probabilities, margin }
  })
}
