/**
 * What is kept from step to step: buffers, bind groups, pipelines, emitted kernels. Keeping must show in nothing but time.
 */
import { describe, expect, test } from 'vitest'
import {
  AdamW,
  add,
  assign,
  grad,
  kernel,
  linear,
  matmul,
  mean,
  mul,
  ParameterSet,
  relu,
  rmsNorm,
  square,
  sub,
  sum,
  type Device,
  type DeviceOptions,
  type Tensor,
} from '../src/index.js'
import { BufferPool } from '../src/memory/pool.js'
import { randomArray, upload } from '../src/testing/index.js'
import { deviceOpener } from './support.js'

const open = deviceOpener()

/** A small training run; `sizes[i]` rows in step i. Losses, and bind groups made by step. */
async function train(options: DeviceOptions, sizes: readonly number[]) {
  const device = await open(options)
  const create = device.gpu.createBindGroup.bind(device.gpu)
  let made = 0
  device.gpu.createBindGroup = (descriptor) => {
    made++
    return create(descriptor)
  }
  const specs = [
    { name: 'scale', shape: [32] },
    { name: 'up', shape: [64, 32] },
    { name: 'down', shape: [32, 64] },
  ]
  const parameters = new ParameterSet(device, specs)
  specs.forEach(({ name, shape }, index) => {
    parameters.write(name, Float32Array.from(randomArray(shape, index).data))
  })
  const optimizer = new AdamW(parameters)
  const [losses, groups, pipelines]: number[][] = [[], [], []]
  for (const [index, rows] of sizes.entries()) {
    const before = made
    const [x, shift, target] = [1, 2, 3].map((part) => upload(device, randomArray([rows, 32], 100 * part + index)))
    if (!x || !shift || !target) throw new Error('Three inputs.')
    const input = add(mul(x, 1 / (index + 2)), shift)
    const hidden = relu(linear(rmsNorm(input, parameters.get('scale'), 1e-5), parameters.get('up')))
    const loss = mean(square(sub(linear(hidden, parameters.get('down')), target)))
    parameters.zeroGrad()
    const names = parameters.names
    const gradients = grad(
      loss,
      names.map((name) => parameters.get(name)),
    )
    names.forEach((name, at) => {
      const gradient = gradients[at]
      if (gradient) parameters.accumulate(name, gradient)
    })
    optimizer.update({ learningRate: 1e-2 / (index + 1) })
    const [values] = await device.read([loss])
    losses?.push(values?.[0] ?? NaN)
    // Freed in another order in every step.
    const freed = [x, shift, target, loss]
    for (let turn = 0; turn < 4; turn++) freed[(turn * 3 + index) % 4]?.dispose()
    groups?.push(made - before)
    pipelines?.push(device.pipelineCount)
  }
  const values = await parameters.values()
  return { losses, groups, pipelines, values }
}

describe('steps that are like the last one', () => {
  test('make no bind groups and no pipelines', async () => {
    const { losses = [], groups = [], pipelines = [] } = await train({}, [20, 20, 20, 20, 20, 20, 20])
    expect(groups[0]).toBeGreaterThan(0)
    expect(groups.slice(3)).toEqual([0, 0, 0, 0])
    expect(new Set(pipelines.slice(2)).size).toBe(1)
    expect(new Set(losses).size).toBe(losses.length)
  })

  test('give the bits they give when every kernel is emitted anew', async () => {
    const sizes = [20, 20, 24, 20, 7, 24, 20]
    const kept = await train({}, sizes)
    const anew = await train({ keepKernels: false }, sizes)
    expect(kept.losses).toEqual(anew.losses)
    expect(kept.values).toEqual(anew.values)
  })
})

