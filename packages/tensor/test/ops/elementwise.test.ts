import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as ops from '../../src/index.js'
import {
  assertClose,
  compareWithReference,
  map,
  ndarray,
  randomArray,
  reference,
  upload,
  type DifferentiableOp,
  type NdArray,
  type ReferenceOp,
} from '../../src/testing/index.js'
import { broadcastPairs, forAll, loose, placed, placements, placer, seeds, shapes, useDevice } from './support.js'

const device = useDevice()

type Range = readonly [number, number]
/** Keeps values away from whole numbers, where floor, relu and comparisons have their steps. */
const offIntegers = (x: NdArray) => map(x, (v) => Math.trunc(v) + Math.sign(v) * (0.05 + 0.9 * (Math.abs(v) % 1)))

type Binary = ReferenceOp<readonly [NdArray, NdArray]> | DifferentiableOp<readonly [NdArray, NdArray]>
const binary: [string, Binary, (a: ops.Tensor, b: ops.Tensor) => ops.Tensor, Range, Range][] = [
  ['add', reference.add, ops.add, [-3, 3], [-3, 3]],
  ['sub', reference.sub, ops.sub, [-3, 3], [-3, 3]],
  ['mul', reference.mul, ops.mul, [-3, 3], [-3, 3]],
  ['div', reference.div, ops.div, [-3, 3], [0.3, 3]],
  ['pow', reference.pow, ops.pow, [0.2, 3], [-2, 2]],
  ['maximum', reference.maximum, ops.maximum, [-3, 3], [-3, 3]],
  ['minimum', reference.minimum, ops.minimum, [-3, 3], [-3, 3]],
]

describe('binary operations with broadcasting over views', () => {
  test.each(binary)('%s', async (name, operation, run, rangeA, rangeB) => {
    await forAll(fc.tuple(broadcastPairs(), placements, placements, seeds), async ([[a, b], pa, pb, seed]) => {
      const inputs = [randomArray(a, seed, ...rangeA), randomArray(b, seed + 1, ...rangeB)] as const
      const place = placer([pa, pb])
      await compareWithReference(device.current, {
        name,
        operation,
        inputs,
        options: undefined,
        run,
        place,
        tolerance: { relative: 1e-4, absolute: 1e-4 },
      })
    })
  })

  const comparisons = [
    ['eq', ops.eq],
    ['ne', ops.ne],
    ['lt', ops.lt],
    ['le', ops.le],
    ['gt', ops.gt],
    ['ge', ops.ge],
  ] as const
  test.each(comparisons)('%s on small integers, where ties are common', async (name, run) => {
    await forAll(
      fc.tuple(broadcastPairs(3), seeds),
      async ([[a, b], seed]) => {
        const inputs = [
          map(randomArray(a, seed, 0, 3), Math.floor),
          map(randomArray(b, seed + 1, 0, 3), Math.floor),
        ] as const
        await compareWithReference(device.current, {
          name,
          operation: reference[name],
          inputs,
          options: undefined,
          run,
          tolerance: { relative: 0, absolute: 0 },
        })
      },
      3,
    )
  })

  test('where takes either side and sends its gradient there', async () => {
    await forAll(
      fc.tuple(broadcastPairs(3), fc.array(fc.constant(1), { maxLength: 3 }), placements, seeds),
      async ([[a, b], c, placement, seed]) => {
        const inputs = [
          map(randomArray(b, seed, 0, 3), Math.floor),
          randomArray(a, seed + 1),
          randomArray(c, seed + 2),
        ] as const
        const place = placer([placement, 'plain', placement])
        await compareWithReference(device.current, {
          name: 'where',
          operation: reference.where,
          inputs,
          options: undefined,
          run: ops.where,
          place,
        })
      },
    )
  })
})

