/**
 * Softmax, its masked form, and attention.
 */
import { at, generate, zeros, type NdArray } from '../ndarray.js'
import type { DifferentiableOp, UnaryInputs } from './operation.js'

export interface MaskReferenceOptions {
  /** Scores are multiplied by this first. */
  readonly scale?: number
  /** Key j is visible to query i only when j ≤ i + queryOffset. */
  readonly causal?: boolean
  readonly queryOffset?: number
  /** [B · Lq] and [B · Lk]: equal segments see each other; 0xffffffff is seen by nobody. */
  readonly querySegments?: readonly number[]
  readonly keySegments?: readonly number[]
}

const NOBODY = 0xffffffff

/** Whether the key of each element of scores [B, …, Lq, Lk] is visible to its query. */
function visibility(shape: readonly number[], options: MaskReferenceOptions): (index: number) => boolean {
  const [queries = 1, keys = 1] = shape.slice(-2)
  const perBatch = shape.length > 2 ? shape.slice(1).reduce((a, b) => a * b, 1) : queries * keys
  return (index) => {
    const key = index % keys
    const query = Math.floor(index / keys) % queries
    const batch = Math.floor(index / perBatch)
    if (options.causal === true && key > query + (options.queryOffset ?? 0)) return false
    if (!options.keySegments || !options.querySegments) return true
    const segment = options.keySegments[batch * keys + key]
    return segment !== NOBODY && segment === options.querySegments[batch * queries + query]
  }
}

/** Calls `fn` with the first index and the length of every row along the last axis. */
function eachRow(x: NdArray, fn: (start: number, length: number) => void): void {
  const length = x.shape.at(-1) ?? 1
  for (let start = 0; start < x.data.length; start += length) fn(start, length)
}

function softmaxRows(x: NdArray, scale: number, visible: (index: number) => boolean): NdArray {
  const result = zeros(x.shape)
  eachRow(x, (start, length) => {
    const shown = Array.from({ length }, (_, i) => start + i).filter(visible)
    const top = Math.max(...shown.map((i) => at(x, i) * scale))
    const total = shown.reduce((sum, i) => sum + Math.exp(at(x, i) * scale - top), 0)
    for (const i of shown) result.data[i] = Math.exp(at(x, i) * scale - top) / total
  })
  return result
}

function softmaxVjp(y: NdArray, gradient: NdArray, scale: number): NdArray {
  const result = zeros(y.shape)
  eachRow(y, (start, length) => {
    let dot = 0
    for (let i = start; i < start + length; i++) dot += at(y, i) * at(gradient, i)
    for (let i = start; i < start + length; i++) result.data[i] = scale * at(y, i) * (at(gradient, i) - dot)
  })
  return result
}

const maskedSoftmax: DifferentiableOp<UnaryInputs, MaskReferenceOptions> = {
  forward: ([x], options) => [softmaxRows(x, options.scale ?? 1, visibility(x.shape, options))],
  vjp: ([x], [gradient], options) => {
    const scale = options.scale ?? 1
    return [softmaxVjp(softmaxRows(x, scale, visibility(x.shape, options)), gradient, scale)]
  },
}

const softmax: DifferentiableOp<UnaryInputs> = {
  forward: (inputs) => maskedSoftmax.forward(inputs, {}),
  vjp: (inputs, gradients) => maskedSoftmax.vjp(inputs, gradients, {}),
}

const logSoftmax: DifferentiableOp<UnaryInputs> = {
  forward: ([x]) => {
    const result = zeros(x.shape)
    eachRow(x, (start, length) => {
      const row = x.data.subarray(start, start + length)
      const top = Math.max(...row)
      const logSum = top + Math.log(row.reduce((sum, value) => sum + Math.exp(value - top), 0))
      for (let i = start; i < start + length; i++) result.data[i] = at(x, i) - logSum
    })
    return [result]
  },
  vjp: ([x], [gradient]) => {
    const y = softmaxRows(x, 1, () => true)
    const result = zeros(x.shape)
    eachRow(x, (start, length) => {
      const total = gradient.data.subarray(start, start + length).reduce((a, b) => a + b, 0)
      for (let i = start; i < start + length; i++) result.data[i] = at(gradient, i) - at(y, i) * total
    })
    return [result]
  },
}

