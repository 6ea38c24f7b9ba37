/**
 * Fused attention against the plain reference, value and every gradient, for every kind of mask; then what only it can
 * do: no scores in memory, a shared prompt, the same bits on every run. Pipelines differ by head size and engine, so most
 * cases share one head size: on a CPU each new one compiles for seconds.
 */
import { describe, expect, test } from 'vitest'
import * as ops from '../../src/index.js'
import {
  assertClose,
  compareWithReference,
  map,
  randomArray,
  reference,
  upload,
  type FlashReferenceOptions,
  type SequenceReference,
} from '../../src/testing/index.js'
import { loose, placed, useDevice, type Placement } from './support.js'

const device = useDevice()

const run = (start: number, length: number) => ({ start, length })
/** A sequence over its own rows. */
const own = (start: number, length: number): SequenceReference => ({
  queries: run(start, length),
  keys: run(start, length),
})

interface Case {
  readonly rows: number
  readonly keys: number
  readonly options: FlashReferenceOptions
}

const kinds: Readonly<Record<string, Case>> = {
  'one causal sequence': { rows: 45, keys: 45, options: { sequences: [own(0, 45)], causal: true } },
  'packed causal sequences of unequal length': {
    rows: 60,
    keys: 60,
    options: { sequences: [own(0, 17), own(17, 1), own(18, 33), own(51, 9)], causal: true },
  },
  'windows, with rows of padding before, between and after': {
    rows: 64,
    keys: 64,
    options: { sequences: [own(2, 16), own(18, 12), own(34, 16)] },
  },
  'a full frame, and another scale': { rows: 50, keys: 50, options: { sequences: [own(0, 50)], scale: 0.7 } },
  'a cache longer than the queries': {
    rows: 11,
    keys: 130,
    options: {
      sequences: [
        { queries: run(0, 3), keys: run(0, 40) },
        { queries: run(3, 1), keys: run(50, 70) },
        { queries: run(4, 7), keys: run(40, 9) },
      ],
      causal: true,
    },
  },
  'one prefix of several suffixes, and a sequence that has none': {
    rows: 60,
    keys: 60,
    options: {
      sequences: [
        own(0, 21),
        { ...own(21, 9), prefix: run(0, 21) },
        { ...own(30, 12), prefix: run(0, 21) },
        { ...own(42, 1), prefix: run(0, 21) },
        own(43, 6),
        { ...own(49, 11), prefix: run(43, 6) },
      ],
      causal: true,
    },
  },
  'queries that see nothing': {
    rows: 24,
    keys: 20,
    options: {
      sequences: [
        { queries: run(0, 10), keys: run(0, 4), queryOffset: -6 },
        { queries: run(10, 4), keys: run(4, 0) },
        { queries: run(16, 8), keys: run(8, 12) },
      ],
      causal: true,
    },
  },
}

async function compare(
  name: string,
  { rows, keys, options }: Case,
  [heads, keyHeads]: readonly [number, number],
  [width, valueWidth]: readonly [number, number],
  more: { readonly engine?: 'tiles' | 'subgroups'; readonly placement?: Placement } = {},
): Promise<void> {
  const { engine, placement = 'plain' } = more
  await compareWithReference(device.current, {
    name,
    operation: reference.flashAttention,
    inputs: [
      randomArray([rows, heads, width], 1, -2, 2),
      randomArray([keys, keyHeads, width], 2, -2, 2),
      randomArray([keys, keyHeads, valueWidth], 3),
    ] as const,
    options,
    run: (q, k, v) => ops.flashAttention(q, k, v, { ...options, ...(engine ? { engine } : {}) }),
    place: (device, x) => placed(device, x, placement),
    tolerance: loose,
    gradientTolerance: { relative: 1e-4, absolute: 1e-4 },
  })
}

const causal = kinds['packed causal sequences of unequal length'] as Case
const shared = kinds['one prefix of several suffixes, and a sequence that has none'] as Case

