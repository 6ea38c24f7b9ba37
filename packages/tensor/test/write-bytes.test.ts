import { afterAll, beforeAll, expect, it } from 'vitest'
import { createDevice, type Device } from '../src/index.js'

let device: Device
beforeAll(async () => {
  device = await createDevice()
})
afterAll(() => device.destroy())

const bytesOf = (values: Float32Array | Uint16Array) => new Uint8Array(values.buffer)

it('writeBytes fills a tensor piece by piece', async () => {
  const x = device.buffer([2, 3])
  device.writeBytes(x, 8, bytesOf(Float32Array.of(3, 4, 5)))
  device.writeBytes(x, 0, bytesOf(Float32Array.of(1, 2)))
  expect([...(await x.read())]).toEqual([1, 2, 3, 4, 5, 0])
})

it('writeBytes ends an odd f16 tensor in the middle of a word', async () => {
  const x = device.buffer([3], 'f16')
  device.writeBytes(x, 0, bytesOf(Uint16Array.of(0x3c00, 0x4000, 0xc200)))
  expect([...(await x.read())]).toEqual([1, 2, -3])
})

it('writeBytes refuses what is not whole words inside the tensor', () => {
  const x = device.buffer([4])
  expect(() => device.writeBytes(x, 2, new Uint8Array(4))).toThrow(/multiples of 4/)
  expect(() => device.writeBytes(x, 4, new Uint8Array(3))).toThrow(/multiples of 4/)
  expect(() => device.writeBytes(x, 8, new Uint8Array(12))).toThrow(/8 to 20 of a tensor of 16/)
  expect(() => device.writeBytes(x.slice(0, 0, 2), 0, new Uint8Array(4))).toThrow(/whole tensors/)
})
