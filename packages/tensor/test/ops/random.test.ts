import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as ops from '../../src/index.js'
import { assertClose, ndarray, randomArray, reference, upload } from '../../src/testing/index.js'
import { forAll, seeds, useDevice } from './support.js'

const device = useDevice()
const exact = { relative: 0, absolute: 0 }

describe('random numbers', () => {
  const options = fc.record({ seed: fc.oneof(seeds, fc.constantFrom(0, 2 ** 32, 2 ** 53 - 1)), stream: fc.nat(1000) })

  test('uniform numbers are those of the reference, bit for bit', async () => {
    await forAll(
      fc.tuple(fc.integer({ min: 1, max: 900 }), options),
      async ([size, given]) => {
        const actual = await ops.randomUniform(device.current, [size], given).read()
        assertClose(actual, reference.randomUniform([size], given).data, exact)
      },
      10,
    )
  })

  test('normal numbers are those of the reference up to rounding', async () => {
    await forAll(fc.tuple(fc.integer({ min: 1, max: 400 }), options), async ([size, given]) => {
      const actual = await ops.randomNormal(device.current, [size], given).read()
      assertClose(actual, reference.randomNormal([size], given).data, { relative: 1e-4, absolute: 2e-4 })
    })
  })
})

describe('topK', () => {
  test('values and places, ties by index', async () => {
    const values = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 300 }), fc.nat(20), seeds)
    await forAll(
      values,
      async ([rows, length, more, seed]) => {
        const k = Math.min(length, 1 + more)
        const x = ndarray(randomArray([rows * length], seed, -9, 9).data.map(Math.round), [rows, length])
        const expected = reference.topK(x, k)
        const { values: v, indices } = ops.topK(upload(device.current, x), k)
        const [actual, places] = await device.current.read([v, indices])
        assertClose(actual ?? [], expected.values.flat(), exact)
        assertClose(places ?? [], expected.indices.flat(), exact)
      },
      10,
    )
  })
})

describe('sampleTokens', () => {
  const cases = fc.record({
    rows: fc.integer({ min: 1, max: 6 }),
    length: fc.constantFrom(2, 17, 64, 200),
    temperature: fc.constantFrom(0, 0.5, 1, 1.5),
    topK: fc.constantFrom(0, 1, 5, 40),
    topP: fc.constantFrom(1, 0.9, 0.3),
    minP: fc.constantFrom(0, 0, 0.05, 0.4),
    step: fc.nat(1000),
    seed: seeds,
  })

  test('draws and log-probs of the reference, unless rounding may decide', async () => {
    let compared = 0
    await forAll(
      cases,
      async ({ rows, length, temperature, topK, topP, minP, step, seed }) => {
        const logits = randomArray([rows, length], seed, -4, 4)
        const rowSeeds = Array.from({ length: rows }, (_, row) => [seed + row, row * 77] as const)
        const expected = reference.sampleTokens(logits, { temperature, topK, topP, minP, seeds: rowSeeds, step })
        const { ids, logProbs } = ops.sampleTokens(upload(device.current, logits), {
          temperature,
          topK,
          topP,
          minP,
          seeds: device.current.tensor(Uint32Array.from(rowSeeds.flat()), [rows, 2]),
          step,
        })
        const [id, logProb] = await device.current.read([ids, logProbs])
        expected.forEach((sample, row) => {
          if (sample.margin < 1e-5) return
          compared++
          expect(id?.[row]).toBe(sample.id)
          assertClose([logProb?.[row] ?? NaN], [sample.logProb], { relative: 1e-4, absolute: 1e-4 })
        })
      },
      40,
    )
    expect(compared).toBeGreaterThan(60)
  })

  test('masked entries are never drawn, and the log-prob is that of the others', async () => {
    const { current } = device
    const rows = 200
    const mask = current.tensor([0, ops.DROPPED, 0, ops.DROPPED])
    const { ids, logProbs } = ops.sampleTokens(current.zeros([rows, 4]).add(0), {
      temperature: 1,
      seeds: current.tensor(
        Uint32Array.from({ length: 2 * rows }, (_, i) => i),
        [rows, 2],
      ),
      step: 0,
      mask,
    })
    const [id, logProb] = await current.read([ids, logProbs])
    expect(new Set(id)).toEqual(new Set([0, 2]))
    assertClose(logProb ?? [], new Array<number>(rows).fill(-Math.log(2)), { relative: 1e-5 })
  })

  test('a row depends on its own logits and seed only, not on its neighbours', async () => {
    const { current } = device
    const logits = randomArray([3, 50], 3, -2, 2)
    const sample = async (rows: number[]) => {
      const data = rows.flatMap((row) => [...logits.data.subarray(row * 50, row * 50 + 50)])
      const { ids } = ops.sampleTokens(upload(current, ndarray(data, [rows.length, 50])), {
        temperature: 1,
        seeds: current.tensor(Uint32Array.from(rows.flatMap((row) => [row, 9])), [rows.length, 2]),
        step: 4,
      })
      return [...(await ids.read())]
    }
    const [a, b, c] = await sample([0, 1, 2])
    expect(await sample([2, 0])).toEqual([c, a])
    expect(await sample([1])).toEqual([b])
  })

  test('rows with options of their own draw what they draw alone', async () => {
    const { current } = device
    const logits = randomArray([5, 90], 8, -3, 3)
    const own = {
      temperature: [0, 1, 0.7, 1.3, 1],
      topK: [0, 4, 0, 0, 9],
      topP: [1, 1, 0.6, 1, 0.9],
      minP: [0, 0, 0, 0.2, 0.1],
      step: [3, 0, 7, 1, 2],
    }
    const sample = async (rows: readonly number[]) => {
      const of = (values: readonly number[]) => rows.map((row) => values[row] ?? NaN)
      const data = rows.flatMap((row) => [...logits.data.subarray(row * 90, row * 90 + 90)])
      const { ids, logProbs } = ops.sampleTokens(upload(current, ndarray(data, [rows.length, 90])), {
        temperature: of(own.temperature),
        topK: of(own.topK),
        topP: of(own.topP),
        minP: of(own.minP),
        step: of(own.step),
        seeds: current.tensor(Uint32Array.from(rows.flatMap((row) => [row + 40, 1])), [rows.length, 2]),
      })
      const [id = [], logProb = []] = await current.read([ids, logProbs])
      return rows.map((_, index) => [id[index], logProb[index]])
    }
    const together = await sample([0, 1, 2, 3, 4])
    for (const row of [0, 1, 2, 3, 4]) expect(await sample([row])).toEqual([together[row]])
  })

  test('options out of range are named', () => {
    const { current } = device
    const logits = current.zeros([1, 4])
    const rowSeeds = current.zeros([1, 2], 'u32')
    expect(() => ops.sampleTokens(logits, { temperature: -1, seeds: rowSeeds, step: 0 })).toThrow(
      /temperature -1 must be ≥ 0/,
    )
    expect(() => ops.sampleTokens(logits, { temperature: 1, minP: 2, seeds: rowSeeds, step: 0 })).toThrow(
      /minP 2 must be in \[0, 1\]/,
    )
    expect(() => ops.sampleTokens(logits, { temperature: [1, 1], seeds: rowSeeds, step: 0 })).toThrow(
      /temperature has 2 values for 1 rows/,
    )
    expect(() => ops.sampleTokens(logits, { temperature: 1, seeds: logits, step: 0 })).toThrow(
      /seeds u32 \[B, 2\], got f32/,
    )
    expect(() => ops.topK(logits, 5)).toThrow(/integer in 1..4/)
  })
})
