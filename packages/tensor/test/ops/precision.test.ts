/**
 * 16-bit storage: what is stored is rounded to nearest even, what is computed is f32. Inputs are rounded first, so the
 * reference sees the same numbers as the GPU and only sums may differ.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as ops from '../../src/index.js'
import {
  assertClose,
  compareWithReference,
  map,
  randomArray,
  reference,
  upload,
  type NdArray,
} from '../../src/testing/index.js'
import { forAll, placed, placements, placer, seeds, shapes, useDevice, type Upload } from './support.js'

const device = useDevice()

type Half = 'f16' | 'bf16'
const halves = fc.constantFrom<Half>('bf16', 'bf16', 'f16')
const bitsOf = (x: NdArray, dtype: Half) => (dtype === 'f16' ? ops.toHalfBits : ops.toBfloat16Bits)(x.data)
const rounded = (x: NdArray, dtype: Half) => reference.cast.forward([x], dtype)[0]
/** The array as 16-bit floats in memory. */
const stored =
  (dtype: Half): Upload =>
  (on, x) =>
    on.tensor(bitsOf(x, dtype), x.shape, dtype)
const sums = { relative: 1e-5, absolute: 1e-5 }

describe('storage', () => {
  test('bf16 rounds to nearest even, keeps NaN and infinities, and the last odd element', async () => {
    const words = [0x3f800000, 0x3f808000, 0x3f818000, 0x3f80ffff, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00001]
    const subnormal = [0x00000001, 0x00008000, 0x00018000, 0x80018001, 0x00000000, 0x80000000, 0x3eaaaaab]
    const values = new Float32Array(Uint32Array.from([...words, ...subnormal]).buffer)
    const expected = ops.toBfloat16Bits(values)
    // CPU rasterisers and some GPUs flush subnormal inputs to zero: those elements may be zero of the same sign.
    for (const size of [values.length, 8]) {
      const x = device.current.tensor(values.subarray(0, size))
      const read = await x.cast('bf16').read()
      const bits = ops.toBfloat16Bits(read)
      bits.forEach((pattern, i) => {
        const flushed = i >= words.length && (pattern & 0x7fff) === 0
        if (!flushed) expect(pattern.toString(16), `element ${i}`).toBe(expected[i]?.toString(16))
      })
    }
    expect(ops.toBfloat16Bits([1 + 2 ** -8, 1 + 3 * 2 ** -8])).toEqual(Uint16Array.from([0x3f80, 0x3f82]))
  })

  test('every half is widened exactly, and narrowed again', async () => {
    const patterns = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i)
    const wide = device.current.tensor(patterns, [2 ** 16], 'f16').cast('f32')
    const values = await wide.read()
    // Same numbers, NaN and the sign of zero included; drivers may flush subnormals to zero.
    const isFlushed = (i: number) => (i & 0x7c00) === 0 && values[i] === 0
    ops.fromHalf(patterns).forEach((value, i) => {
      if (!isFlushed(i) && !Object.is(values[i], value))
        throw new Error(`half ${i.toString(16)}: ${values[i]}, not ${value}`)
    })
    const back = await device.current.tensor(values).cast('f16').read()
    expect(back).toEqual(values)
  })

  test('f16 rounds to nearest even, to infinity beyond the largest, and subnormals to multiples of 2^-24', async () => {
    const values = [
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      65519,
      65520,
      -1e6,
      Infinity,
      NaN,
      1.5 * 2 ** -24,
      -(2.5 * 2 ** -24),
      2 ** -26,
      2 ** -14,
    ]
    for (const size of [values.length, 8]) {
      const some = Float32Array.from(values.slice(0, size))
      expect(await device.current.tensor(some).cast('f16').read()).toEqual(ops.fromHalf(ops.toHalfBits(some)))
    }
  })

  test('a cast rounds also where nothing is stored in between', async () => {
    for (const dtype of ['f16', 'bf16'] as const) {
      const x = randomArray([33], 5, -3, 3)
      const there = upload(device.current, x).cast(dtype).cast('f32').mul(3)
      const expected = map(rounded(x, dtype), (value) => Math.fround(value * 3))
      assertClose(await there.read(), expected.data, { relative: 1e-7 })
    }
  })

  test('bit patterns go in and come out unchanged, in any view', async () => {
    await forAll(fc.tuple(shapes(3), placements, halves, seeds), async ([shape, placement, dtype, seed]) => {
      using _scope = device.current.scope()
      const x = rounded(randomArray(shape, seed, -100, 100), dtype)
      expect([...(await placed(device.current, x, placement, stored(dtype)).read())]).toEqual([...x.data])
    })
  })

  test('in-place writes of single elements leave their neighbours alone', async () => {
    for (const dtype of ['f16', 'bf16'] as const) {
      using _scope = device.current.scope()
      const x = device.current.tensor(
        Float32Array.from({ length: 21 }, (_, i) => i),
        [3, 7],
        dtype,
      )
      ops.assign(x.slice(1, 2, 5), x.slice(1, 2, 5).mul(10))
      ops.assign(x.slice(0, 1, 2).slice(1, 6, 7), device.current.full([1, 1], -1))
      const expected = Array.from({ length: 21 }, (_, i) => (i === 13 ? -1 : i % 7 >= 2 && i % 7 < 5 ? i * 10 : i))
      expect([...(await x.read())]).toEqual(expected)
    }
  })

  test('tensors of a file go up as they lie there, or in the type asked for', async () => {
    const { current } = device
    using _scope = current.scope()
    const values = Float32Array.from([1, -2.5, 3.140625, 65536])
    const file = { dtype: 'BF16', shape: [2, 2], data: ops.fromFloat32(values, 'BF16') } as const
    const held = ops.uploadSafetensors(current, file)
    expect([held.dtype, held.shape, ...(await held.read())]).toEqual(['bf16', [2, 2], ...values])
    expect(ops.uploadSafetensors(current, file, 'f32').dtype).toBe('f32')
    const words = { dtype: 'I64', shape: [1], data: new Uint8Array(BigInt64Array.from([7n]).buffer) } as const
    expect(await ops.uploadSafetensors(current, words).item()).toBe(7)
    const odd = new Uint8Array([0, ...new Uint8Array(Float32Array.of(5, 6).buffer)]).subarray(1)
    expect([...(await ops.uploadSafetensors(current, { dtype: 'F32', shape: [2], data: odd }).read())]).toEqual([5, 6])
  })

  test('rows are written piece by piece; a piece that ends within a word is refused', async () => {
    const { current } = device
    using _scope = current.scope()
    const x = current.buffer([4, 3], 'bf16')
    current.write(x.slice(0, 2, 4), ops.toBfloat16Bits([1, 2, 3, 4, 5, 6]))
    expect([...(await x.read())]).toEqual([0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6])
    expect(() => current.write(x.slice(0, 1, 3), new Float32Array(6))).toThrow(/start on a whole word/)
    expect(() => current.write(x.slice(0, 0, 1), new Float32Array(3))).toThrow(/ends within a word/)
    expect(() => current.tensor(new Uint16Array(2))).toThrow(/bit patterns of f16 or bf16, not f32/)
  })
})

