/**
 * Tensors larger than one binding. With a limit of 2 KiB everything of more than 512 numbers is one: windows, segments,
 * and kernels that are cut into pieces, all against the f64 reference; and with 1 MiB the same at the size of real
 * pages of memory, against a device that has its full limits.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as ops from '../../src/index.js'
import type { Device, Tensor } from '../../src/index.js'
import { assertClose, compareWithReference, generate, randomArray, reference, upload } from '../../src/testing/index.js'
import { checkLimits, loose, placed, placer, useDevice, type Placement } from './support.js'

const device = useDevice({ limits: { maxStorageBufferBindingSize: 2048, maxComputeWorkgroupsPerDimension: 16 } })
const sums = { relative: 2e-5, absolute: 2e-5 }
const shape = [6, 12, 16]
const layouts: Placement[] = ['plain', 'permuted', 'sliced']

describe('at 2 KiB', () => {
  test.each(layouts)('elementwise, %s', async (placement) => {
    await compareWithReference(device.current, {
      name: 'silu',
      operation: reference.silu,
      inputs: [randomArray(shape, 1, -3, 3)] as const,
      options: undefined,
      run: ops.silu,
      place: placer([placement]),
      tolerance: loose,
    })
    await compareWithReference(device.current, {
      name: 'mul',
      operation: reference.mul,
      inputs: [randomArray(shape, 2), randomArray([6, 1, 16], 3)] as const,
      options: undefined,
      run: (a, b) => ops.mul(a, b),
      place: placer([placement, 'plain']),
      tolerance: sums,
    })
  })

  test('a chain of many large operands fuses less', async () => {
    const { current } = device
    using _scope = current.scope()
    const arrays = [1, 2, 3, 4, 5, 6].map((seed) => randomArray([37, 31], seed))
    const total = arrays.map((array) => upload(current, array)).reduce((sum, x) => ops.add(sum, ops.square(x)))
    const first = arrays[0]?.data ?? []
    const expected = generate([37, 31], (i) =>
      arrays.slice(1).reduce((sum, { data }) => sum + (data[i] ?? NaN) ** 2, first[i] ?? NaN),
    )
    assertClose(await total.read(), expected.data, sums)
  })

  test.each([[[0]], [[1]], [[2]], [[0, 1, 2]]])('sum and max over axes %j', async (axes) => {
    await compareWithReference(device.current, {
      name: 'sum',
      operation: reference.sum,
      inputs: [randomArray(shape, 5)] as const,
      options: { axes, keepDims: false },
      run: (x) => ops.sum(x, axes),
      place: placer([axes.length === 1 ? 'permuted' : 'plain']),
      tolerance: sums,
    })
  })

  test('a column sum of one long run is cut along the run', async () => {
    const x = randomArray([700, 8], 6)
    const [expected] = reference.sum.forward([x], { axes: [0], keepDims: false })
    assertClose(await upload(device.current, x).sum(0).read(), expected.data, sums)
  })

  test.each([
    [[], 40, 20, 30],
    [[3], 10, 18, 12],
    [[], 3, 400, 12],
  ] as [number[], number, number, number][])('matmul %j of %d × %d × %d', async (batch, m, k, n) => {
    for (const placements of [
      ['plain', 'plain'],
      ['permuted', 'permuted'],
    ] as Placement[][]) {
      await compareWithReference(device.current, {
        name: 'matmul',
        operation: reference.matmul,
        inputs: [randomArray([...batch, m, k], 1), randomArray([...batch, k, n], 2)] as const,
        options: undefined,
        run: ops.matmul,
        place: placer(placements),
        tolerance: sums,
      })
    }
  })

  test('bias, activation and residual join a product in pieces', async () => {
    const [x, w, bias, residual] = [[33, 20], [28, 20], [28], [33, 28]].map((s, i) => randomArray(s, i))
    if (!x || !w || !bias || !residual) throw new Error('four arrays')
    const [shifted] = reference.linear.forward([x, w, bias])
    const [active] = reference.silu.forward([shifted])
    const [expected] = reference.add.forward([active, residual])
    using _scope = device.current.scope()
    const [tx, tw, tb, tr] = [x, w, bias, residual].map((array) => upload(device.current, array))
    if (!tx || !tw || !tb || !tr) throw new Error('four tensors')
    assertClose(
      await ops
        .silu(ops.linear(tx, tw, tb))
        .add(tr)
        .read(),
      expected.data,
      sums,
    )
  })

  test('softmax, norms, rotary and swiglu', async () => {
    const x = randomArray([20, 40], 1, -4, 4)
    const rows = { tolerance: loose, gradientTolerance: { relative: 1e-4, absolute: 1e-4 } }
    await compareWithReference(device.current, {
      name: 'softmax',
      operation: reference.softmax,
      inputs: [x] as const,
      options: undefined,
      run: ops.softmax,
      ...rows,
    })
    await compareWithReference(device.current, {
      name: 'rmsNorm',
      operation: reference.rmsNorm,
      inputs: [x, randomArray([40], 2)] as const,
      options: { eps: 1e-6 },
      run: (a, weight) => ops.rmsNorm(a, weight, 1e-6),
      ...rows,
    })
    await compareWithReference(device.current, {
      name: 'swiglu',
      operation: reference.swiglu,
      inputs: [x, randomArray([20, 40], 3)] as const,
      options: undefined,
      run: ops.swiglu,
      ...rows,
    })
    const [cos, sin] = [randomArray([30, 4], 4), randomArray([30, 4], 5)]
    await compareWithReference(device.current, {
      name: 'rotary',
      operation: reference.rotary,
      inputs: [randomArray([30, 5, 8], 6)] as const,
      options: { cos, sin },
      run: (a) => ops.rotary(a, upload(device.current, cos), upload(device.current, sin)),
      ...rows,
    })
  })

  test('views, joins, writes, rows', async () => {
    const { current } = device
    using _scope = current.scope()
    const x = randomArray([40, 36], 1)
    const at = (i: number, j: number) => x.data[i * 36 + j] ?? NaN
    const tensor = upload(current, x)
    expect([...(await tensor.slice(0, 30, 34).slice(1, 3, 9).read())]).toEqual(
      [30, 31, 32, 33].flatMap((i) => [3, 4, 5, 6, 7, 8].map((j) => at(i, j))),
    )
    const joined = await ops.concat([tensor, tensor.slice(1, 0, 7)], 1).read()
    expect([...joined]).toEqual([...generate([40, 43], (i) => at(Math.floor(i / 43), (i % 43) % 36)).data])
    const target = current.buffer([40, 36])
    ops.assign(target.transpose(), tensor.transpose())
    ops.assign(target.slice(0, 35, 37), current.full([2, 36], 5))
    expect([...(await target.read())]).toEqual([...x.data].map((v, i) => (i >= 35 * 36 && i < 37 * 36 ? 5 : v)))
    const ids = [39, 0, 17, 39]
    await compareWithReference(current, {
      name: 'gather',
      operation: reference.gather,
      inputs: [x] as const,
      options: ids,
      run: (table) => ops.gather(table, current.tensor(Uint32Array.from(ids))),
      tolerance: sums,
    })
    const { values } = ops.topK(tensor, 3)
    expect([...(await values.slice(0, 39, 40).read())]).toEqual(
      [...x.data.slice(39 * 36)].sort((a, b) => b - a).slice(0, 3),
    )
    const uniform = await ops.randomUniform(current, [900], { seed: 7 }).read()
    assertClose(uniform, reference.randomUniform([900], { seed: 7 }).data, { relative: 1e-6 })
  })

  test('linearLogProb', async () => {
    const targets = [0, 63, 17, 40, 5]
    await compareWithReference(device.current, {
      name: 'linearLogProb',
      operation: reference.linearLogProb,
      inputs: [randomArray([5, 12], 1, -2, 2), randomArray([64, 12], 2, -2, 2)] as const,
      options: { targets },
      run: (hidden, weight) => {
        const ids = device.current.tensor(Uint32Array.from(targets))
        const { logProbs, entropies } = ops.linearLogProb(hidden, weight, ids)
        return [logProbs, entropies]
      },
      tolerance: { relative: 1e-4, absolute: 1e-4 },
    })
  })

  test('bf16 and quantised weights in windows and segments', async () => {
    const { current } = device
    using _scope = current.scope()
    const w = reference.cast.forward([randomArray([90, 64], 1)], 'bf16')[0]
    const x = randomArray([7, 64], 2)
    const narrow = current.tensor(ops.toBfloat16Bits(w.data), w.shape, 'bf16')
    const bias = generate([90], () => 0)
    assertClose(
      await ops.linear(upload(current, x), narrow).read(),
      reference.linear.forward([x, w, bias])[0].data,
      sums,
    )
    expect([...(await narrow.transpose().cast('f32').read())]).toEqual([...reference.transpose.forward([w])[0].data])
    const halved = narrow.slice(1, 1, 64).add(narrow.slice(1, 0, 63))
    expect(halved.dtype).toBe('bf16')
    const [rounded] = reference.cast.forward(
      [
        generate(
          [90, 63],
          (i) =>
            (w.data[Math.floor(i / 63) * 64 + (i % 63)] ?? 0) + (w.data[Math.floor(i / 63) * 64 + (i % 63) + 1] ?? 0),
        ),
      ],
      'bf16',
    )
    expect([...(await halved.read())]).toEqual([...rounded.data])
    const q = ops.quantize(narrow, { bits: 4, groupSize: 16 })
    const full = await (
      await other()
    ).read([
      ops.quantize((await other()).tensor(ops.toBfloat16Bits(w.data), w.shape, 'bf16'), { bits: 4, groupSize: 16 }),
    ])
    expect([...(await q.read())]).toEqual([...(full[0] ?? [])])
    const decoded = { shape: w.shape, data: Float64Array.from(full[0] ?? []) }
    assertClose(
      await ops.linear(upload(current, x), q).read(),
      reference.linear.forward([x, decoded, bias])[0].data,
      sums,
    )
    const ids = Uint32Array.from([89, 3, 44])
    expect([...(await ops.embedding(q, current.tensor(ids)).read())]).toEqual(
      [...ids].flatMap((id) => [...decoded.data.slice(id * 64, id * 64 + 64)]),
    )
  })

  test('what needs more bindings than there are is refused by name', async () => {
    const { current } = device
    using _scope = current.scope()
    const x = upload(current, randomArray([100, 80], 1))
    await expect(ops.softmax(x).read()).rejects.toThrow(/'softmax' needs \d+ bindings .* this adapter has \d+.*slice/s)
  })
})

/** A device with the adapter's own limits. */
let full: Device | undefined
async function other(): Promise<Device> {
  full ??= await ops.createDevice()
  return full
}

