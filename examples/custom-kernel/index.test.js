import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { createDevice, ShapeError } from '@revisual/tensor'
import { checkGradients, randomArray, upload } from '@revisual/tensor/testing'
import { fit } from './fit.js'
import { snake } from './snake.js'

const device = await createDevice()
after(() => device.destroy())

test('gives x + sin²(αx) / α, also for halves', async () => {
  const [x, alpha] = [randomArray([3, 5, 4], 1, -3, 3), randomArray([4], 2, 0.5, 2)]
  const expected = x.data.map((value, i) => value + Math.sin(alpha.data[i % 4] * value) ** 2 / alpha.data[i % 4])
  const close = (values, allowed) => values.forEach((v, i) => assert.ok(Math.abs(v - expected[i]) <= allowed))
  close(await snake(upload(device, x), upload(device, alpha)).read(), 1e-5)
  close(await snake(upload(device, x).cast('f16'), upload(device, alpha)).read(), 1e-2)
})

test('has the gradients that finite differences give', async () => {
  await checkGradients(device, snake, [randomArray([6, 4], 3, -2, 2), randomArray([4], 4, 0.5, 2)])
})

test('refuses what does not fit', () => {
  const x = device.zeros([2, 3])
  assert.throws(() => snake(x, device.ones([2])), ShapeError)
  assert.throws(() => snake(x, device.ones([3], 'u32')), /input 'alpha' is u32; allowed: f32, f16, bf16/)
})

test('learns', async () => {
  const losses = await fit(device, 120)
  assert.ok(losses.at(-1) < 0.2 * losses[0], `${losses[0]} → ${losses.at(-1)}`)
})