/** Index of (batch, head, row, column) in [B, H, L, D]. */
function place(x: NdArray, batch: number, head: number, row: number, column: number): number {
  const [, heads = 1, length = 1, width = 1] = x.shape
  return ((batch * heads + head) * length + row) * width + column
}

/** Walks all (batch, query head, query, key) with the index of the score and of the key head. */
function eachScore(
  q: NdArray,
  k: NdArray,
  fn: (score: number, batch: number, head: number, keyHead: number, query: number, key: number) => void,
): void {
  const [batches = 1, heads = 1, queries = 1] = q.shape
  const [, keyHeads = 1, keys = 1] = k.shape
  let score = 0
  for (let b = 0; b < batches; b++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queries; i++) {
        for (let j = 0; j < keys; j++) fn(score++, b, h, Math.floor((h * keyHeads) / heads), i, j)
      }
    }
  }
}

function attentionWeights(q: NdArray, k: NdArray, options: MaskReferenceOptions): { weights: NdArray; scale: number } {
  const [batches = 1, heads = 1, queries = 1, width = 1] = q.shape
  const scale = options.scale ?? 1 / Math.sqrt(width)
  const scores = zeros([batches, heads, queries, k.shape[2] ?? 1])
  eachScore(q, k, (score, b, h, kh, i, j) => {
    for (let d = 0; d < width; d++) {
      scores.data[score] = at(scores, score) + at(q, place(q, b, h, i, d)) * at(k, place(k, b, kh, j, d))
    }
  })
  return { weights: softmaxRows(scores, scale, visibility(scores.shape, options)), scale }
}

function addTo(x: NdArray, index: number, value: number): void {
  x.data[index] = at(x, index) + value
}

/** q [B, H, Lq, D], k [B, Hkv, Lk, D], v [B, Hkv, Lk, Dv] → [B, H, Lq, Dv]. */
const attention: DifferentiableOp<readonly [NdArray, NdArray, NdArray], MaskReferenceOptions> = {
  forward: ([q, k, v], options) => {
    const { weights } = attentionWeights(q, k, options)
    const width = v.shape[3] ?? 1
    const result = zeros([...q.shape.slice(0, 3), width])
    eachScore(q, k, (score, b, h, kh, i, j) => {
      for (let d = 0; d < width; d++)
        addTo(result, place(result, b, h, i, d), at(weights, score) * at(v, place(v, b, kh, j, d)))
    })
    return [result]
  },
  vjp: ([q, k, v], [gradient], options) => {
    const { weights, scale } = attentionWeights(q, k, options)
    const [dq, dk, dv] = [zeros(q.shape), zeros(k.shape), zeros(v.shape)]
    const dWeights = generate(weights.shape, () => 0)
    eachScore(q, k, (score, b, h, kh, i, j) => {
      for (let d = 0; d < (v.shape[3] ?? 1); d++) {
        const g = at(gradient, place(gradient, b, h, i, d))
        addTo(dWeights, score, g * at(v, place(v, b, kh, j, d)))
        addTo(dv, place(v, b, kh, j, d), g * at(weights, score))
      }
    })
    const dScores = softmaxVjp(weights, dWeights, scale)
    eachScore(q, k, (score, b, h, kh, i, j) => {
      for (let d = 0; d < (q.shape[3] ?? 1); d++) {
        addTo(dq, place(q, b, h, i, d), at(dScores, score) * at(k, place(k, b, kh, j, d)))
        addTo(dk, place(k, b, kh, j, d), at(dScores, score) * at(q, place(q, b, h, i, d)))
      }
    })
    return [dq, dk, dv]
  },
}

/** As `AttentionSequence` of the library. */
export interface SequenceReference {
  readonly queries: { readonly start: number; readonly length: number }
  readonly keys: { readonly start: number; readonly length: number }
  readonly prefix?: { readonly start: number; readonly length: number }
  readonly queryOffset?: number
}

export interface FlashReferenceOptions {
  readonly sequences: readonly SequenceReference[]
  readonly scale?: number
  readonly causal?: boolean
}