describe('fused attention', () => {
  describe.each([[2, 2] as const, [4, 2] as const, [3, 1] as const])('%i heads over %i', (heads, keyHeads) => {
    test.each(Object.entries(kinds))('%s', async (name, example) => {
      await compare(name, example, [heads, keyHeads], [16, 16])
    })
  })

  test.each([
    [32, 32],
    [64, 64],
    [72, 72],
    [80, 80],
    [128, 128],
    [20, 44],
  ])(
    'head sizes %i and %i',
    async (width, valueWidth) => {
      await compare(`D ${width}`, shared, [2, 1], [width, valueWidth])
    },
    60_000,
  )

  test('tiles for long sequences', async () => {
    const example = { rows: 300, keys: 300, options: { sequences: [own(0, 280), own(280, 20)], causal: true } }
    await compare('long', example, [2, 1], [16, 16])
  })

  test('the kernels for GPUs', async () => {
    for (const [name, example] of Object.entries(kinds))
      await compare(name, example, [4, 2], [16, 16], { engine: 'tiles' })
  }, 120_000)

  test.each(['permuted', 'sliced', 'strided'] as const)('reads a %s view', async (placement) => {
    await compare(placement, causal, [2, 1], [16, 16], { placement })
  })

  test('reads queries, keys and values out of one projection in place', async () => {
    const { current } = device
    const all = randomArray([40, 6, 16], 1)
    const part = (index: number) => {
      const data = all.data.filter(
        (_, i) => Math.floor(i / 16) % 6 >= index * 2 && Math.floor(i / 16) % 6 < index * 2 + 2,
      )
      return { shape: [40, 2, 16], data }
    }
    const options = { sequences: [own(0, 40)], causal: true }
    const [expected] = reference.flashAttention.forward([part(0), part(1), part(2)], options)
    using _scope = current.scope()
    const qkv = upload(current, all)
    const [q, k, v] = [0, 1, 2].map((index) => qkv.slice(1, index * 2, index * 2 + 2)) as [
      ops.Tensor,
      ops.Tensor,
      ops.Tensor,
    ]
    assertClose(await ops.flashAttention(q, k, v, options).read(), expected.data, loose)
  })

  test('f16 operands', async () => {
    const { current } = device
    using _scope = current.scope()
    const rounded = (seed: number) => {
      const { shape, data } = randomArray([60, 2, 16], seed, -2, 2)
      return { shape, data: Float64Array.from(ops.fromHalf(ops.toHalfBits(Float32Array.from(data)))) }
    }
    const arrays = [rounded(1), rounded(2), rounded(3)] as const
    const inputs = arrays.map((x) => current.tensor(Float32Array.from(x.data), x.shape, 'f16').detached(true))
    const [q, k, v] = inputs as [ops.Tensor, ops.Tensor, ops.Tensor]
    const mixed = ops.flashAttention(q, k, v, causal.options)
    const upstream = randomArray([60, 2, 16], 4)
    const gradients = ops.grad(mixed, inputs, { gradOutputs: [upload(current, upstream)] })
    const values = await current.read([mixed, ...gradients])
    const [expected] = reference.flashAttention.forward(arrays, causal.options)
    assertClose(values[0] ?? [], expected.data, loose)
    reference.flashAttention.vjp(arrays, [upstream], causal.options).forEach((gradient, index) => {
      assertClose(values[index + 1] ?? [], gradient?.data ?? [], { relative: 1e-4, absolute: 1e-4 })
    })
  })

  test('large scores neither overflow nor vanish', async () => {
    const { current } = device
    using _scope = current.scope()
    const [q, k, v] = [1, 2, 3].map((seed) =>
      map(randomArray([45, 1, 16], seed), (x) => Math.fround(seed < 3 ? 60 * x : x)),
    )
    if (!q || !k || !v) throw new Error('three arrays')
    const options = { sequences: [own(0, 45)], causal: true, scale: 1 }
    const [expected] = reference.flashAttention.forward([q, k, v], options)
    const mixed = ops.flashAttention(upload(current, q), upload(current, k), upload(current, v), options)
    // Scores reach 10⁴, where neighbouring f32 are 10⁻³ apart.
    assertClose(await mixed.read(), expected.data, { relative: 1e-2, absolute: 1e-2 })
  })

  test('a shared prefix is the same as repeating it', async () => {
    const { current } = device
    using _scope = current.scope()
    const [prefix, suffix, samples] = [19, 7, 3]
    const rows = prefix + samples * suffix
    const [q, k, v, upstream] = [1, 2, 3, 4].map((seed) =>
      upload(current, randomArray([rows, 2, 16], seed)).detached(true),
    )
    if (!q || !k || !v || !upstream) throw new Error('four tensors')
    const once = ops.flashAttention(q, k, v, {
      sequences: Array.from({ length: samples }, (_, s) => ({
        ...own(prefix + s * suffix, suffix),
        prefix: run(0, prefix),
      })),
      causal: true,
    })
    const repeated = (x: ops.Tensor) =>
      ops.concat(
        Array.from({ length: samples }, (_, s) => [
          x.slice(0, 0, prefix),
          x.slice(0, prefix + s * suffix, prefix + (s + 1) * suffix),
        ]).flat(),
        0,
      )
    const each = prefix + suffix
    const many = ops.flashAttention(repeated(q), repeated(k), repeated(v), {
      sequences: Array.from({ length: samples }, (_, s) => own(s * each, each)),
      causal: true,
    })
    const tails = ops.concat(
      Array.from({ length: samples }, (_, s) => many.slice(0, s * each + prefix, (s + 1) * each)),
      0,
    )
    const g = upstream.slice(0, prefix)
    const inputs = [q, k, v]
    const [a, b, ...gradients] = await current.read([
      once.slice(0, prefix),
      tails,
      ...ops.grad(once.slice(0, prefix), inputs, { gradOutputs: [g] }),
      ...ops.grad(tails, inputs, { gradOutputs: [g] }),
    ])
    assertClose(a ?? [], b ?? [], loose)
    for (let i = 0; i < 3; i++)
      assertClose(gradients[i] ?? [], gradients[3 + i] ?? [], { relative: 1e-4, absolute: 1e-4 })
  })

  test('gives the same bits on every run', async () => {
    const { current } = device
    const once = async () => {
      using _scope = current.scope()
      const inputs = [1, 2, 3].map((seed) => upload(current, randomArray([60, 2, 16], seed)).detached(true))
      const [q, k, v] = inputs as [ops.Tensor, ops.Tensor, ops.Tensor]
      const mixed = ops.flashAttention(q, k, v, shared.options)
      return await current.read([mixed, ...ops.grad(mixed.square().sum(), inputs)])
    }
    expect(await once()).toEqual(await once())
  })

  test('never holds scores, nor a row of a longer sequence for each of another', async () => {
    const { current } = device
    using _scope = current.scope()
    const [rows, width] = [2048, 16]
    const inputs = [1, 2, 3].map((seed) => upload(current, randomArray([rows, 1, width], seed)).detached(true))
    const [q, k, v] = inputs as [ops.Tensor, ops.Tensor, ops.Tensor]
    current.memory.trim()
    current.memory.resetPeak()
    const before = current.memory.liveBytes
    const mixed = ops.flashAttention(q, k, v, { sequences: [own(0, rows)], causal: true })
    await current.eval(ops.grad(mixed.sum(), inputs))
    expect(current.memory.peakBytes - before).toBeLessThan((rows * rows * 4) / 8)
  })

  test('a plan serves several layers, also after the scope it was first used in', async () => {
    const { current } = device
    const plan = new ops.AttentionPlan(current, shared.options.sequences, { causal: true })
    const x = randomArray([60, 2, 16], 1)
    const [expected] = reference.flashAttention.forward([x, x, x], shared.options)
    for (let turn = 0; turn < 2; turn++) {
      using _scope = current.scope()
      const rows = upload(current, x)
      const live = current.memory.liveTensors().length
      const first = ops.flashAttention(rows, rows, rows, { sequences: plan })
      const uploads = current.memory.liveTensors().length - live
      const second = ops.flashAttention(rows, rows, rows, { sequences: plan })
      expect([uploads, current.memory.liveTensors().length - live]).toEqual([1, 1])
      for (const values of await current.read([first, second])) assertClose(values, expected.data, loose)
    }
  })

  test('what does not fit is named', () => {
    const { current } = device
    const rows = (n: number, heads = 2, width = 16) => current.zeros([n, heads, width])
    const attend = (q: ops.Tensor, k: ops.Tensor, sequences: readonly SequenceReference[]) => () =>
      ops.flashAttention(q, k, k, { sequences })
    expect(attend(rows(4, 3), rows(4), [own(0, 4)])).toThrow(/H a multiple of Hkv/)
    expect(attend(rows(4, 2, 6), rows(4, 2, 6), [own(0, 4)])).toThrow(/multiples of 4 up to 256/)
    expect(attend(rows(4), rows(4), [own(0, 5)])).toThrow(/reach to query row 5 and key row 5; there are 4 and 4/)
    expect(attend(rows(8), rows(8), [own(0, 5), own(4, 2)])).toThrow(/0 and 1 share query row 4/)
    expect(attend(rows(8), rows(8), [own(-1, 5)])).toThrow(/sequence 0: queries start at -1/)
    expect(attend(rows(0), rows(0), [])()).toMatchObject({ shape: [0, 2, 16] })
  })
})

