import { describe, expect, test } from 'vitest'
import {
  assign,
  DeviceLostError,
  GpuValidationError,
  grad,
  kernel,
  matmul,
  OutOfMemoryError,
  ShapeError,
  TensorStateError,
  type Device,
} from '../src/index.js'
import { deviceOpener } from './support.js'

const open = deviceOpener()

describe('uploads and encoded commands keep their order', () => {
  test('a buffer that is freed before it was cleared is not cleared under its next owner', async () => {
    const device = await open()
    device.buffer([64]).dispose()
    const next = device.tensor(new Float32Array(64).fill(7))
    expect([...(await next.read())]).toEqual(new Array(64).fill(7))
  })

  test('temporaries of writes that clear() sets off do not spill into what is uploaded next', async () => {
    const device = await open()
    const held = device.buffer([64])
    const x = device.tensor(new Float32Array(64).fill(2))
    const w = device.tensor(new Float32Array(64 * 64).fill(1), [64, 64])
    assign(held, matmul(matmul(x.reshape([1, 64]), w).exp(), w).reshape([64]))
    device.clear(held)
    const uploads = Array.from({ length: 8 }, (_, i) => device.tensor(new Float32Array(64).fill(i)))
    const values = await device.read(uploads)
    values.forEach((value, i) => expect([...value]).toEqual(new Array(64).fill(i)))
  })

  test('reads before a write see the old value, reads after it the new one', async () => {
    const device = await open()
    const x = device.tensor([1, 2, 3])
    const before = x.mul(10)
    assign(x, x.add(1))
    const after = x.mul(10)
    const [a, b, c] = await device.read([before, after, x])
    expect([[...(a ?? [])], [...(b ?? [])], [...(c ?? [])]]).toEqual([
      [10, 20, 30],
      [20, 30, 40],
      [2, 3, 4],
    ])
  })

  test('a view can be written, and data written into a buffer reach graphs built on it', async () => {
    const device = await open()
    const table = device.buffer([3, 4])
    assign(table.slice(0, 1, 2), device.tensor([[1, 2, 3, 4]]))
    assign(table.slice(1, 3, 4), device.ones([1, 1]))
    expect([...(await table.read())]).toEqual([0, 0, 0, 1, 1, 2, 3, 1, 0, 0, 0, 1])
    const doubled = table.mul(2).sum()
    device.write(table, new Float32Array(12).fill(1))
    expect(await doubled.item()).toBe(24)
  })
})

describe('lifetimes', () => {
  test('a value stays when its kernel runs again for another output', async () => {
    const device = await open()
    const { twice, thrice } = kernel({
      name: 'multiples',
      inputs: { x: device.tensor([1, 2, 3, 4]) },
      outputs: { twice: { shape: [4], dtype: 'f32' }, thrice: { shape: [4], dtype: 'f32' } },
      workgroupSize: [4, 1, 1],
      dispatch: [1, 1, 1],
      body: `fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  store_twice(lidx, 2.0 * load_x(lidx));
  store_thrice(lidx, 3.0 * load_x(lidx));
}`,
    })
    await device.eval([twice])
    const live = device.memory.liveBytes
    const values = await device.read([twice, thrice])
    expect(values.map((value) => [...value])).toEqual([
      [2, 4, 6, 8],
      [3, 6, 9, 12],
    ])
    expect([...(await twice.read())]).toEqual([2, 4, 6, 8])
    thrice.dispose()
    expect(device.memory.liveBytes).toBe(live)
  })

  test('a scope frees what was born in it, but for what is kept', async () => {
    const device = await open()
    const outside = device.tensor([1, 2, 3]).named('outside')
    const before = device.memory.liveBytes
    let kept
    {
      using scope = device.scope()
      const inside = device.tensor([4, 5, 6])
      kept = scope.keep(outside.add(inside).named('kept'))
      await device.eval([kept, outside.mul(inside)])
      expect(device.memory.liveTensors().length).toBe(4)
    }
    expect(device.memory.liveTensors().map(({ label }) => label)).toEqual(['outside', 'kept'])
    expect([...(await kept.read())]).toEqual([5, 7, 9])
    kept.dispose()
    expect(device.memory.liveBytes).toBe(before)
  })

  test('nested scopes: what the inner one keeps belongs to the outer one', async () => {
    const device = await open()
    {
      using _outer = device.scope()
      let result
      {
        using inner = device.scope()
        result = inner.keep(device.tensor([1]).add(1))
        await device.eval([result])
      }
      expect(await result.item()).toBe(2)
    }
    expect(device.memory.liveTensors()).toEqual([])
  })

  test('leaks are listed with shape, dtype, bytes and label', async () => {
    const device = await open()
    device.tensor(new Uint32Array(6), [2, 3]).named('forgotten')
    expect(device.memory.liveTensors()).toEqual([
      { shape: [2, 3], dtype: 'u32', bytes: 24, label: 'forgotten', tag: 'untagged' },
    ])
  })

  test('a step leaves nothing behind but what was asked for', async () => {
    const device = await open()
    const w = device.tensor(new Float32Array(64).fill(0.1), [8, 8]).detached(true)
    for (let step = 0; step < 3; step++) {
      const loss = matmul(w, w).exp().sum()
      const [gradient] = grad(loss, [w])
      await device.eval(gradient ? [loss, gradient] : [])
      expect(device.memory.liveTensors().length).toBe(3)
      loss.dispose()
      gradient?.dispose()
    }
    expect(device.memory.liveTensors().length).toBe(1)
  })

  test('a disposed tensor is named when it is used', async () => {
    const device = await open()
    const x = device.tensor([1, 2]).named('weights')
    x.dispose()
    expect(() => x.add(1)).toThrow(TensorStateError)
    await expect(x.read()).rejects.toThrow(/'weights' of shape \[2\] was disposed/)
  })

  test('a graph over a tensor disposed meanwhile is refused, computed or not', async () => {
    const device = await open()
    const x = device.tensor([1, 2]).named('input')
    const [lazy, computed] = [x.add(1), x.mul(2)]
    await device.eval([computed])
    x.dispose()
    await expect(lazy.read()).rejects.toThrow(/'input' of shape \[2\] was disposed/)
    expect([...(await computed.read())]).toEqual([2, 4])
    computed.dispose()
    await expect(computed.read()).rejects.toThrow(TensorStateError)
  })

  test('trim gives pooled buffers back', async () => {
    const device = await open()
    device.tensor(new Float32Array(1 << 18)).dispose()
    expect(device.memory.pooledBytes).toBeGreaterThanOrEqual(1 << 20)
    device.memory.trim()
    expect(device.memory.pooledBytes).toBe(0)
    expect(await device.tensor([1, 2]).sum().item()).toBe(3)
  })
})