describe('at 1 MiB', () => {
  let low: Device
  beforeAll(async () => {
    low = await ops.createDevice({ limits: { maxStorageBufferBindingSize: 2 ** 20 } })
    checkLimits(low)
  })
  afterAll(() => {
    low.destroy()
    full?.destroy()
  })

  /** The same on both devices, values and gradients of the inputs. */
  async function both(shapes: number[][], run: (...inputs: Tensor[]) => Tensor, placement: Placement = 'plain') {
    const results = []
    for (const on of [low, await other()]) {
      using _scope = on.scope()
      const inputs = shapes.map((s, i) => placed(on, randomArray(s, i + 1), placement).detached(true))
      const value = run(...inputs)
      results.push(await on.read([value, ...ops.grad(value.mul(value).sum(), inputs)]))
    }
    const [actual = [], expected = []] = results
    actual.forEach((values, index) => assertClose(values, expected[index] ?? [], { relative: 1e-4, absolute: 1e-3 }))
  }

  test('elementwise and reductions over 2.4 MB', async () => {
    await both([[600, 1000], [1000]], (x, b) => ops.silu(x.add(b)).mean(1))
  })

  test('matmul with operands and result of 1.3 MB each', async () => {
    await both(
      [
        [576, 576],
        [576, 576],
      ],
      (a, b) => ops.linear(a, b),
    )
  })

  test('attention over keys and values of 1.1 MB each', async () => {
    const run = (start: number, length: number) => ({ start, length })
    const sequences = [0, 1, 2].map((i) => ({ queries: run(8 * i, 8), keys: run(700 * i, 700), prefix: run(0, 30) }))
    await both(
      [
        [24, 4, 64],
        [2100, 2, 64],
        [2100, 2, 64],
      ],
      (q, k, v) => ops.flashAttention(q, k, v, { sequences, causal: true }),
    )
  })

  test('rows read and summed back, joined and replaced, of 1.2 MB', async () => {
    const ids = Uint32Array.from({ length: 40 }, (_, i) => (i * 1237) % 2400)
    await both([[2400, 128]], (x) => {
      const table = x
      const rows = ops.gather(table, table.device.tensor(ids))
      const replaced = ops.indexPut(table, table.device.tensor(ids.slice(0, 9)), rows.slice(0, 3, 12).mul(2))
      return ops.concat([replaced, rows, ops.pad(table, 0, 1, 2)], 0)
    })
  })

  test('log-probs over a head of 1.2 MB', async () => {
    const ids = Uint32Array.from({ length: 12 }, (_, i) => (i * 1777) % 9400)
    await both(
      [
        [12, 32],
        [9400, 32],
      ],
      (hidden, weight) => {
        const targets = hidden.device.tensor(ids)
        const { logProbs, entropies } = ops.linearLogProb(hidden, weight, targets)
        return logProbs.add(entropies)
      },
    )
  })

  test.each([8, 4] as const)('a quantised weight of more than 1 MiB, %i bits', async (bits) => {
    const rows = bits === 8 ? 2300 : 4600
    const ids = Uint32Array.of(0, rows - 1, 1234)
    await both([[4, 512]], (x) => {
      const { device } = x
      const values = randomArray([rows, 512], 9)
      const weight = ops.quantize(upload(device, values), { bits, groupSize: 32 })
      expect(weight.node.bytes).toBeGreaterThan(2 ** 20)
      const product = ops.linear(x, weight).sum(1)
      return product.add(ops.embedding(weight, device.tensor(ids)).sum())
    })
  })

  /** What has no gradient, on both devices. */
  async function bothRead(run: (on: Device) => Promise<Tensor[]> | Tensor[]) {
    const results = []
    for (const on of [low, await other()]) {
      using _scope = on.scope()
      results.push(await on.read(await run(on)))
    }
    const [actual = [], expected = []] = results
    expect(actual.length).toBeGreaterThan(0)
    actual.forEach((values, index) => assertClose(values, expected[index] ?? [], { relative: 1e-5, absolute: 1e-6 }))
  }

  test('random numbers, the largest of a row, sampled tokens, writes, of 1.4 MB', async () => {
    await bothRead((on) => {
      const logits = ops.randomNormal(on, [40, 9000], { seed: 5 })
      const { values, indices } = ops.topK(logits, 3)
      const seeds = on.tensor(
        Uint32Array.from({ length: 80 }, (_, i) => i),
        [40, 2],
      )
      const options = { temperature: 0.8, topK: 50, topP: 0.9, seeds, step: 1 }
      const { ids, logProbs } = ops.sampleTokens(logits, options)
      const held = on.buffer([9000, 40])
      ops.assign(held.transpose(), logits)
      ops.assign(held.slice(0, 10, 20), on.full([10, 40], 3))
      return [logits, values, indices, ids, logProbs, held.mul(1)]
    })
  })

  test.each([32, 8] as const)('AdamW over an arena of 1.3 MB, moments of %i bits', async (momentBits) => {
    await bothRead(async (on) => {
      const parameters = new ops.ParameterSet(on, [
        { name: 'a', shape: [330, 1000] },
        { name: 'b', shape: [33] },
      ])
      parameters.write('a', Float32Array.from(randomArray([330, 1000], 1).data))
      const optimizer = new ops.AdamW(parameters, { momentBits })
      for (const seed of [2, 3]) {
        parameters.accumulate('a', upload(on, randomArray([330, 1000], seed)))
        optimizer.update({ learningRate: 0.1, weightDecay: 0.1 })
        await on.eval([])
        parameters.zeroGrad()
      }
      return [parameters.get('a').mul(1), parameters.get('b').mul(1)]
    })
  })

  test('softmax and norm over 1.6 MB', async () => {
    await both([[400, 1000], [1000]], (x, w) => ops.softmax(ops.rmsNorm(x, w, 1e-6)))
  })
})
