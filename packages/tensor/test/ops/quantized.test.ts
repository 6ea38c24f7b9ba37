/**
 * Quantised weights. The codes are checked against a plain quantiser; every operation over them against the f64
 * reference on the decoded weights, which f32 holds exactly.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as ops from '../../src/index.js'
import {
  assertClose,
  compareWithReference,
  ndarray,
  randomArray,
  reference,
  upload,
  type NdArray,
} from '../../src/testing/index.js'
import { forAll, seeds, useDevice } from './support.js'

const device = useDevice()

const kinds = fc.record({
  bits: fc.constantFrom<8 | 4>(8, 4),
  groupSize: fc.constantFrom(16, 32, 64),
  scales: fc.constantFrom<'bf16' | 'f32'>('bf16', 'f32'),
})
type Kind = { readonly bits: 8 | 4; readonly groupSize: number; readonly scales: 'bf16' | 'f32' }
const sums = { relative: 1e-5, absolute: 1e-5 }

/** Scales as the definition gives them. */
function plainScales(weight: NdArray, { bits, groupSize, scales }: Kind): number[] {
  return Array.from({ length: weight.data.length / groupSize }, (_, group) => {
    const members = weight.data.subarray(group * groupSize, (group + 1) * groupSize)
    const scale = members.reduce((top, w) => Math.max(top, Math.abs(w)), 0) / (2 ** (bits - 1) - 1)
    return scales === 'f32'
      ? Math.fround(scale)
      : (reference.cast.forward([ndarray([scale], [1])], 'bf16')[0].data[0] ?? 0)
  })
}

function unpack(words: Uint32Array, bits: 8 | 4): number[] {
  const each = 32 / bits
  return Array.from({ length: words.length * each }, (_, i) => {
    const word = words[Math.floor(i / each)] ?? 0
    return (word << (32 - bits * ((i % each) + 1))) >> (32 - bits)
  })
}

/** The weight on the device, and what it decodes to. */
async function quantised(weight: NdArray, kind: Kind): Promise<{ q: ops.QuantizedWeight; decoded: NdArray }> {
  const q = ops.quantize(upload(device.current, weight), kind)
  return { q, decoded: ndarray(await q.dequantize().read(), weight.shape) }
}

test('codes and scales are those of the definition', async () => {
  await forAll(fc.tuple(kinds, fc.constantFrom(1, 3, 8), seeds), async ([kind, rows, seed]) => {
    using _scope = device.current.scope()
    const width = 2 * kind.groupSize
    const weight = randomArray([rows, width], seed, -0.02, 0.03)
    weight.data.fill(0, 0, kind.groupSize)
    const { q, decoded } = await quantised(weight, kind)
    const scales = plainScales(weight, kind)
    assertClose(await q.stored.scales.read(), scales, { relative: kind.scales === 'f32' ? 1e-6 : 0, absolute: 0 })
    const codes = unpack((await q.stored.codes.read()) as Uint32Array, kind.bits)
    expect(codes.slice(0, kind.groupSize)).toEqual(new Array(kind.groupSize).fill(0))
    const top = 2 ** (kind.bits - 1) - 1
    codes.forEach((code, i) => {
      const scale = scales[Math.floor(i / kind.groupSize)] ?? 0
      // A tie may go either way: the device's division is not correctly rounded.
      const exact = scale === 0 ? 0 : Math.max(-top, Math.min(top, (weight.data[i] ?? 0) / scale))
      expect(Math.abs(code - exact), `code ${i}`).toBeLessThan(0.5 + 1e-4)
    })
    const products = codes.map((code, i) => code * (scales[Math.floor(i / kind.groupSize)] ?? 0))
    assertClose(decoded.data, products, { relative: 1e-6, absolute: 0 })
  })
})

