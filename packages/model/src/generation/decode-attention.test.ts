import { createDevice, type Device } from '@revisual/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { difference } from '../../test/support.js'
import { decodeAttention, decodeAttentionForm } from './decode-attention.js'

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
  readonly lengths: readonly number[]
  readonly prompts: readonly number[]
  readonly step: number
}

/** The same attention in f64 on the host, and the key and value that belong in the cache. */
function reference(c: Case, qkv: Float32Array, rotary: Float32Array, prefix: Float32Array, cache: Float32Array) {
  const { heads: H, keyValueHeads: KV, headSize: D, lengths, prompts, step } = c
  const B = prompts.length
  const prefixLength = Math.max(...lengths)
  const turn = (row: number, start: number) =>
    Array.from({ length: D }, (_, d) => {
      const j = d % (D / 2)
      const [cos, sin] = [rotary[row * D + j] as number, rotary[row * D + D / 2 + j] as number]
      const [u, v] = [qkv[start + j] as number, qkv[start + D / 2 + j] as number]
      return d < D / 2 ? u * cos - v * sin : v * cos + u * sin
    })
  const mixed: number[] = []
  const appended = cache.slice()
  for (let row = 0; row < B; row++) {
    const base = row * (H + 2 * KV) * D
    for (let kv = 0; kv < KV; kv++) {
      const at = ((step * B + row) * 2 * KV + kv) * D
      appended.set(turn(row, base + (H + kv) * D), at)
      appended.set(qkv.subarray(base + (H + KV + kv) * D, base + (H + KV + kv + 1) * D), at + KV * D)
    }
    for (let head = 0; head < H; head++) {
      const kv = Math.floor(head / (H / KV))
      const query = turn(row, base + head * D)
      const prompt = prompts[row] as number
      const rows: { key: ArrayLike<number>; value: ArrayLike<number> }[] = []
      const push = (source: Float32Array, start: number) =>
        rows.push({
          key: source.subarray(start, start + D),
          value: source.subarray(start + KV * D, start + KV * D + D),
        })
      for (let j = 0; j < (lengths[prompt] as number); j++)
        push(prefix, ((prompt * prefixLength + j) * 2 * KV + kv) * D)
      for (let j = 0; j <= step; j++) push(appended, ((j * B + row) * 2 * KV + kv) * D)
      const scores = rows.map(({ key }) => query.reduce((sum, q, d) => sum + q * (key[d] as number), 0) / Math.sqrt(D))
      const top = Math.max(...scores)
      const weights = scores.map((score) => Math.exp(score - top))
      const total = weights.reduce((sum, weight) => sum + weight, 0)
      for (let d = 0; d < D; d++) {
        mixed.push(rows.reduce((sum, { value }, j) => sum + ((weights[j] as number) / total) * (value[d] as number), 0))
      }
    }
  }
  return { mixed, appended }
}

const cases: Case[] = [
  { heads: 4, keyValueHeads: 2, headSize: 32, lengths: [5, 9], prompts: [0, 1, 1, 0, 1], step: 3 },
  { heads: 4, keyValueHeads: 4, headSize: 8, lengths: [1], prompts: [0], step: 0 },
  { heads: 6, keyValueHeads: 2, headSize: 16, lengths: [130, 70, 64], prompts: [2, 1, 0], step: 66 },
]

describe.each(['workgroup', 'invocation'] as const)('decodeAttention, %s form', (form) => {
  it.each(cases)(
    'equals the reference: $heads heads, $keyValueHeads kv, size $headSize, prompts $lengths, step $step',
    async (c) => {
      using _scope = device.scope()
      const { heads, keyValueHeads, headSize, lengths, prompts, step } = c
      const B = prompts.length
      const prefixShape = [lengths.length, Math.max(...lengths), 2 * keyValueHeads, headSize]
      const cacheShape = [step + 2, B, 2 * keyValueHeads, headSize]
      const size = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 1)
      const qkv = random(B * (heads + 2 * keyValueHeads) * headSize, 1)
      const rotary = random(B * headSize, 2)
      const prefix = random(size(prefixShape), 3)
      const before = random(size(cacheShape), 4)
      const cache = device.tensor(before, cacheShape)
      const mixed = decodeAttention(
        c,
        {
          queryKeyValue: device.tensor(qkv, [B, (heads + 2 * keyValueHeads) * headSize]),
          rotary: device.tensor(rotary, [B, headSize]),
          prefix: device.tensor(prefix, prefixShape),
          sequences: device.tensor(Uint32Array.from(prompts.flatMap((prompt) => [prompt, lengths[prompt] as number])), [
            B,
            2,
          ]),
          cache,
          step,
        },
        form,
      )
      const expected = reference(c, qkv, rotary, prefix, before)
      expect(difference(await mixed.read(), expected.mixed)).toBeLessThan(2e-5)
      expect(difference(await cache.read(), expected.appended)).toBeLessThan(1e-6)
    },
  )
})

describe('decodeAttentionForm', () => {
  it('keeps everything in registers only on a software adapter and when it fits', () => {
    const nano = { heads: 4, keyValueHeads: 2, headSize: 32 }
    expect(decodeAttentionForm(true, nano)).toBe('invocation')
    expect(decodeAttentionForm(false, nano)).toBe('workgroup')
    expect(decodeAttentionForm(true, { heads: 28, keyValueHeads: 4, headSize: 128 })).toBe('workgroup')
  })
})