describe('dense attention', () => {
  test.each([false, true])('fused and composed agree (heads first in memory: %s)', async (headsFirst) => {
    const { current } = device
    using _scope = current.scope()
    const make = (heads: number, length: number, seed: number) =>
      headsFirst
        ? upload(current, randomArray([2, heads, length, 16], seed)).detached(true)
        : upload(current, randomArray([2, length, heads, 16], seed))
            .permute([0, 2, 1, 3])
            .detached(true)
    const inputs = [make(4, 21, 1), make(2, 34, 2), make(2, 34, 3)]
    const [q, k, v] = inputs as [ops.Tensor, ops.Tensor, ops.Tensor]
    const g = upload(current, randomArray([2, 4, 21, 16], 4))
    const both = [true, false].flatMap((fused) => {
      const mixed = ops.attention(q, k, v, { causal: true, queryOffset: 13, fused })
      return [mixed, ...ops.grad(mixed, inputs, { gradOutputs: [g] })]
    })
    const values = await current.read(both)
    for (let i = 0; i < 4; i++) assertClose(values[i] ?? [], values[4 + i] ?? [], { relative: 1e-4, absolute: 1e-4 })
  })

  test('unmasked gradients are the same, fused and with the scores in memory', async () => {
    const { current } = device
    const make = (heads: number, length: number, seed: number) =>
      upload(current, randomArray([2, heads, length, 16], seed)).detached(true)
    const inputs = [make(4, 21, 1), make(2, 34, 2), make(2, 34, 3)]
    const [q, k, v] = inputs as [ops.Tensor, ops.Tensor, ops.Tensor]
    const g = upload(current, randomArray([2, 4, 21, 16], 4))
    const all = [{ fused: true }, { fused: false }, {}].flatMap((options) => {
      const mixed = ops.attention(q, k, v, options)
      return [mixed, ...ops.grad(mixed, inputs, { gradOutputs: [g] })]
    })
    const values = await current.read(all)
    for (let i = 0; i < 4; i++) {
      for (const other of [4, 8]) {
        assertClose(values[i] ?? [], values[other + i] ?? [], { relative: 1e-4, absolute: 1e-4 })
      }
    }
  })

  test('scores are held only for a gradient on a software GPU, and only few', () => {
    const { current } = device
    const peak = (heads: number, learns: boolean, options: ops.AttentionOptions = {}) => {
      const make = () => current.buffer([1, heads, 256, 8]).detached(learns)
      const [q, k, v] = [make(), make(), make()]
      const before = current.memory.liveBytes
      const { peakBytes } = current.plan([ops.attention(q, k, v, options)], {})
      for (const tensor of [q, k, v]) tensor.dispose()
      return peakBytes - before
    }
    const scores = (heads: number) => 4 * heads * 256 * 256
    const { isSoftware } = current.info
    expect(peak(8, true, { fused: false })).toBeGreaterThan(scores(8))
    expect(peak(8, true) > scores(8)).toBe(isSoftware)
    expect(peak(8, false)).toBeLessThan(scores(8))
    expect(peak(8, true, { causal: true })).toBeLessThan(scores(8))
    expect(peak(200, true)).toBeLessThan(scores(200))
  })
})
