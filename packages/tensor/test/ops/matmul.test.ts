import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as ops from '../../src/index.js'
import { assertClose, compareWithReference, map, randomArray, reference, upload } from '../../src/testing/index.js'
import { forAll, placements, placer, seeds, useDevice } from './support.js'

const device = useDevice()

const dimension = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(1, 4, 8, 16))
const batches = fc.constantFrom<[number[], number[]]>(
  [[], []],
  [[3], [3]],
  [[2, 3], [3]],
  [
    [2, 1],
    [1, 3],
  ],
  [[], [2]],
  [
    [2, 1, 2, 2],
    [2, 2, 1, 2],
  ],
)
const sizes = fc.tuple(batches, dimension, dimension, dimension)
const sums = { relative: 1e-5, absolute: 1e-5 }

describe('matmul', () => {
  test('any batch, any strides', async () => {
    await forAll(
      fc.tuple(sizes, placements, placements, seeds),
      async ([[[batchA, batchB], m, k, n], pa, pb, seed]) => {
        await compareWithReference(device.current, {
          name: 'matmul',
          operation: reference.matmul,
          inputs: [randomArray([...batchA, m, k], seed), randomArray([...batchB, k, n], seed + 1)] as const,
          options: undefined,
          run: ops.matmul,
          place: placer([pa, pb]),
          tolerance: sums,
        })
      },
      12,
    )
  })

  const edges: [number, number, number][] = [
    [64, 64, 64],
    [65, 33, 67],
    [1, 300, 5],
    [130, 1, 70],
    [7, 129, 1],
    [32, 16, 200],
    // Large enough to be copied into panels on a CPU rasteriser.
    [430, 45, 404],
  ]
  test.each(edges)('%i × %i × %i, all transposes', async (m, k, n) => {
    for (const transposed of [0, 1, 2, 3]) {
      const [ta, tb] = [(transposed & 1) === 1, (transposed & 2) === 2]
      using _scope = device.current.scope()
      const a = randomArray([m, k], 1)
      const b = randomArray([k, n], 2)
      const flip = (x: typeof a) => upload(device.current, reference.transpose.forward([x])[0]).transpose()
      const [expected] = reference.matmul.forward([a, b])
      const product = ops.matmul(ta ? flip(a) : upload(device.current, a), tb ? flip(b) : upload(device.current, b))
      assertClose(await product.read(), expected.data, sums, `transposed ${transposed}`)
    }
  })

  test('bias, activation and residual join its kernel without changing the result', async () => {
    const [x, w, bias, residual] = [
      randomArray([33, 20], 1),
      randomArray([20, 36], 2),
      randomArray([36], 3),
      randomArray([33, 36], 4),
    ]
    const [product] = reference.matmul.forward([x, w])
    const [shifted] = reference.add.forward([product, bias])
    const [active] = reference.silu.forward([shifted])
    const [expected] = reference.add.forward([active, residual])
    using _scope = device.current.scope()
    const [tx, tw, tb, tr] = [x, w, bias, residual].map((array) => upload(device.current, array))
    if (!tx || !tw || !tb || !tr) throw new Error('four tensors')
    assertClose(await ops.silu(tx.matmul(tw).add(tb)).add(tr).read(), expected.data, sums)
  })

  test('panels: an epilogue, a batch over one matrix, a view inside a tensor, one operand twice', async () => {
    const [x, w, residual] = [randomArray([2, 210, 40], 1), randomArray([40, 420], 2), randomArray([2, 210, 420], 3)]
    const [product] = reference.matmul.forward([x, w])
    const [expected] = reference.add.forward([reference.silu.forward([product])[0], residual])
    using _scope = device.current.scope()
    const [tx, tw, tr] = [x, w, residual].map((array) => upload(device.current, array))
    if (!tx || !tw || !tr) throw new Error('three tensors')
    assertClose(await ops.silu(tx.matmul(tw)).add(tr).read(), expected.data, sums)
    const rows = tr.reshape([420, 420]).slice(0, 10, 50).slice(1, 4, 416)
    const values = await rows.read()
    const gram = await rows.transpose().matmul(rows).read()
    for (const [i, j] of [
      [0, 0],
      [5, 411],
      [411, 170],
    ] as const) {
      let sum = 0
      for (let r = 0; r < 40; r++) sum += (values[r * 412 + i] ?? NaN) * (values[r * 412 + j] ?? NaN)
      expect(gram[i * 412 + j]).toBeCloseTo(sum, 3)
    }
  })

  test('f16 operands are accumulated in f32', async (context) => {
    const { current } = device
    if (!current.features.has('shader-f16')) return context.skip()
    await forAll(fc.tuple(dimension, dimension, seeds), async ([m, n, seed]) => {
      using _scope = current.scope()
      const k = 700
      const round = (shape: number[], s: number) => reference.cast.forward([randomArray(shape, s, 0, 2)], 'f16')[0]
      const [a, b] = [round([m, k], seed), round([k, n], seed + 1)]
      const [expected] = reference.matmul.forward([a, b])
      const product = ops.matmul(upload(current, a).cast('f16'), upload(current, b).cast('f16'))
      assertClose(await product.cast('f32').read(), expected.data, { relative: product.dtype === 'f16' ? 1e-3 : 1e-5 })
    })
  })

  test('shapes that do not fit are named', () => {
    const { current } = device
    expect(() => ops.matmul(current.zeros([2, 3]), current.zeros([4, 2]))).toThrow(/\[2, 3\] × \[4, 2\] does not fit/)
    expect(() => ops.matmul(current.zeros([2, 2, 3]), current.zeros([3, 3, 2]))).toThrow(/do not broadcast/)
    expect(() => ops.matmul(current.zeros([2, 3], 'u32'), current.zeros([3, 2]))).toThrow(
      /needs float tensors, got u32/,
    )
    expect(() => ops.linear(current.zeros([2, 3]), current.zeros([4, 5]))).toThrow(/does not fit weight \[4, 5\]/)
  })
})

describe('linear', () => {
  test('with bias, over leading dimensions', async () => {
    await forAll(
      fc.tuple(fc.constantFrom([3], [2, 5], []), dimension, dimension, placements, seeds),
      async ([lead, inputs, outputs, placement, seed]) => {
        await compareWithReference(device.current, {
          name: 'linear',
          operation: reference.linear,
          inputs: [
            randomArray([...lead, inputs], seed),
            randomArray([outputs, inputs], seed + 1),
            randomArray([outputs], seed + 2),
          ] as const,
          options: undefined,
          run: (x, w, b) => ops.linear(x, w, b),
          place: placer([placement, 'plain', 'plain']),
          tolerance: sums,
        })
      },
      6,
    )
  })

  test('without bias equals a zero bias', async () => {
    const [x, w] = [randomArray([5, 7], 1), randomArray([3, 7], 2)]
    const zero = map(randomArray([3], 3), () => 0)
    const y = ops.linear(upload(device.current, x), upload(device.current, w))
    assertClose(await y.read(), reference.linear.forward([x, w, zero])[0].data, sums)
  })
})
