import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as ops from '../../src/index.js'
import {
  assertClose,
  compareWithReference,
  generate,
  map,
  randomArray,
  reference,
  upload,
  type MaskReferenceOptions,
} from '../../src/testing/index.js'
import { forAll, loose, placements, placer, seeds, shapes, useDevice } from './support.js'

const device = useDevice()

/** Row lengths that take one lane, several lanes, and more than one round of lanes. */
const lengths = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(64, 130, 1100))

const lead = shapes(2, 5)

describe('softmax', () => {
  test.each(['softmax', 'logSoftmax'] as const)('%s', async (name) => {
    await forAll(fc.tuple(lead, lengths, placements, seeds), async ([rows, length, placement, seed]) => {
      const inputs = [randomArray([...rows, length], seed, -6, 6)] as const
      await compareWithReference(device.current, {
        name,
        operation: reference[name],
        inputs,
        options: undefined,
        run: ops[name],
        place: placer([placement]),
        tolerance: loose,
      })
    })
  })

  test('does not overflow, and takes −∞ for a masked entry', async () => {
    const x = device.current.tensor([
      [1000, 1001, -Infinity],
      [-1000, -1000, -1000],
    ])
    const e = Math.E / (1 + Math.E)
    assertClose(await ops.softmax(x).read(), [1 - e, e, 0, 1 / 3, 1 / 3, 1 / 3], loose)
  })
})

interface MaskCase {
  readonly batch: number
  readonly queries: number
  readonly keys: number
  readonly options: MaskReferenceOptions
}

/** Any mix of scale, causal offset and segments, with keys that nobody may see. */
const masks: fc.Arbitrary<MaskCase> = fc
  .tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 9 }))
  .chain(([batch, queries, keys]) => {
    const segments = (length: number) =>
      fc.array(fc.constantFrom(0, 0, 1, 1, 0xffffffff), { minLength: length, maxLength: length })
    return fc
      .record({
        scale: fc.constantFrom(0.3, 1),
        causal: fc.boolean(),
        queryOffset: fc.integer({ min: -1, max: 4 }),
        segmented: fc.boolean(),
        querySegments: segments(batch * queries),
        keySegments: segments(batch * keys),
      })
      .map(({ segmented, querySegments, keySegments, ...rest }) => ({
        batch,
        queries,
        keys,
        options: segmented ? { ...rest, querySegments, keySegments } : rest,
      }))
  })

function maskOptions({ batch, queries, keys, options }: MaskCase): ops.MaskOptions {
  const { querySegments, keySegments, ...rest } = options
  if (!querySegments || !keySegments) return rest
  return {
    ...rest,
    querySegments: device.current.tensor(Uint32Array.from(querySegments), [batch, queries]),
    keySegments: device.current.tensor(Uint32Array.from(keySegments), [batch, keys]),
  }
}