type Unary = ReferenceOp<readonly [NdArray]> | DifferentiableOp<readonly [NdArray]>
const unary: [string, Unary, (x: ops.Tensor) => ops.Tensor, Range][] = [
  ['neg', reference.neg, ops.neg, [-3, 3]],
  ['abs', reference.abs, ops.abs, [-3, 3]],
  ['exp', reference.exp, ops.exp, [-5, 5]],
  ['log', reference.log, ops.log, [0.1, 9]],
  ['sqrt', reference.sqrt, ops.sqrt, [0.1, 9]],
  ['rsqrt', reference.rsqrt, ops.rsqrt, [0.1, 9]],
  ['square', reference.square, ops.square, [-3, 3]],
  ['reciprocal', reference.reciprocal, ops.reciprocal, [0.3, 5]],
  ['sin', reference.sin, ops.sin, [-3, 3]],
  ['cos', reference.cos, ops.cos, [-3, 3]],
  ['tanh', reference.tanh, ops.tanh, [-4, 4]],
  ['sigmoid', reference.sigmoid, ops.sigmoid, [-8, 8]],
  ['relu', reference.relu, ops.relu, [-3, 3]],
  ['silu', reference.silu, ops.silu, [-8, 8]],
  ['softplus', reference.softplus, ops.softplus, [-8, 8]],
  ['erf', reference.erf, ops.erf, [-4, 4]],
  ['floor', reference.floor, ops.floor, [-5, 5]],
  ['round', reference.round, ops.round, [-5, 5]],
  ['sign', reference.sign, ops.sign, [-3, 3]],
]

describe('unary operations over views', () => {
  test.each(unary)('%s', async (name, operation, run, range) => {
    await forAll(
      fc.tuple(shapes(), placements, seeds),
      async ([shape, placement, seed]) => {
        const inputs = [offIntegers(randomArray(shape, seed, ...range))] as const
        await compareWithReference(device.current, {
          name,
          operation,
          inputs,
          options: undefined,
          run,
          place: placer([placement]),
          tolerance: { relative: 1e-4, absolute: 5e-5 },
        })
      },
      3,
    )
  })

  test.each(['erf', 'tanh'] as const)('gelu, %s', async (kind) => {
    await forAll(
      fc.tuple(shapes(3), placements, seeds),
      async ([shape, placement, seed]) => {
        const inputs = [randomArray(shape, seed, -5, 5)] as const
        await compareWithReference(device.current, {
          name: 'gelu',
          operation: reference.gelu,
          inputs,
          options: kind,
          run: (x) => ops.gelu(x, kind),
          place: placer([placement]),
          tolerance: loose,
        })
      },
      3,
    )
  })

  test('clamp', async () => {
    const options = { low: -1.5, high: 0.5 }
    await forAll(
      fc.tuple(shapes(3), seeds),
      async ([shape, seed]) => {
        const inputs = [randomArray(shape, seed, -3, 3)] as const
        await compareWithReference(device.current, {
          name: 'clamp',
          operation: reference.clamp,
          inputs,
          options,
          run: (x) => ops.clamp(x, -1.5, 0.5),
        })
      },
      3,
    )
  })
})

describe('values at the edges', () => {
  test('round takes ties to even, softplus and sigmoid survive large arguments', async () => {
    const { current } = device
    const [rounded, soft, sigmoids, tanhs] = await current.read([
      ops.round(current.tensor([0.5, 1.5, 2.5, -0.5, -1.5])),
      ops.softplus(current.tensor([-200, 200])),
      ops.sigmoid(current.tensor([-200, 200])),
      ops.tanh(current.tensor([-200, 200])),
    ])
    assertClose(rounded ?? [], [0, 2, 2, 0, -2])
    assertClose(soft ?? [], [0, 200])
    assertClose(sigmoids ?? [], [0, 1])
    assertClose(tanhs ?? [], [-1, 1])
  })

  test('infinities and NaN pass through arithmetic', async () => {
    const x = device.current.tensor([Infinity, -Infinity, 1])
    assertClose(await x.mul(2).add(1).read(), [Infinity, -Infinity, 3])
    assertClose(await x.sub(x).slice(0, 2, 3).read(), [0])
  })

  test('numbers as operands, on both sides', async () => {
    const x = device.current.tensor([1, 2, 4])
    assertClose(await ops.sub(1, x).read(), [0, -1, -3])
    assertClose(await ops.div(8, x).read(), [8, 4, 2])
    assertClose(await ops.where(ops.gt(x, 1), x, 0).read(), [0, 2, 4])
  })

  test('empty tensors', async () => {
    expect((await device.current.zeros([0, 3]).add(1).read()).length).toBe(0)
    expect(await device.current.zeros([0, 3]).sum().item()).toBe(0)
  })

  test('dtypes and shapes that do not fit are named', () => {
    const { current } = device
    expect(() => ops.add(current.zeros([2, 3]), current.zeros([4, 3]))).toThrow(
      /\[2, 3\] and \[4, 3\] do not broadcast/,
    )
    expect(() => ops.add(current.zeros([2]), current.zeros([2], 'u32'))).toThrow(/dtypes f32 and u32 do not mix/)
    expect(() => ops.exp(current.zeros([2], 'i32'))).toThrow(/needs a float tensor, got i32/)
  })
})