describe('computation', () => {
  test('elementwise, reductions and concat', async () => {
    await forAll(fc.tuple(shapes(3, 9, 1), placements, halves, seeds), async ([shape, placement, dtype, seed]) => {
      const x = rounded(randomArray(shape, seed, -2, 2), dtype)
      const tolerance = { relative: dtype === 'f16' ? 2e-3 : 1e-2, absolute: 1e-6 }
      await compareWithReference(device.current, {
        name: `silu of ${dtype}`,
        operation: reference.silu,
        inputs: [x] as const,
        options: undefined,
        run: (a) => ops.silu(a),
        place: placer([placement], [stored(dtype)]),
        tolerance,
        gradientTolerance: { ...tolerance, absolute: 1e-2 },
      })
      using _scope = device.current.scope()
      const a = placed(device.current, x, placement, stored(dtype))
      const [total] = reference.sum.forward([x], { axes: [0], keepDims: false })
      assertClose(await a.sum(0).read(), total.data, sums)
      const twice = ops.concat([a, a], 0)
      expect(twice.dtype).toBe(dtype)
      expect([...(await twice.read())]).toEqual([...x.data, ...x.data])
    })
  })

  test('matmul over 16-bit operands is accumulated in f32', async () => {
    const dimension = fc.constantFrom(1, 3, 8, 17, 40)
    await forAll(
      fc.tuple(dimension, dimension, dimension, placements, placements, halves, seeds),
      async ([m, k, n, pa, pb, dtype, seed]) => {
        await compareWithReference(device.current, {
          name: `matmul of ${dtype}`,
          operation: reference.matmul,
          inputs: [rounded(randomArray([m, k], seed), dtype), rounded(randomArray([k, n], seed + 1), dtype)] as const,
          options: undefined,
          run: ops.matmul,
          place: placer([pa, pb], [stored(dtype), stored(dtype)]),
          tolerance: sums,
        })
      },
      8,
    )
  })

  test('linear, embedding and linearLogProb take 16-bit weights, with gradients to activations and weights', async () => {
    await forAll(
      fc.tuple(fc.constantFrom(1, 5, 36), fc.constantFrom(7, 16), fc.constantFrom(9, 32), halves, seeds),
      async ([tokens, width, vocabulary, dtype, seed]) => {
        const weight = rounded(randomArray([vocabulary, width], seed), dtype)
        const x = randomArray([tokens, width], seed + 1)
        await compareWithReference(device.current, {
          name: `linear with ${dtype}`,
          operation: reference.linear,
          inputs: [x, weight, randomArray([vocabulary], seed + 2)] as const,
          options: undefined,
          run: (a, w, b) => ops.linear(a, w, b),
          place: placer([], [upload, stored(dtype)]),
          tolerance: sums,
        })
        const targets = Array.from({ length: tokens }, (_, i) => (i * 7 + seed) % vocabulary)
        const ids = device.current.tensor(Uint32Array.from(targets))
        await compareWithReference(device.current, {
          name: `linearLogProb with ${dtype}`,
          operation: reference.linearLogProb,
          inputs: [x, weight] as const,
          options: { targets },
          run: (hidden, w) => {
            const { logProbs, entropies } = ops.linearLogProb(hidden, w, ids, { chunkElements: 64 })
            return [logProbs, entropies]
          },
          place: placer([], [upload, stored(dtype)]),
          tolerance: { relative: 1e-4, absolute: 1e-4 },
        })
        using _scope = device.current.scope()
        const table = stored(dtype)(device.current, weight).detached(true)
        const rows = ops.embedding(table, ids)
        expect(rows.dtype).toBe('f32')
        const expected = targets.flatMap((id) => [...weight.data.slice(id * width, (id + 1) * width)])
        expect([...(await rows.read())]).toEqual(expected)
        const [gradient] = ops.grad(rows.sum(), [table])
        const counts = map(weight, (_, i) => targets.filter((id) => id === Math.floor(i / width)).length)
        expect([...((await gradient?.read()) ?? [])]).toEqual([...counts.data])
      },
      3,
    )
  })
})