describe('attention', () => {
  test('maskedSoftmax', async () => {
    await forAll(
      fc.tuple(masks, shapes(2, 3), placements, seeds),
      async ([mask, heads, placement, seed]) => {
        await compareWithReference(device.current, {
          name: 'maskedSoftmax',
          operation: reference.maskedSoftmax,
          inputs: [randomArray([mask.batch, ...heads, mask.queries, mask.keys], seed, -3, 3)] as const,
          options: mask.options,
          run: (x) => ops.maskedSoftmax(x, maskOptions(mask)),
          place: placer([placement]),
          tolerance: loose,
        })
      },
      8,
    )
  })

  test('grouped heads, every mask', async () => {
    const values = fc.tuple(
      masks,
      fc.constantFrom([1, 1], [4, 2], [3, 1], [2, 2]),
      fc.constantFrom(2, 4, 6),
      fc.constantFrom(3, 4),
      placements,
      seeds,
    )
    await forAll(
      values,
      async ([mask, [heads = 1, keyHeads = 1], width, valueWidth, placement, seed]) => {
        const { batch, queries, keys } = mask
        await compareWithReference(device.current, {
          name: 'attention',
          operation: reference.attention,
          inputs: [
            randomArray([batch, heads, queries, width], seed),
            randomArray([batch, keyHeads, keys, width], seed + 1),
            randomArray([batch, keyHeads, keys, valueWidth], seed + 2),
          ] as const,
          options: mask.options,
          run: (q, k, v) => ops.attention(q, k, v, maskOptions(mask)),
          place: placer([placement, 'plain', placement]),
          tolerance: loose,
        })
      },
      8,
    )
  })

  test('a token does not see what comes after it or another segment', async () => {
    const { current } = device
    const [q, k, v] = [1, 2, 3].map((seed) => randomArray([1, 2, 6, 4], seed))
    if (!q || !k || !v) throw new Error('three arrays')
    const segments = current.tensor(new Uint32Array([0, 0, 0, 1, 1, 1]), [1, 6])
    const run = (values: typeof v) =>
      ops
        .attention(upload(current, q), upload(current, k), upload(current, values), {
          causal: true,
          querySegments: segments,
          keySegments: segments,
        })
        .read()
    const plain = await run(v)
    // Keys 1 and 4 change; queries 0 and 3 must not.
    const changed = await run(map(v, (value, i) => ([1, 4].includes(Math.floor(i / 4) % 6) ? value + 100 : value)))
    plain.forEach((value, i) => {
      if ([0, 3].includes(Math.floor(i / 4) % 6)) expect(changed[i]).toBe(value)
    })
    expect([...changed]).not.toEqual([...plain])
  })

  test('shapes that do not fit are named', () => {
    const { current } = device
    const heads = (n: number) => current.zeros([1, n, 2, 4])
    expect(() => ops.attention(heads(3), heads(2), heads(2))).toThrow(/H a multiple of Hkv/)
    expect(() => ops.maskedSoftmax(heads(1), { keySegments: current.zeros([1, 4], 'u32') })).toThrow(
      /both querySegments and keySegments/,
    )
  })
})

