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
import { forAll, placements, placer, seeds, shapes, useDevice } from './support.js'

const device = useDevice()

/** A shape, some of its axes, and whether to keep them. */
const cases = shapes(4, 9, 1).chain((shape) =>
  fc.tuple(
    fc.constant(shape),
    fc.subarray(
      shape.map((_, axis) => axis),
      { minLength: 1 },
    ),
    fc.boolean(),
    placements,
    seeds,
  ),
)

const differentiable = [
  ['sum', ops.sum],
  ['mean', ops.mean],
  ['max', ops.max],
  ['min', ops.min],
] as const

describe('reductions over any axes of any view', () => {
  test.each(differentiable)('%s', async (name, run) => {
    await forAll(
      cases,
      async ([shape, axes, keepDims, placement, seed]) => {
        await compareWithReference(device.current, {
          name,
          operation: reference[name],
          inputs: [randomArray(shape, seed)] as const,
          options: { axes, keepDims },
          run: (x) => run(x, axes, keepDims),
          place: placer([placement]),
          tolerance: { relative: 1e-5, absolute: 2e-6 },
        })
      },
      6,
    )
  })

  test.each(differentiable)('%s of everything', async (name, run) => {
    await forAll(
      fc.tuple(shapes(), placements, seeds),
      async ([shape, placement, seed]) => {
        const inputs = [randomArray(shape, seed)] as const
        await compareWithReference(device.current, {
          name,
          operation: reference[name],
          inputs,
          options: {},
          run: (x) => run(x),
          place: placer([placement]),
        })
      },
      2,
    )
  })

  test('max with ties shares the gradient', async () => {
    await forAll(cases, async ([shape, axes, keepDims, , seed]) => {
      const inputs = [map(randomArray(shape, seed, 0, 3), Math.floor)] as const
      await compareWithReference(device.current, {
        name: 'max',
        operation: reference.max,
        inputs,
        options: { axes, keepDims },
        run: (x) => ops.max(x, axes, keepDims),
      })
    })
  })

  test('argmax along any axis, ties to the lowest index', async () => {
    const values = shapes(4, 9, 1).chain((shape) =>
      fc.tuple(fc.constant(shape), fc.nat(shape.length - 1), placements, seeds),
    )
    await forAll(values, async ([shape, axis, placement, seed]) => {
      const inputs = [map(randomArray(shape, seed, -4, 4), Math.floor)] as const
      await compareWithReference(device.current, {
        name: 'argmax',
        operation: reference.argmax,
        inputs,
        options: axis,
        run: (x) => ops.argmax(x, axis),
        place: placer([placement]),
        tolerance: { relative: 0, absolute: 0 },
      })
    })
  })
})

async function reduceOnGpu(x: NdArray, axes: number[]) {
  using _scope = device.current.scope()
  const tensor = upload(device.current, x)
  return await device.current.read([ops.sum(tensor, axes), ops.max(tensor, axes)])
}

describe('long reductions', () => {
  const long: [string, number[], number[]][] = [
    ['one long row', [1, 70_001], [1]],
    ['few long rows', [3, 5_003], [1]],
    ['many short rows', [4_099, 7], [1]],
    ['down long columns', [5_003, 5], [0]],
    ['down many short columns', [3, 4_099], [0]],
    ['the middle', [5, 1_021, 6], [1]],
    ['both ends', [65, 12, 65], [0, 2]],
  ]
  test.each(long)('%s', async (_, shape, axes) => {
    const x = randomArray(shape, 3, 0, 1)
    const [total, top] = await reduceOnGpu(x, axes)
    const [sums] = reference.sum.forward([x], { axes })
    const [tops] = reference.max.forward([x], { axes })
    assertClose(total ?? [], sums.data, { relative: 1e-5 })
    assertClose(top ?? [], tops.data, { relative: 0, absolute: 0 })
  })

  test('a sum of f16 is accumulated in f32', async (context) => {
    const { current } = device
    if (!current.features.has('shader-f16')) return context.skip()
    const x = current.tensor(new Float32Array(4096).fill(33), [4096], 'f16')
    const total = ops.sum(x)
    expect(total.dtype).toBe('f32')
    expect(await total.item()).toBe(33 * 4096)
  })
})