describe('dtypes', () => {
  test('integers: arithmetic, comparison and casts', async () => {
    const { current } = device
    const i = current.tensor(new Int32Array([-3, 5, 2_000_000_011]))
    const u = current.tensor(new Uint32Array([3, 5, 4_000_000_007]))
    const [sum, equal, large, truncated, negative] = await current.read([
      i.add(i.device.full([], 1, 'i32')),
      ops.eq(u, current.full([], 5, 'u32')),
      ops.gt(u, current.full([], 4_000_000_006, 'u32')),
      current.tensor([1.9, -1.9, 7]).cast('i32'),
      ops.abs(ops.neg(i)),
    ])
    expect([...(sum ?? [])]).toEqual([-2, 6, 2_000_000_012])
    expect([...(equal ?? [])]).toEqual([0, 1, 0])
    expect([...(large ?? [])]).toEqual([0, 0, 1])
    expect([...(truncated ?? [])]).toEqual([1, -1, 7])
    expect([...(negative ?? [])]).toEqual([3, 5, 2_000_000_011])
  })

  test('f16 storage: rounded once, computed in f32, over views and odd sizes', async (context) => {
    const { current } = device
    if (!current.features.has('shader-f16')) return context.skip()
    await forAll(fc.tuple(shapes(3, 7), placements, seeds), async ([shape, placement, seed]) => {
      using _scope = current.scope()
      const x = randomArray(shape, seed, -4, 4)
      const [half] = reference.cast.forward([x], 'f16')
      const tensor = placed(current, half, placement).cast('f16')
      expect(tensor.dtype).toBe('f16')
      const product = tensor.mul(tensor)
      const [stored, squared, mixed] = await current.read([tensor, product, tensor.add(upload(current, x))])
      assertClose(stored ?? [], half.data, { relative: 0, absolute: 0 })
      const [expected] = reference.cast.forward([map(half, (v) => v * v)], 'f16')
      assertClose(squared ?? [], expected.data, { relative: 1e-3, absolute: 1e-7 })
      assertClose(mixed ?? [], map(half, (v, i) => v + (x.data[i] ?? 0)).data)
    })
  })

  test('f16 gradients come back in f16 at the leaf, in f32 behind a cast', async (context) => {
    const { current } = device
    if (!current.features.has('shader-f16')) return context.skip()
    const x = current.tensor([0.5, -1.25, 2]).detached(true)
    const [gradient] = ops.grad(x.cast('f16').square().cast('f32').sum(), [x])
    expect(gradient?.dtype).toBe('f32')
    assertClose((await gradient?.read()) ?? [], [1, -2.5, 4], { relative: 1e-3 })
  })

  test('iota and full', async () => {
    const { current } = device
    assertClose(await current.iota([2, 3], 1).read(), [0, 1, 2, 0, 1, 2])
    assertClose(await current.iota([2, 3], 0, 'f32').mul(0.5).read(), [0, 0, 0, 0.5, 0.5, 0.5])
    assertClose(await current.full([2, 2], 3).read(), ndarray([3, 3, 3, 3]).data)
  })
})