describe('norms, rotary, SwiGLU', () => {
  test('rmsNorm', async () => {
    await forAll(fc.tuple(lead, lengths, placements, seeds), async ([rows, length, placement, seed]) => {
      await compareWithReference(device.current, {
        name: 'rmsNorm',
        operation: reference.rmsNorm,
        inputs: [randomArray([...rows, length], seed, -3, 3), randomArray([length], seed + 1)] as const,
        options: { eps: 1e-6 },
        run: (x, weight) => ops.rmsNorm(x, weight, 1e-6),
        place: placer([placement, 'plain']),
        tolerance: { relative: 1e-4, absolute: 1e-4 },
      })
    })
  })

  test('layerNorm', async () => {
    await forAll(fc.tuple(lead, lengths, placements, seeds), async ([rows, length, placement, seed]) => {
      await compareWithReference(device.current, {
        name: 'layerNorm',
        operation: reference.layerNorm,
        inputs: [
          randomArray([...rows, length], seed, -3, 3),
          randomArray([length], seed + 1),
          randomArray([length], seed + 2),
        ] as const,
        options: { eps: 1e-3 },
        run: (x, weight, bias) => ops.layerNorm(x, weight, bias, 1e-3),
        place: placer([placement, 'plain', 'plain']),
        tolerance: { relative: 1e-4, absolute: 2e-4 },
      })
    })
  })

  test.each([
    [3, 64],
    [5, 260],
    [7, 131],
    [2, 1030],
    [4, 2048],
  ])('norms of %i rows of %i by vectors and subgroups agree with their plain twins', async (rows, length) => {
    const { current } = device
    const [x, gradient] = [randomArray([rows, length], 1, -3, 3), randomArray([rows, length], 2)]
    const [scale, shift] = [randomArray([length], 3), randomArray([length], 4)]
    const run = async (plain: boolean, norm: 'rms' | 'layer') => {
      const operands = [x, scale, shift].map((array) => upload(current, array).detached(true))
      const [a, b, c] = operands
      if (!a || !b || !c) throw new Error('Three operands.')
      const y = norm === 'rms' ? ops.rmsNorm(a, b, 1e-5, { plain }) : ops.layerNorm(a, b, c, 1e-5, { plain })
      const wanted = norm === 'rms' ? [a, b] : [a, b, c]
      return current.read([y, ...ops.grad([y], wanted, { gradOutputs: [upload(current, gradient)] })])
    }
    for (const norm of ['rms', 'layer'] as const) {
      const [fast, plain] = [await run(false, norm), await run(true, norm)]
      fast.forEach((values, index) => {
        assertClose(values, plain[index] ?? [], { relative: 1e-5, absolute: 2e-5 }, `${norm} ${index}`)
      })
      expect(await run(false, norm)).toEqual(fast)
    }
  })

  test('layerNorm of large offsets keeps its variance', async () => {
    const x = map(randomArray([2, 64], 4), (value) => Math.fround(1000 + value))
    const [expected] = reference.layerNorm.forward(
      [x, map(randomArray([64], 1), () => 1), map(randomArray([64], 1), () => 0)],
      { eps: 1e-6 },
    )
    const y = ops.layerNorm(upload(device.current, x), device.current.ones([64]), device.current.zeros([64]), 1e-6)
    assertClose(await y.read(), expected.data, { relative: 1e-3, absolute: 1e-3 })
  })

  test('rotary', async () => {
    const dimension = fc.integer({ min: 1, max: 6 })
    await forAll(
      fc.tuple(dimension, dimension, dimension, placements, seeds),
      async ([tokens, heads, half, placement, seed]) => {
        const cos = randomArray([tokens, half], seed + 1)
        const sin = randomArray([tokens, half], seed + 2)
        await compareWithReference(device.current, {
          name: 'rotary',
          operation: reference.rotary,
          inputs: [randomArray([tokens, heads, 2 * half], seed)] as const,
          options: { cos, sin },
          run: (x) => ops.rotary(x, upload(device.current, cos), upload(device.current, sin)),
          place: placer([placement]),
        })
      },
    )
  })

  test('swiglu', async () => {
    await forAll(fc.tuple(shapes(3), placements, placements, seeds), async ([shape, pg, pu, seed]) => {
      const inputs = [randomArray(shape, seed, -6, 6), randomArray(shape, seed + 1)] as const
      await compareWithReference(device.current, {
        name: 'swiglu',
        operation: reference.swiglu,
        inputs,
        options: undefined,
        run: ops.swiglu,
        place: placer([pg, pu]),
        tolerance: loose,
      })
    })
  })
})

