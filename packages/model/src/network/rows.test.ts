import { createDevice, grad, type Device } from '@revisual/tensor'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { difference } from '../../test/support.js'
import { noRow, pickRows } from './rows.js'
import { neighbouringRuns } from './token-attention.js'

let device: Device
beforeAll(async () => {
  device = await createDevice()
})
afterAll(() => device.destroy())

describe('pickRows', () => {
  it('picks rows, gives zeros for none, and sums gradients back', async () => {
    const index = (rows: number) => fc.oneof(fc.integer({ min: 0, max: rows - 1 }), fc.constant(noRow))
    const example = fc
      .record({ rows: fc.integer({ min: 1, max: 9 }), width: fc.integer({ min: 1, max: 70 }) })
      .chain(({ rows, width }) =>
        fc.record({
          rows: fc.constant(rows),
          width: fc.constant(width),
          indices: fc.array(index(rows), { minLength: 1, maxLength: 20 }),
        }),
      )
    await fc.assert(
      fc.asyncProperty(example, async ({ rows, width, indices }) => {
        using _scope = device.scope()
        const values = Float32Array.from({ length: rows * width }, (_, i) => Math.sin(i))
        const upstream = Float32Array.from({ length: indices.length * width }, (_, i) => Math.cos(i))
        const x = device.tensor(values, [rows, width])
        x.requiresGrad = true
        const picked = pickRows(x, Uint32Array.from(indices))
        const [gradient] = grad(picked, [x], { gradOutputs: [device.tensor(upstream, [indices.length, width])] })
        const expected = indices.flatMap((row) =>
          row === noRow ? new Array<number>(width).fill(0) : [...values.subarray(row * width, (row + 1) * width)],
        )
        const back = new Float32Array(rows * width)
        indices.forEach((row, place) => {
          for (let c = 0; row !== noRow && c < width; c++)
            back[row * width + c]! += upstream[place * width + c] as number
        })
        expect(difference(await picked.read(), expected)).toBe(0)
        expect(difference((await gradient?.read()) ?? [], back)).toBeLessThan(1e-5)
      }),
      { numRuns: 20 },
    )
  })
})

describe('neighbouringRuns', () => {
  it('lets each run attend to itself', () => {
    const [first, second] = [
      { start: 0, length: 2 },
      { start: 2, length: 3 },
    ]
    expect(neighbouringRuns([2, 3])).toEqual([
      { queries: first, keys: first },
      { queries: second, keys: second },
    ])
  })
})
