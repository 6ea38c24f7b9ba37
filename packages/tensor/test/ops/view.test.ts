import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as ops from '../../src/index.js'
import {
  assertClose,
  compareWithReference,
  randomArray,
  reference,
  type DifferentiableOp,
  type NdArray,
} from '../../src/testing/index.js'
import { forAll, placed, placements, placer, seeds, shapes, useDevice, type Placement } from './support.js'

const device = useDevice()
const exact = { relative: 0, absolute: 0 }

/** Checks one movement of one array; afterwards the result takes part in arithmetic, where its strides are read. */
async function checkMove<Options>(
  name: string,
  operation: DifferentiableOp<readonly [NdArray], Options>,
  shape: number[],
  options: Options,
  run: (x: ops.Tensor) => ops.Tensor,
  placement: Placement,
  seed: number,
): Promise<void> {
  await compareWithReference(device.current, {
    name,
    operation,
    inputs: [randomArray(shape, seed)] as const,
    options,
    run,
    place: placer([placement]),
    tolerance: exact,
    gradientTolerance: {},
  })
}

/** Splits the size of a shape into other factors. */
const reshapes = shapes(4, 8).chain((shape) => {
  const size = shape.reduce((a, b) => a * b, 1)
  return fc.tuple(fc.constant(shape), fc.array(fc.nat(7), { maxLength: 4 })).map(([from, choices]) => {
    let rest = size
    const to: number[] = []
    for (const choice of choices) {
      const divisors = Array.from({ length: rest }, (_, i) => i + 1).filter((d) => rest % d === 0)
      const factor = divisors[choice % divisors.length] ?? 1
      to.push(factor)
      rest /= factor
    }
    to.push(rest)
    return [from, to] as const
  })
})

const withAxis = shapes(4, 8, 1).chain((shape) => fc.tuple(fc.constant(shape), fc.nat(shape.length - 1)))

describe('views and movements', () => {
  test('reshape of any view', async () => {
    await forAll(
      fc.tuple(reshapes, placements, seeds),
      async ([[from, to], placement, seed]) => {
        await checkMove('reshape', reference.reshape, from, to, (x) => ops.reshape(x, to), placement, seed)
      },
      8,
    )
  })

  test('permute', async () => {
    const values = shapes(4, 8).chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.shuffledSubarray(
          shape.map((_, axis) => axis),
          { minLength: shape.length, maxLength: shape.length },
        ),
      ),
    )
    await forAll(fc.tuple(values, placements, seeds), async ([[shape, axes], placement, seed]) => {
      await checkMove('permute', reference.permute, shape, axes, (x) => ops.permute(x, axes), placement, seed)
    })
  })

  test('transpose', async () => {
    await forAll(fc.tuple(shapes(4, 8, 2), placements, seeds), async ([shape, placement, seed]) => {
      await checkMove('transpose', reference.transpose, shape, undefined, ops.transpose, placement, seed)
    })
  })

  test('expand, and its gradient', async () => {
    const values = fc.tuple(shapes(4, 6), fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), fc.nat(2))
    await forAll(fc.tuple(values, placements, seeds), async ([[shape, ones, drop], placement, seed]) => {
      const from = shape.map((dimension, axis) => (ones[axis] ? 1 : dimension)).slice(Math.min(drop, shape.length))
      await checkMove('expand', reference.expand, from, shape, (x) => ops.expand(x, shape), placement, seed)
    })
  })

  test('slice and pad', async () => {
    const values = fc.tuple(withAxis, fc.nat(3), fc.nat(3), placements, seeds)
    await forAll(values, async ([[shape, axis], before, after, placement, seed]) => {
      const length = shape[axis] ?? 1
      const start = Math.min(before, length - 1)
      const end = Math.max(start + 1, length - after)
      await checkMove(
        'slice',
        reference.slice,
        shape,
        { axis, start, end },
        (x) => ops.slice(x, axis, start, end),
        placement,
        seed,
      )
      await checkMove(
        'pad',
        reference.pad,
        shape,
        { axis, before, after },
        (x) => ops.pad(x, axis, before, after),
        placement,
        seed,
      )
    })
  })

  test('concat of differently placed parts', async () => {
    const values = fc.tuple(
      withAxis,
      fc.array(fc.tuple(fc.integer({ min: 1, max: 6 }), placements), { minLength: 1, maxLength: 4 }),
      seeds,
    )
    await forAll(values, async ([[shape, axis], parts, seed]) => {
      await compareWithReference(device.current, {
        name: 'concat',
        operation: reference.concat,
        inputs: parts.map(([length], index) => randomArray(shape.with(axis, length), seed + index)),
        options: axis,
        run: (...xs) => ops.concat(xs, axis),
        place: placer(parts.map(([, placement]) => placement)),
        tolerance: exact,
      })
    })
  })

  test('stack, split, squeeze, unsqueeze and flatten put elements where they belong', async () => {
    const x = device.current.tensor([
      [1, 2, 3],
      [4, 5, 6],
    ])
    const [first, second] = ops.split(x, 1, [1, 2])
    const [a, b, c, d, e] = await device.current.read([
      ops.stack([x, x.mul(10)], 1),
      first ?? x,
      second ?? x,
      ops.flatten(ops.transpose(x)),
      ops.squeeze(ops.unsqueeze(x, 0)).add(0),
    ])
    assertClose(a ?? [], [1, 2, 3, 10, 20, 30, 4, 5, 6, 40, 50, 60], exact)
    assertClose(b ?? [], [1, 4], exact)
    assertClose(c ?? [], [2, 3, 5, 6], exact)
    assertClose(d ?? [], [1, 4, 2, 5, 3, 6], exact)
    assertClose(e ?? [], [1, 2, 3, 4, 5, 6], exact)
    expect(ops.stack([x, x], -1).shape).toEqual([2, 3, 2])
  })

  test('f16 views of odd offsets are read and joined', async (context) => {
    const { current } = device
    if (!current.features.has('shader-f16')) return context.skip()
    const x = current.tensor([1, 2, 3, 4, 5, 6, 7], [7], 'f16')
    const [odd, joined] = await current.read([
      ops.slice(x, 0, 1, 4),
      ops.concat([ops.slice(x, 0, 3, 6), ops.slice(x, 0, 1, 2)], 0),
    ])
    assertClose(odd ?? [], [2, 3, 4], exact)
    assertClose(joined ?? [], [4, 5, 6, 2], exact)
  })

  test('chains of views compose', async () => {
    await forAll(fc.tuple(placements, seeds), async ([placement, seed]) => {
      using _scope = device.current.scope()
      const x = randomArray([4, 6, 2], seed)
      const [cut] = reference.slice.forward([x], { axis: 1, start: 1, end: 5 })
      const [turned] = reference.permute.forward([cut], [2, 1, 0])
      const [flat] = reference.reshape.forward([turned], [2, 16])
      const tensor = placed(device.current, x, placement)
      assertClose(
        await tensor.slice(1, 1, 5).permute([2, 1, 0]).reshape([2, -1]).mul(3).read(),
        flat.data.map((v) => v * 3),
      )
    })
  })

  test('impossible views are refused with the numbers', () => {
    const x = device.current.zeros([2, 6])
    expect(() => ops.reshape(x, [5, -1])).toThrow(/\[2, 6\] \(12 elements\) does not fit \[5, -1\]/)
    expect(() => ops.permute(x, [0, 0])).toThrow(/must name each of the 2 axes once/)
    expect(() => ops.slice(x, 1, 3, 9)).toThrow(/does not lie in axis 1 of size 6/)
    expect(() => ops.expand(x, [3, 6])).toThrow(/cannot expand \[2, 6\] to \[3, 6\]/)
    expect(() => ops.split(x, 1, [1, 2])).toThrow(/do not add up to axis 1 of size 6/)
    expect(() => ops.concat([x, device.current.zeros([3, 5])], 0)).toThrow(/f32\[3, 5\] does not fit f32\[2, 6\]/)
    expect(() => ops.transpose(device.current.zeros([3]))).toThrow(/needs rank ≥ 2/)
  })
})