describe('linearLogProb', () => {
  const cases = fc.record({
    tokens: fc.integer({ min: 1, max: 9 }),
    width: fc.constantFrom(1, 4, 7, 16),
    vocabulary: fc.constantFrom(2, 5, 33, 64),
    temperature: fc.constantFrom(1, 0.6, 1.7),
    masked: fc.boolean(),
    chunkElements: fc.constantFrom(8, 40, 2 ** 20),
    placement: placements,
    seed: seeds,
  })

  test('log-probs, entropies and both gradients, in chunks of any size', async () => {
    await forAll(
      cases,
      async ({ tokens, width, vocabulary, temperature, masked, chunkElements, placement, seed }) => {
        const targets = Array.from(randomArray([tokens], seed, 0, vocabulary).data, Math.floor)
        const mask = Array.from({ length: vocabulary }, (_, v) =>
          masked && v % 3 === 1 && !targets.includes(v) ? ops.DROPPED : 0,
        )
        const ids = device.current.tensor(Uint32Array.from(targets))
        const maskTensor = device.current.tensor(mask)
        await compareWithReference(device.current, {
          name: 'linearLogProb',
          operation: reference.linearLogProb,
          inputs: [
            randomArray([tokens, width], seed + 1, -2, 2),
            randomArray([vocabulary, width], seed + 2, -2, 2),
          ] as const,
          options: { targets, temperature, mask },
          run: (hidden, weight) => {
            const { logProbs, entropies } = ops.linearLogProb(hidden, weight, ids, {
              temperature,
              mask: maskTensor,
              chunkElements,
            })
            return [logProbs, entropies]
          },
          place: placer([placement, 'plain']),
          tolerance: { relative: 1e-4, absolute: 1e-4 },
        })
      },
      8,
    )
  })

  test('top1 tells whether the target is on top, whatever the chunks', async () => {
    const { current } = device
    using _scope = current.scope()
    const weight = generate([20_000, 1], (i) => (i === 9001 || i === 19_999 ? 2 : (i % 7) / 7))
    const hidden = upload(
      current,
      generate([5, 1], () => 1),
    )
    const mask = current.tensor(Float32Array.from({ length: 20_000 }, (_, i) => (i === 19_999 ? ops.DROPPED : 0)))
    const targets = current.tensor(Uint32Array.from([9001, 19_999, 3, 6, 0]))
    const of = (options: ops.LinearLogProbOptions) =>
      ops.linearLogProb(hidden, upload(current, weight), targets, { temperature: 0.5, ...options }).top1
    // Equal entries share the top.
    expect([...(await of({}).read())]).toEqual([1, 1, 0, 0, 0])
    expect([...(await of({ mask, chunkElements: 9000 }).read())]).toEqual([1, 0, 0, 0, 0])
    expect(of({}).requiresGrad).toBe(false)
  })

  test('never holds [T, V] logits', async () => {
    const { current } = device
    using _scope = current.scope()
    const [tokens, width, vocabulary] = [128, 8, 2048]
    const hidden = upload(current, randomArray([tokens, width], 1)).detached(true)
    const weight = upload(current, randomArray([vocabulary, width], 2)).detached(true)
    const targets = current.tensor(new Uint32Array(tokens))
    const { logProbs } = ops.linearLogProb(hidden, weight, targets, { chunkElements: 2 ** 14 })
    current.memory.trim()
    current.memory.resetPeak()
    const before = current.memory.liveBytes
    await current.read([...ops.grad(logProbs.sum(), [hidden, weight]), logProbs])
    expect(current.memory.peakBytes - before).toBeLessThan((tokens * vocabulary * 4) / 4)
  })

  test('takes no tokens, and refuses options out of range', async () => {
    const { current } = device
    const [weight, ids] = [current.ones([5, 4]), current.tensor(Uint32Array.of(1, 2))]
    const none = ops.linearLogProb(current.zeros([0, 4]), weight, current.tensor(new Uint32Array(0)))
    expect((await current.read([none.logProbs, none.entropies, none.top1])).map((x) => x.length)).toEqual([0, 0, 0])
    const call = (options: ops.LinearLogProbOptions) => () =>
      ops.linearLogProb(current.ones([2, 4]), weight, ids, options)
    expect(call({ temperature: 0 })).toThrow(/temperature is 0; it must be one number above 0/)
    expect(call({ temperature: current.ones([2]) })).toThrow(/temperature is a tensor of 2 elements/)
    expect(call({ mask: current.ones([4]) })).toThrow(/mask is f32\[4\]; it must be f32 \[5\]/)
    expect(call({ chunkElements: 0 })).toThrow(/chunkElements is 0/)
    expect(() => ops.linearLogProb(current.ones([2, 4]), current.zeros([0, 4]), ids)).toThrow(/V ≥ 1/)
  })

  test('a temperature in a tensor gives the same as a number', async () => {
    const { current } = device
    const hidden = upload(current, randomArray([3, 4], 1))
    const weight = upload(current, randomArray([9, 4], 2))
    const targets = current.tensor(new Uint32Array([0, 8, 3]))
    const [a, b] = await current.read([
      ops.linearLogProb(hidden, weight, targets, { temperature: 0.7 }).logProbs,
      ops.linearLogProb(hidden, weight, targets, { temperature: current.tensor([0.7], []) }).logProbs,
    ])
    assertClose(a ?? [], b ?? [], { relative: 1e-6 })
  })
})