/** Rows of k that row i of q sees, in order. */
function keysOf(i: number, { sequences, causal = false }: FlashReferenceOptions): number[] {
  const own = sequences.find(({ queries }) => i >= queries.start && i < queries.start + queries.length)
  if (!own) return []
  const { queries, keys, prefix = { start: 0, length: 0 } } = own
  const last = i - queries.start + (own.queryOffset ?? keys.length - queries.length)
  const seen = Array.from({ length: prefix.length }, (_, j) => prefix.start + j)
  for (let j = 0; j < keys.length; j++) if (!causal || j <= last) seen.push(keys.start + j)
  return seen
}

type Visit = (query: (d: number) => number, key: (d: number) => number, value: (d: number) => number) => void

/** Softmax weights of row i and head h over the rows it sees, with where all of them lie. */
function eachRaggedRow(
  [q, k, v]: readonly [NdArray, NdArray, NdArray],
  options: FlashReferenceOptions,
  fn: (row: number, weights: number[], visit: (index: number, use: Visit) => void) => void,
): void {
  const [rows = 0, heads = 1, width = 1] = q.shape
  const [, keyHeads = 1] = k.shape
  const valueWidth = v.shape[2] ?? 1
  const scale = options.scale ?? 1 / Math.sqrt(width)
  for (let i = 0; i < rows; i++) {
    const seen = keysOf(i, options)
    for (let h = 0; h < heads; h++) {
      const keyHead = Math.floor((h * keyHeads) / heads)
      const query = (d: number) => (i * heads + h) * width + d
      const key = (j: number) => (d: number) => (j * keyHeads + keyHead) * width + d
      const scores = seen.map((j) => {
        let sum = 0
        for (let d = 0; d < width; d++) sum += at(q, query(d)) * at(k, key(j)(d))
        return sum * scale
      })
      const top = Math.max(...scores)
      const powers = scores.map((score) => Math.exp(score - top))
      const total = powers.reduce((a, b) => a + b, 0)
      fn(
        i * heads + h,
        powers.map((power) => power / total),
        (index, use) => {
          const j = seen[index] ?? 0
          use(query, key(j), (d) => (j * keyHeads + keyHead) * valueWidth + d)
        },
      )
    }
  }
}

/** q [Tq, H, D], k [Tk, Hkv, D], v [Tk, Hkv, Dv] → [Tq, H, Dv]. */
const flashAttention: DifferentiableOp<readonly [NdArray, NdArray, NdArray], FlashReferenceOptions> = {
  forward: (inputs, options) => {
    const [q, , v] = inputs
    const width = v.shape[2] ?? 1
    const result = zeros([...q.shape.slice(0, 2), width])
    eachRaggedRow(inputs, options, (row, weights, visit) => {
      weights.forEach((weight, index) =>
        visit(index, (_query, _key, value) => {
          for (let d = 0; d < width; d++) addTo(result, row * width + d, weight * at(v, value(d)))
        }),
      )
    })
    return [result]
  },
  vjp: (inputs, [gradient], options) => {
    const [q, k, v] = inputs
    const [width, valueWidth] = [q.shape[2] ?? 1, v.shape[2] ?? 1]
    const scale = options.scale ?? 1 / Math.sqrt(width)
    const [dq, dk, dv] = [zeros(q.shape), zeros(k.shape), zeros(v.shape)]
    eachRaggedRow(inputs, options, (row, weights, visit) => {
      const slopes = weights.map((weight, index) => {
        let slope = 0
        visit(index, (_query, _key, value) => {
          for (let d = 0; d < valueWidth; d++) {
            const g = at(gradient, row * valueWidth + d)
            slope += g * at(v, value(d))
            addTo(dv, value(d), g * weight)
          }
        })
        return slope
      })
      const mean = slopes.reduce((sum, slope, index) => sum + slope * (weights[index] ?? 0), 0)
      slopes.forEach((slope, index) => {
        const dScore = scale * (weights[index] ?? 0) * (slope - mean)
        visit(index, (query, key) => {
          for (let d = 0; d < width; d++) {
            addTo(dq, query(d), dScore * at(k, key(d)))
            addTo(dk, key(d), dScore * at(q, query(d)))
          }
        })
      })
    })
    return [dq, dk, dv]
  },
}

export const attentions = { softmax, logSoftmax, maskedSoftmax, attention, flashAttention }
