import { createDevice, type Device } from '@revisual/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { difference } from '../../test/support.js'
import { decodeAttention, decodeAttentionForm, encodeSlots, type SequenceSlots } from './decode-attention.js'

let device: Device
beforeAll(async () => {
  device = await createDevice()
})
afterAll(() => device.destroy())

const random = (size: number, seed: number) =>
  Float32Array.from({ length: size }, (_, i) => Math.sin((i + 1) * 12.9898 + seed * 78.233) * 1.5)

interface Case {
  readonly heads: number
  readonly keyValueHeads: number
  readonly headSize: number
  readonly slots: number
  readonly sequences: readonly SequenceSlots[]
}

interface Arrays {
  readonly qkv: Float32Array
  readonly rotary: Float32Array
  readonly cache: Float32Array
}

/** The same attention in f64 on the host, and the cache after it. */
function reference(c: Case, { qkv, rotary, cache }: Arrays) {
  const { heads: H, keyValueHeads: KV, headSize: D, sequences } = c
  const turn = (row: number, head: number) => {
    const start = (row * (H + 2 * KV) + head) * D
    return Array.from({ length: D }, (_, d) => {
      const j = d % (D / 2)
      const [cos, sin] = [rotary[row * D + j] as number, rotary[row * D + D / 2 + j] as number]
      const [u, v] = [qkv[start + j] as number, qkv[start + D / 2 + j] as number]
      return d < D / 2 ? u * cos - v * sin : v * cos + u * sin
    })
  }
  const mixed: number[] = []
  const appended = cache.slice()
  sequences.forEach(({ newSlot }, row) => {
    for (let kv = 0; kv < KV; kv++) {
      const value = (row * (H + 2 * KV) + H + KV + kv) * D
      appended.set(turn(row, H + kv), (newSlot * 2 * KV + kv) * D)
      appended.set(qkv.subarray(value, value + D), (newSlot * 2 * KV + KV + kv) * D)
    }
  })
  sequences.forEach(({ runs }, row) => {
    const places = runs.flatMap(({ start, length }) => Array.from({ length }, (_, k) => start + k))
    for (let head = 0; head < H; head++) {
      const kv = Math.floor(head / (H / KV))
      const query = turn(row, head)
      const at = (slot: number, part: number) => (slot * 2 * KV + part * KV + kv) * D
      const scores = places.map(
        (slot) => query.reduce((sum, q, d) => sum + q * (appended[at(slot, 0) + d] as number), 0) / Math.sqrt(D),
      )
      const top = Math.max(...scores)
      const weights = scores.map((score) => Math.exp(score - top))
      const total = weights.reduce((sum, weight) => sum + weight, 0)
      for (let d = 0; d < D; d++) {
        const value = (slot: number) => appended[at(slot, 1) + d] as number
        mixed.push(places.reduce((sum, slot, j) => sum + ((weights[j] as number) / total) * value(slot), 0))
      }
    }
  })
  return { mixed, appended }
}

/** Runs whose last slot is the new one. */
const sequence = (...runs: (readonly [start: number, length: number])[]): SequenceSlots => {
  const [start, length] = runs.at(-1) as readonly [number, number]
  return { newSlot: start + length - 1, runs: runs.map(([first, size]) => ({ start: first, length: size })) }
}

const cases: Case[] = [
  {
    heads: 4,
    keyValueHeads: 2,
    headSize: 32,
    slots: 40,
    // Two sequences share a prompt.
    sequences: [sequence([0, 9], [16, 4]), sequence([0, 9], [24, 1]), sequence([30, 3])],
  },
  { heads: 4, keyValueHeads: 4, headSize: 8, slots: 3, sequences: [sequence([1, 1])] },
  {
    heads: 6,
    keyValueHeads: 2,
    headSize: 16,
    slots: 400,
    sequences: [sequence([300, 100], [0, 67]), sequence([70, 130]), sequence([210, 64], [70, 1], [200, 3])],
  },
]

describe.each(['workgroup', 'invocation'] as const)('decodeAttention, %s form', (form) => {
  it.each(cases)('equals the reference: $heads heads, $keyValueHeads kv, size $headSize', async (c) => {
    using _scope = device.scope()
    const { heads, keyValueHeads, headSize, slots, sequences } = c
    const B = sequences.length
    const arrays = {
      qkv: random(B * (heads + 2 * keyValueHeads) * headSize, 1),
      rotary: random(B * headSize, 2),
      cache: random(slots * 2 * keyValueHeads * headSize, 4),
    }
    const cache = device.tensor(arrays.cache, [slots, 2 * keyValueHeads, headSize])
    const mixed = decodeAttention(
      c,
      {
        queryKeyValue: device.tensor(arrays.qkv, [B, (heads + 2 * keyValueHeads) * headSize]),
        rotary: device.tensor(arrays.rotary, [B, headSize]),
        plan: device.tensor(encodeSlots(sequences)),
        cache,
      },
      form,
    )
    const expected = reference(c, arrays)
    expect(difference(await mixed.read(), expected.mixed)).toBeLessThan(2e-5)
    expect(difference(await cache.read(), expected.appended)).toBeLessThan(1e-6)
  })
})

describe('decodeAttentionForm', () => {
  it('keeps everything in registers only on a software adapter and when it fits', () => {
    const nano = { heads: 4, keyValueHeads: 2, headSize: 32 }
    expect(decodeAttentionForm(true, nano)).toBe('invocation')
    expect(decodeAttentionForm(false, nano)).toBe('workgroup')
    expect(decodeAttentionForm(true, { heads: 28, keyValueHeads: 4, headSize: 128 })).toBe('workgroup')
  })
})