describe('operations decode on load', () => {
  test('linear, with its gradient to the activations', async () => {
    await forAll(
      fc.tuple(kinds, fc.constantFrom(1, 5, 33), fc.constantFrom(3, 24), seeds),
      async ([kind, tokens, outputs, seed]) => {
        using _scope = device.current.scope()
        const { q, decoded } = await quantised(randomArray([outputs, 2 * kind.groupSize], seed), kind)
        const linear = {
          forward: ([x, bias]: readonly [NdArray, NdArray]) => reference.linear.forward([x, decoded, bias]),
          vjp: ([x, bias]: readonly [NdArray, NdArray], gradients: readonly [NdArray]) => {
            const [dx, , dBias] = reference.linear.vjp([x, decoded, bias], gradients)
            return [dx ?? null, dBias ?? null]
          },
        }
        await compareWithReference(device.current, {
          name: `linear over ${q.dtype}`,
          operation: linear,
          inputs: [randomArray([tokens, 2 * kind.groupSize], seed + 1), randomArray([outputs], seed + 2)] as const,
          options: undefined,
          run: (x, bias) => ops.linear(x, q, bias),
          tolerance: sums,
        })
      },
      6,
    )
  })

  test('embedding and linearLogProb', async () => {
    await forAll(
      fc.tuple(kinds, seeds),
      async ([kind, seed]) => {
        using _scope = device.current.scope()
        const [tokens, width, vocabulary] = [6, kind.groupSize, 21]
        const { q, decoded } = await quantised(randomArray([vocabulary, width], seed), kind)
        const targets = Array.from({ length: tokens }, (_, i) => (i * 5) % vocabulary)
        const ids = device.current.tensor(Uint32Array.from(targets))
        const rows = targets.flatMap((id) => [...decoded.data.slice(id * width, (id + 1) * width)])
        expect([...(await ops.embedding(q, ids).read())]).toEqual(rows)
        await compareWithReference(device.current, {
          name: `linearLogProb over ${q.dtype}`,
          operation: {
            forward: ([hidden]: readonly [NdArray]) => reference.linearLogProb.forward([hidden, decoded], { targets }),
            vjp: ([hidden]: readonly [NdArray], gradients: readonly [NdArray, NdArray]) => [
              reference.linearLogProb.vjp([hidden, decoded], gradients, { targets })[0] ?? null,
            ],
          },
          inputs: [randomArray([tokens, width], seed + 1)] as const,
          options: undefined,
          run: (hidden) => {
            const { logProbs, entropies } = ops.linearLogProb(hidden, q, ids, { chunkElements: 40 })
            return [logProbs, entropies]
          },
          tolerance: { relative: 1e-4, absolute: 1e-4 },
        })
      },
      3,
    )
  })

  test('slices, transposes and elementwise operations see the decoded weights', async () => {
    const kind = { bits: 4, groupSize: 16, scales: 'bf16' } as const
    using _scope = device.current.scope()
    const { q, decoded } = await quantised(randomArray([7, 48], 3), kind)
    expect([...(await q.slice(0, 2, 5).slice(1, 5, 21).read())]).toEqual(
      [2, 3, 4].flatMap((row) => [...decoded.data.slice(row * 48 + 5, row * 48 + 21)]),
    )
    const [flipped] = reference.transpose.forward([decoded])
    const twice = q.transpose().mul(2)
    expect(twice.dtype).toBe('f32')
    assertClose(
      await twice.read(),
      [...flipped.data].map((w) => 2 * w),
      { relative: 1e-7 },
    )
  })
})