describe('rows by index', () => {
  const indexed = fc.tuple(shapes(3, 9, 1), fc.array(fc.nat(100), { minLength: 1, maxLength: 12 }), placements, seeds)

  test('gather with repeated indices; its gradient adds them up', async () => {
    await forAll(
      indexed,
      async ([shape, raw, placement, seed]) => {
        const indices = raw.map((index) => index % (shape[0] ?? 1))
        const ids = device.current.tensor(Uint32Array.from(indices))
        await checkMove('gather', reference.gather, shape, indices, (x) => ops.gather(x, ids), placement, seed)
      },
      6,
    )
  })

  test('embedding of a wide table, most rows repeated', async () => {
    const ids = Array.from({ length: 300 }, (_, i) => (i * i) % 11)
    const indices = device.current.tensor(Uint32Array.from(ids))
    await checkMove('embedding', reference.embedding, [11, 130], ids, (x) => ops.embedding(x, indices), 'plain', 5)
  })

  test('indices beyond the last row: gather reads the last and sends gradients there, indexPut drops them', async () => {
    const { current } = device
    const x = current.tensor([1, 2, 3, 4, 5, 6], [3, 2]).detached(true)
    const g = current.tensor([10, 20, 1, 2, 100, 200], [3, 2])
    const rows = ops.gather(x, current.tensor(Uint32Array.of(7, 0, 2)))
    const [dx] = ops.grad(rows, [x], { gradOutputs: [g] }) as [ops.Tensor]
    const put = current.tensor([9, 9, 8, 8], [2, 2]).detached(true)
    const replaced = ops.indexPut(x, current.tensor(Uint32Array.of(7, 1)), put)
    const both = ops.grad(replaced, [x, put], { gradOutputs: [g] })
    const values = await current.read([rows, dx, replaced, ...both])
    expect(values.map((value) => [...value])).toEqual([
      [5, 6, 1, 2, 5, 6],
      [1, 2, 0, 0, 110, 220],
      [1, 2, 8, 8, 5, 6],
      [10, 20, 0, 0, 100, 200],
      [0, 0, 1, 2],
    ])
  })

  test('indexPut replaces rows; gradients go to what is left and to the new rows', async () => {
    await forAll(indexed, async ([shape, raw, placement, seed]) => {
      const indices = [...new Set(raw.map((index) => index % (shape[0] ?? 1)))]
      const ids = device.current.tensor(Uint32Array.from(indices))
      await compareWithReference(device.current, {
        name: 'indexPut',
        operation: reference.indexPut,
        inputs: [randomArray(shape, seed), randomArray([indices.length, ...shape.slice(1)], seed + 1)] as const,
        options: indices,
        run: (x, rows) => ops.indexPut(x, ids, rows),
        place: placer([placement, 'plain']),
        tolerance: exact,
      })
    })
  })

  test('indices must be u32 [N]', () => {
    expect(() => ops.gather(device.current.zeros([3, 2]), device.current.zeros([2]))).toThrow(
      /must be u32 \[N\], got f32\[2\]/,
    )
  })
})
