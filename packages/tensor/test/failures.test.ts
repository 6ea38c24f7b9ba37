/**
 * What goes wrong on a GPU, made to go wrong: memory that runs out, at the user's limit and in the driver, and devices
 * that are lost. Every failure has one error type, nothing hangs, and nothing computes garbage in silence.
 */
import { totalmem } from 'node:os'
import { describe, expect, test } from 'vitest'
import { assign, DeviceLostError, matmul, OutOfMemoryError, TensorStateError, type Tensor } from '../src/index.js'
import { deviceOpener, refuseBuffers } from './support.js'

const open = deviceOpener()

const MIB = 2 ** 20
const values = (count: number, value: number) => new Float32Array(count).fill(value)

/** Needs several matrices of a mebibyte at once. */
function hungry(x: Tensor, layers: number): Tensor {
  const rows = Array.from({ length: layers }, (_, i) => matmul(x, x).add(i))
  return rows
    .map((row) => matmul(row, row))
    .reduce((a, b) => a.add(b))
    .sum()
}

describe('a memory limit', () => {
  test('fails the evaluation that exceeds it, naming the largest parts; smaller ones go on', async () => {
    const device = await open({ memoryLimit: 8 * MIB })
    const x = device.tag('weights', () => device.tensor(values(512 * 512, 0.01), [512, 512]).named('w'))
    const before = device.memory.liveBytes
    const failed = hungry(x, 12).item()
    await expect(failed).rejects.toThrow(OutOfMemoryError)
    await expect(failed).rejects.toThrow(
      /add f32.*needs 1048576 bytes.*limit set is 8388608 bytes.*w f32\[512, 512\] \(weights\)/s,
    )
    expect(device.memory.liveBytes).toBe(before)
    expect(device.memory.allocatedBytes).toBeLessThanOrEqual(8 * MIB)
    const unlimited = await open()
    const expected = await hungry(unlimited.tensor(values(512 * 512, 0.01), [512, 512]), 2).item()
    expect(await hungry(x, 2).item()).toBe(expected)
    expect(device.memory.byTag.get('weights')).toEqual({ liveBytes: MIB, peakBytes: MIB })
  })

  test('on a software adapter is part of the memory of the machine, or of its container, unless told otherwise', async () => {
    const unlimited = process.constrainedMemory.bind(process)
    try {
      process.constrainedMemory = () => 10 * MIB
      const small = await open()
      expect(small.info.isSoftware).toBe(true)
      expect(small.memory.limitBytes).toBe(8 * MIB)
      expect(() => small.buffer([(9 * MIB) / 4])).toThrow(OutOfMemoryError)
      expect(await small.ones([MIB]).sum().item()).toBe(MIB)
      expect((await open({ memoryLimit: Infinity })).memory.limitBytes).toBe(Infinity)
      process.constrainedMemory = () => 2 ** 64
      expect((await open()).memory.limitBytes).toBe(Math.floor(0.8 * totalmem()))
    } finally {
      process.constrainedMemory = unlimited
    }
  })

  test('what is kept for reuse is given back before anything is refused', async () => {
    const device = await open({ memoryLimit: 6 * MIB })
    for (const mib of [4, 5, 3, 5.5]) device.tensor(values((mib * MIB) / 4, 1)).dispose()
    expect(device.memory.allocatedBytes).toBeLessThanOrEqual(6 * MIB)
    expect(() => device.buffer([2 * MIB])).toThrow(OutOfMemoryError)
  })

  test('writes of a failed evaluation that did not run are forgotten, and what was built on them is refused', async () => {
    const device = await open({ memoryLimit: 8 * MIB })
    const x = device.tensor(values(512 * 512, 0.01), [512, 512])
    const total = device.buffer([])
    assign(total, total.add(hungry(x, 12)))
    const after = total.mul(2)
    await expect(device.eval([])).rejects.toThrow(OutOfMemoryError)
    await expect(after.item()).rejects.toThrow(TensorStateError)
    expect(await total.item()).toBe(0)
    assign(total, total.add(1))
    {
      using _scope = device.scope()
      expect(await total.mul(2).item()).toBe(2)
    }
    expect(device.memory.liveTensors().length).toBe(2)
  })
})

describe('a driver without memory', () => {
  test('fails the evaluation that needed it, before anybody sees its values', async () => {
    const device = await open()
    const x = device.tensor(values(512 * 512, 0.01), [512, 512]).named('w')
    const [held, other] = [device.buffer([]).named('sum'), device.tensor([7])]
    const allow = refuseBuffers(device, MIB)
    assign(held, held.add(matmul(x, x).sum()))
    const product = matmul(x, x).add(1)
    const failed = device.eval([product])
    await expect(failed).rejects.toThrow(OutOfMemoryError)
    await expect(failed).rejects.toThrow(/the driver has no more.*\(injected\)/s)
    allow()
    await expect(product.read()).rejects.toThrow(TensorStateError)
    await expect(held.read()).rejects.toThrow(/sum f32\[\] are not to be trusted/)
    product.dispose()
    device.clear(held)
    assign(held, held.add(matmul(x, x).sum()))
    const [sum, seven] = await device.read([held, other])
    expect(sum?.[0]).toBeCloseTo(512 ** 3 * 1e-4, 0)
    expect(seven?.[0]).toBe(7)
    expect(device.memory.liveTensors().length).toBe(3)
    await device.sync()
  })

  test('fails the read of an upload', async () => {
    const device = await open()
    const allow = refuseBuffers(device, MIB)
    const x = device.tensor(values(MIB, 1))
    await expect(x.sum().item()).rejects.toThrow(OutOfMemoryError)
    allow()
    expect(() => x.sum()).toThrow(TensorStateError)
    expect(await device.tensor(values(MIB, 1)).sum().item()).toBe(MIB)
  })

  test('fails the read that has nowhere to put the values', async () => {
    const device = await open()
    const x = device.tensor(values(MIB, 1))
    await device.sync()
    const allow = refuseBuffers(device, MIB)
    await expect(x.read()).rejects.toThrow(/reading 4194304 bytes back needs as many \(injected\)/)
    allow()
    expect((await x.read())[5]).toBe(1)
  })
})

describe('a device lost by itself', () => {
  test('under load: pending and later operations reject with one error type, and a new device does the work', async () => {
    const device = await open()
    const w = device.tensor(values(256 * 256, 0.01), [256, 256])
    const work = (x: Tensor) => matmul(matmul(x, x), x).sum().item()
    const expected = await work(w)
    const profile = device.profile(() => work(w.add(1)))
    const pending: Promise<unknown>[] = [profile, ...Array.from({ length: 6 }, (_, i) => work(w.add(i))), device.sync()]
    device.gpu.destroy()
    for (const result of await Promise.allSettled(pending)) {
      expect(result.status).toBe('rejected')
      if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(DeviceLostError)
    }
    expect(await device.lost).toBeInstanceOf(DeviceLostError)
    expect(() => device.tensor([1])).toThrow(DeviceLostError)
    expect(() => device.write(w, values(256 * 256, 1))).toThrow(DeviceLostError)
    await expect(device.eval([w.add(1)])).rejects.toThrow(DeviceLostError)
    const next = await open()
    expect(await work(next.tensor(values(256 * 256, 0.01), [256, 256]))).toBe(expected)
  }, 20_000)
})

test('an error nobody was told of is a warning when the device goes', async () => {
  const device = await open()
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
  device.gpu.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE })
  await device.gpu.queue.onSubmittedWorkDone()
  device.destroy()
  expect((await warned).message).toMatch(/WebGPU refused a command/)
})