describe('construction', () => {
  test('from blocks of rows, as from the whole', async () => {
    const { current } = device
    using _scope = current.scope()
    const weight = randomArray([10, 64], 9)
    const bits = ops.toBfloat16Bits(weight.data)
    const whole = ops.quantize(current.tensor(bits, [10, 64], 'bf16'), { bits: 4, groupSize: 32 })
    async function* blocks() {
      for (const [from, to] of [
        [0, 3],
        [3, 4],
        [4, 10],
      ] as const) {
        await Promise.resolve()
        yield bits.slice(from * 64, to * 64)
      }
    }
    const options = { bits: 4, groupSize: 32, sourceType: 'bf16' } as const
    const streamed = await ops.QuantizedWeight.fromBlocks(current, [10, 64], blocks(), options)
    expect(await streamed.read()).toEqual(await whole.read())
    await expect(ops.QuantizedWeight.fromBlocks(current, [4, 64], [bits.slice(0, 64)], options)).rejects.toThrow(
      /1 rows came for a weight of 4/,
    )
  })

  test('a read made before rows are replaced sees the old weights', async () => {
    const { current } = device
    using _scope = current.scope()
    const q = ops.quantize(current.full([2, 16], 7), { bits: 4, groupSize: 16 })
    await current.eval([])
    const before = q.sum(1)
    q.writeRows(1, current.full([1, 16], -14))
    const after = q.sum(1)
    expect((await current.read([before, after])).map((x) => [...x])).toEqual([
      [112, 112],
      [112, -224],
    ])
  })

  test('it takes the bytes it says, and a scope can keep it', () => {
    const { current } = device
    const before = current.memory.liveBytes
    const outer = current.scope()
    const q = (() => {
      using scope = current.scope()
      return scope.keep(ops.quantize(current.zeros([64, 128]), { bits: 4, groupSize: 32 }))
    })()
    expect(q.node.bytes).toBe((64 * 128) / 2 + 64 * 4 * 2)
    expect(current.memory.liveBytes - before).toBeGreaterThanOrEqual(q.node.bytes)
    outer[Symbol.dispose]()
    expect(current.memory.liveBytes).toBe(before)
    expect(() => q.stored).toThrow(/was disposed/)
  })

  test('what does not fit is named', () => {
    const { current } = device
    expect(() => ops.quantize(current.zeros([2, 40]), { bits: 8, groupSize: 16 })).toThrow(/divides 40/)
    expect(() => ops.quantize(current.zeros([8]), { bits: 8 })).toThrow(/must be \[N, K\]/)
    expect(() => current.zeros([2, 16]).cast('q8')).toThrow(/quantize\(\)/)
    expect(() => current.tensor([1], [1], 'q4')).toThrow(/quantize\(\) makes codes/)
  })
})

/** Trains a low-rank adapter beside a frozen weight. */
async function trainAdapter(frozen: ops.Tensor): Promise<number[]> {
  const { current } = device
  const [outputs, inputs] = frozen.shape as [number, number]
  const parameters = new ops.ParameterSet(current, [
    { name: 'a', shape: [4, inputs] },
    { name: 'b', shape: [outputs, 4] },
  ])
  parameters.write('a', Float32Array.from(randomArray([4, inputs], 1, -0.3, 0.3).data))
  const optimizer = new ops.AdamW(parameters)
  const losses: number[] = []
  for (let step = 0; step < 6; step++) {
    using _scope = current.scope()
    const x = upload(current, randomArray([20, inputs], 30))
    const wanted = upload(current, randomArray([20, outputs], 31))
    // The gradient passes through the frozen weight twice on its way to the adapter.
    const adapted = (h: ops.Tensor) =>
      ops.linear(h, frozen).add(ops.linear(ops.linear(h, parameters.get('a')), parameters.get('b')))
    const loss = ops
      .linear(ops.silu(adapted(x)), frozen)
      .sub(wanted)
      .square()
      .mean()
    parameters.zeroGrad()
    const names = ['a', 'b'] as const
    const gradients = ops.grad(
      loss,
      names.map((name) => parameters.get(name)),
    )
    gradients.forEach((gradient, i) => parameters.accumulate(names[i] ?? 'a', gradient))
    losses.push(await loss.item())
    optimizer.update({ learningRate: 0.02 })
    await current.eval([])
  }
  parameters.dispose()
  return losses
}

test('an adapter on a quantised base learns, as on the same base in f32', async () => {
  using _scope = device.current.scope()
  for (const bits of [8, 4] as const) {
    const { q, decoded } = await quantised(randomArray([32, 32], 8), { bits, groupSize: 32, scales: 'bf16' })
    const losses = await trainAdapter(q)
    assertClose(losses, await trainAdapter(upload(device.current, decoded)), { relative: 1e-4 })
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) * 0.9)
  }
})
