/** Kernels that write in place run once, whatever is asked of them later. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createDevice, kernel, TensorStateError, type Device, type Tensor } from '../src/index.js'

let device: Device
beforeAll(async () => {
  device = await createDevice()
})
afterAll(() => device.destroy())

/** Adds 1 to a counter and gives twice its old value. */
const count = (counter: Tensor) =>
  kernel({
    name: 'count',
    inputs: {},
    outputs: { doubled: { shape: [1], dtype: 'f32' } },
    writes: { counter },
    workgroupSize: [1, 1, 1],
    dispatch: [1, 1, 1],
    body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  store_doubled(0u, 2.0 * load_counter(0u));
  store_counter(0u, load_counter(0u) + 1.0);
}`,
  }).doubled

it('gives output and write together', async () => {
  const counter = device.tensor([3])
  expect(await count(counter).item()).toBe(6)
  expect(await counter.item()).toBe(4)
})

it('is not run again for an output that was not kept', async () => {
  const counter = device.tensor([3])
  const doubled = count(counter)
  await device.eval([])
  await expect(doubled.read()).rejects.toThrow(TensorStateError)
  await expect(doubled.read()).rejects.toThrow(/'count'.*write twice/)
  expect(await counter.item()).toBe(4)
})