describe('failures', () => {
  const bad = (device: Device) =>
    kernel({
      name: 'broken',
      inputs: { x: device.tensor([1]) },
      outputs: { y: { shape: [1], dtype: 'f32' } },
      dispatch: [1, 1, 1],
      body: 'fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) { store_y(0u, nonsense); }',
    }).y

  test('a kernel that does not compile fails the step with its source, and the device goes on', async () => {
    const device = await open()
    await expect(bad(device).read()).rejects.toThrow(GpuValidationError)
    expect(await device.tensor([1, 2]).sum().item()).toBe(3)
    await expect(bad(device).read()).rejects.toThrow(/Kernel 'broken'|refused/)
  })

  test('sync() reports what eval() could not know yet', async () => {
    const device = await open()
    const failed = async () => {
      await device.eval([bad(device)])
      await device.sync()
    }
    await expect(failed()).rejects.toThrow(/'broken' does not compile.*nonsense/s)
    await device.sync()
  })

  test('an uncaptured validation error fails the next read', async () => {
    const device = await open()
    device.gpu.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE })
    await expect(device.tensor([1]).read()).rejects.toThrow(/WebGPU refused a command/)
    expect(await device.tensor([5]).item()).toBe(5)
  })

  test('a tensor beyond the largest buffer is refused with the sizes', async () => {
    const device = await open({ limits: { maxBufferSize: 1 << 20 } })
    expect(() => device.buffer([1 << 19])).toThrow(OutOfMemoryError)
    expect(() => device.buffer([1 << 19])).toThrow(/2097152 bytes exceeds .*1048576 bytes/)
  })

  test('tensors of two devices do not mix', async () => {
    const [a, b] = [await open(), await open()]
    expect(() => a.tensor([1]).add(b.tensor([1]))).toThrow(ShapeError)
    await expect(a.eval([b.tensor([1]).add(1)])).rejects.toThrow(/another device/)
  })
})

describe('a lost device', () => {
  test('under load: everything pending and later rejects with one error type, nothing hangs', async () => {
    const device = await open()
    const w = device.tensor(new Float32Array(256 * 256).fill(0.01), [256, 256])
    const pending = Array.from({ length: 6 }, (_, i) => {
      let x = w.add(i)
      for (let layer = 0; layer < 4; layer++) x = matmul(x, w)
      return x.sum().item()
    })
    pending.push(device.sync().then(() => 0))
    device.destroy()
    const results = await Promise.allSettled(pending)
    for (const result of results) {
      expect(result.status).toBe('rejected')
      if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(DeviceLostError)
    }
    await expect(w.sum().item()).rejects.toThrow(DeviceLostError)
    await expect(device.sync()).rejects.toThrow(/create a new device and load the last checkpoint/)
    expect(() => device.tensor([1])).toThrow(DeviceLostError)
    expect(await device.lost).toBeInstanceOf(DeviceLostError)
  }, 20_000)

  test('another device can be opened and used afterwards', async () => {
    ;(await open()).destroy()
    const device = await open()
    expect(await device.tensor([1, 2, 3]).sum().item()).toBe(6)
  })
})