describe('kept kernels', () => {
  /** The same kernels over and over, with other numbers, places and sharing of memory. */
  async function vary(device: Device): Promise<number[][]> {
    const arena = upload(device, randomArray([64, 16], 1))
    const other = upload(device, randomArray([64, 16], 2))
    const rows = (tensor: Tensor, from: number) => tensor.slice(0, from, from + 16)
    const results: Tensor[] = []
    for (const [x, y] of [
      [rows(arena, 0), rows(other, 0)],
      [rows(arena, 16), rows(other, 0)],
      [rows(arena, 0), rows(arena, 0)],
      [rows(arena, 0), rows(arena, 16)],
      [rows(arena, 0), rows(arena, 32)],
      [rows(other, 48), rows(other, 32)],
    ] as const) {
      for (const factor of [2, 3, -0, Infinity]) results.push(add(mul(x, factor), y))
      results.push(matmul(x, y), matmul(x, y.transpose()), sum(mul(x, y), 0), sum(x))
      for (const factor of [1.5, 2.5]) {
        const { out } = kernel({
          name: 'scaled-difference',
          inputs: { x, y },
          outputs: { out: { shape: [256], dtype: 'f32' } },
          params: { factor: ['f32', factor] },
          dispatch: [4, 1, 1],
          body: `fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let i = wid.x * 64u + lidx;
  store_out(i, params.factor * (load_x(i) - load_y(i)));
}`,
        })
        results.push(out)
      }
      assign(rows(other, 0), mul(x, 0.5))
      await device.eval(results.slice(-10))
    }
    // Sums over long axes borrow a buffer.
    for (const seed of [1, 2]) results.push(sum(upload(device, randomArray([300_000], seed))))
    return (await device.read(results)).map((values) => [...values])
  }

  test('see the numbers, places and sharing of every call', async () => {
    const [kept, anew] = [await open(), await open({ keepKernels: false })]
    const expected = await vary(anew)
    expect(await vary(kept)).toEqual(expected)
    expect(await vary(kept)).toEqual(expected)
  })

  test('see where in one arena both operands lie', async () => {
    const run = async (device: Device) => {
      const arena = upload(device, randomArray([8, 256], 1))
      const part = (at: number) => device.place(arena, at * 256, [256])
      const results: Tensor[] = []
      for (const [a, b] of [
        [0, 1],
        [0, 2],
        [3, 1],
        [5, 5],
      ] as const) {
        results.push(sub(part(a), mul(part(b), 2)))
      }
      return (await device.read(results)).map((values) => [...values])
    }
    expect(await run(await open())).toEqual(await run(await open({ keepKernels: false })))
  })
})

test('long chains that differ in one late number are told apart', async () => {
  const run = async (device: Device) => {
    const x = upload(device, randomArray([512], 1))
    const results = [1, 1, 2, 1].map((last) => {
      let value: Tensor = x
      for (let step = 0; step < 150; step++) value = add(mul(value, 0.9), step)
      return mul(value, last)
    })
    return (await device.read(results)).map((values) => [...values])
  }
  const kept = await run(await open())
  expect(kept).toEqual(await run(await open({ keepKernels: false })))
  expect(kept[0]).toEqual(kept[3])
  expect(kept[0]).not.toEqual(kept[2])
})

test('the pool hands out the oldest free buffer, whatever was freed last', () => {
  let created = 0
  const gpu = { destroy: () => {} } as GPUBuffer
  const create = () => {
    created++
    return { gpu, failure: null }
  }
  const pool = new BufferPool(
    { create, fence: () => Promise.resolve() },
    { maxBufferSize: 2 ** 30, memoryLimit: Infinity },
  )
  const use = { tag: 'test', describe: () => 'a buffer', invalidate: () => {} }
  const take = () => pool.acquire(1000, use)
  const [a, b, c, d] = [take(), take(), take(), take()]
  for (const order of [
    [a, b, c, d],
    [d, c, b, a],
    [c, a, d, b],
  ]) {
    for (const buffer of order) pool.release(buffer)
    expect([take(), take(), take(), take()]).toEqual([a, b, c, d])
  }
  expect(created).toBe(4)
})
