import { describe, expect, test } from 'vitest'
import { assertClose } from './close.js'
import { randomArray } from './compare.js'
import { checkReferenceGradients } from './gradient-check.js'
import { map, ndarray, scalar, type NdArray } from './ndarray.js'
import { reference } from './reference.js'
import type { DifferentiableOp } from './reference/operation.js'

const positive = (shape: number[], seed: number) => randomArray(shape, seed, 0.3, 2)
/** Random numbers at least 0.1 away from each integer, so that no step crosses a kink. */
const offKinks = (shape: number[], seed: number) =>
  map(randomArray(shape, seed, -2.4, 2.4), (x) => Math.trunc(x) + Math.sign(x) * (0.1 + 0.8 * (Math.abs(x) % 1)))

describe('gradients of the reference agree with finite differences', () => {
  const two: NdArray[] = [randomArray([3, 4], 1), randomArray([4], 2)]
  const segments = { querySegments: [0, 0, 1, 0, 1, 1], keySegments: [0, 1, 0, 1, 0xffffffff, 1, 0, 0] }
  const heads = [randomArray([2, 4, 3, 2], 1), randomArray([2, 2, 4, 2], 2), randomArray([2, 2, 4, 3], 3)]
  const r = reference
  const cases: [string, DifferentiableOp<readonly NdArray[], unknown, readonly NdArray[]>, NdArray[], unknown?][] = [
    ['add', r.add, two],
    ['sub', r.sub, two],
    ['mul', r.mul, two],
    ['div', r.div, [randomArray([2, 1, 3], 1), positive([4, 1], 2)]],
    ['pow', r.pow, [positive([3, 2], 1), randomArray([2], 2)]],
    ['maximum', r.maximum, two],
    ['minimum', r.minimum, [randomArray([3, 4], 1), scalar(0.2)]],
    ['neg', r.neg, [randomArray([5], 1)]],
    ['abs', r.abs, [offKinks([5], 1)]],
    ['exp', r.exp, [randomArray([5], 1)]],
    ['log', r.log, [positive([5], 1)]],
    ['sqrt', r.sqrt, [positive([5], 1)]],
    ['rsqrt', r.rsqrt, [positive([5], 1)]],
    ['square', r.square, [randomArray([5], 1)]],
    ['reciprocal', r.reciprocal, [positive([5], 1)]],
    ['sin', r.sin, [randomArray([5], 1, -3, 3)]],
    ['cos', r.cos, [randomArray([5], 1, -3, 3)]],
    ['tanh', r.tanh, [randomArray([5], 1, -3, 3)]],
    ['sigmoid', r.sigmoid, [randomArray([5], 1, -3, 3)]],
    ['relu', r.relu, [offKinks([9], 1)]],
    ['silu', r.silu, [randomArray([5], 1, -3, 3)]],
    ['softplus', r.softplus, [randomArray([5], 1, -3, 3)]],
    ['erf', r.erf, [randomArray([5], 1, -3, 3)]],
    ['gelu erf', r.gelu, [randomArray([5], 1, -3, 3)], 'erf'],
    ['gelu tanh', r.gelu, [randomArray([5], 1, -3, 3)], 'tanh'],
    ['clamp', r.clamp, [offKinks([9], 1)], { low: -1, high: 1 }],
    ['where', r.where, [ndarray([1, 0, 2]), randomArray([2, 3], 1), randomArray([2, 1], 2)]],
    ['sum', r.sum, [randomArray([2, 3, 4], 1)], { axes: [0, 2] }],
    ['mean', r.mean, [randomArray([2, 3, 4], 1)], { axes: [1], keepDims: true }],
    ['max', r.max, [randomArray([2, 3, 4], 1)], { axes: [-1] }],
    ['min', r.min, [randomArray([2, 3, 4], 1)], {}],
    ['reshape', r.reshape, [randomArray([2, 6], 1)], [3, 4]],
    ['permute', r.permute, [randomArray([2, 3, 4], 1)], [2, 0, 1]],
    ['transpose', r.transpose, [randomArray([2, 3, 4], 1)]],
    ['expand', r.expand, [randomArray([3, 1], 1)], [2, 3, 4]],
    ['slice', r.slice, [randomArray([2, 5], 1)], { axis: 1, start: 1, end: 4 }],
    ['pad', r.pad, [randomArray([2, 3], 1)], { axis: 0, before: 1, after: 2 }],
    ['gather', r.gather, [randomArray([4, 2], 1)], [3, 0, 3, 1]],
    ['indexPut', r.indexPut, [randomArray([4, 2], 1), randomArray([2, 2], 2)], [3, 0]],
    ['concat', r.concat, [randomArray([2, 1], 1), randomArray([2, 3], 2)], 1],
    ['matmul', r.matmul, [randomArray([2, 1, 3, 4], 1), randomArray([3, 4, 2], 2)]],
    ['linear', r.linear, [randomArray([2, 2, 3], 1), randomArray([4, 3], 2), randomArray([4], 3)]],
    ['softmax', r.softmax, [randomArray([3, 5], 1)]],
    ['logSoftmax', r.logSoftmax, [randomArray([3, 5], 1)]],
    [
      'maskedSoftmax',
      r.maskedSoftmax,
      [randomArray([2, 2, 3, 4], 1)],
      { scale: 0.7, causal: true, queryOffset: 1, ...segments },
    ],
    ['attention', r.attention, heads, { causal: true, queryOffset: 1, ...segments }],
    ['attention, given scale', r.attention, heads, { scale: 0.3 }],
    [
      'flashAttention',
      r.flashAttention,
      [randomArray([7, 4, 2], 1), randomArray([6, 2, 2], 2), randomArray([6, 2, 3], 3)],
      {
        sequences: [
          { queries: { start: 0, length: 3 }, keys: { start: 0, length: 3 } },
          { queries: { start: 4, length: 2 }, keys: { start: 3, length: 3 }, prefix: { start: 0, length: 3 } },
        ],
        causal: true,
      },
    ],
    ['rmsNorm', r.rmsNorm, [randomArray([3, 5], 1), randomArray([5], 2)], { eps: 1e-3 }],
    ['layerNorm', r.layerNorm, [randomArray([3, 5], 1), randomArray([5], 2), randomArray([5], 3)], { eps: 1e-3 }],
    ['rotary', r.rotary, [randomArray([3, 2, 4], 1)], { cos: randomArray([3, 2], 2), sin: randomArray([3, 2], 3) }],
    ['swiglu', r.swiglu, [randomArray([3, 4], 1, -3, 3), randomArray([3, 4], 2)]],
    [
      'linearLogProb',
      r.linearLogProb,
      [randomArray([3, 4], 1), randomArray([5, 4], 2)],
      { targets: [1, 0, 4], temperature: 0.7, mask: [0, 0, -1e30, 0, 0] },
    ],
  ]

  test.each(cases)('%s', (_, operation, inputs, options) => checkReferenceGradients(operation, inputs, options))

  test('and a wrong gradient is found', () => {
    const wrong = { ...reference.sin, vjp: reference.cos.vjp }
    expect(() => checkReferenceGradients(wrong, [randomArray([4], 1)], undefined)).toThrow(/gradient of input 0/)
  })
})

describe('values', () => {
  test('elementwise functions at known points', () => {
    const values = (x: readonly NdArray[]) => Array.from(x[0]?.data ?? [])
    assertClose(
      values(reference.erf.forward([ndarray([0, 0.5, 1, -2, 3.5])])),
      [0, 0.5204998778130465, 0.8427007929497149, -0.9953222650189527, 0.9999992569016276],
      { relative: 1e-14 },
    )
    assertClose(values(reference.gelu.forward([ndarray([1])], 'erf')), [0.8413447460685429], { relative: 1e-14 })
    assertClose(values(reference.gelu.forward([ndarray([1])], 'tanh')), [0.8411919906082768], { relative: 1e-14 })
    expect(values(reference.round.forward([ndarray([0.5, 1.5, 2.5, -0.5, 2.4, -2.6])]))).toEqual([0, 2, 2, 0, 2, -3])
    expect(values(reference.cast.forward([ndarray([1.0004883, -1.9])], 'f16'))).toEqual([1, -1.900390625])
    expect(values(reference.cast.forward([ndarray([1.7, -1.7])], 'i32'))).toEqual([1, -1])
    expect(values(reference.argmax.forward([ndarray([1, 3, 3, 2, 0, 2], [2, 3])], 1))).toEqual([1, 0])
  })

  test('equal maxima share the gradient', () => {
    const [gradient] = reference.max.vjp([ndarray([2, 5, 5])], [scalar(1)], {})
    expect(Array.from(gradient?.data ?? [])).toEqual([0, 0.5, 0.5])
  })

  test('a query without visible keys attends to nothing', () => {
    const [y] = reference.maskedSoftmax.forward([randomArray([1, 1, 2], 1)], {
      querySegments: [0],
      keySegments: [1, 0xffffffff],
    })
    expect(Array.from(y.data)).toEqual([0, 0])
  })

  test('attention of one query by hand', () => {
    const q = ndarray([1, 0], [1, 1, 1, 2])
    const k = ndarray([Math.log(3), 5, 0, 7], [1, 1, 2, 2])
    const v = ndarray([4, 8], [1, 1, 2, 1])
    assertClose(reference.attention.forward([q, k, v], { scale: 1 })[0].data, [5], { relative: 1e-14 })
  })

  test('log-prob and entropy of a uniform distribution', () => {
    const [logProbs, entropies] = reference.linearLogProb.forward(
      [ndarray([0], [1, 1]), ndarray([1, 2, 3, 4], [4, 1])],
      { targets: [2] },
    )
    assertClose([...logProbs.data, ...entropies.data], [-Math.log(4), Math.log(4)], { relative: 1e-14 })
  })

  test('AdamW: two steps by hand', () => {
    const options = { learningRate: 0.1, betas: [0.9, 0.99] as const, eps: 0, weightDecay: 0.5 }
    const first = reference.adamW({ step: 0, values: [1], firstMoments: [0], secondMoments: [0] }, [2], options)
    assertClose(first.values, [0.95 - 0.1], { relative: 1e-14 })
    const second = reference.adamW(first, [-1], options)
    const m = (0.9 * 0.2 - 0.1) / (1 - 0.81)
    const v = (0.99 * 0.04 + 0.01) / (1 - 0.99 ** 2)
    assertClose(second.values, [0.85 * 0.95 - (0.1 * m) / Math.sqrt(v)], { relative: 1e-14 })
  })
})

describe('random numbers', () => {
  // Known answers of the Random123 library, tests/kat_vectors, philox4x32 10.
  test.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as const)('Philox of counter %j', (counter, key, expected) => {
    expect(reference.philox(counter, key)).toEqual(expected)
  })

  test('uniform: in [0, 1), mean 1/2, variance 1/12, independent streams', () => {
    const { data } = reference.randomUniform([20000], { seed: 7 })
    expect(Math.min(...data)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...data)).toBeLessThan(1)
    const mean = data.reduce((a, b) => a + b, 0) / data.length
    const other = reference.randomUniform([20000], { seed: 7, stream: 1 }).data
    const covariance = data.reduce((sum, x, i) => sum + (x - 0.5) * ((other[i] ?? 0) - 0.5), 0) / data.length
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.01)
    expect(Math.abs(covariance)).toBeLessThan(0.003)
  })

  test('normal: mean 0, variance 1, kurtosis 3', () => {
    const { data } = reference.randomNormal([20000], { seed: 2 ** 40 + 3 })
    const moment = (power: number) => data.reduce((sum, x) => sum + x ** power, 0) / data.length
    assertClose([moment(1), moment(2), moment(4)], [0, 1, 3], { relative: 0.05, absolute: 0.03 })
  })
})

describe('sampling', () => {
  const logits = ndarray([0, Math.log(2), Math.log(3), Math.log(4)], [1, 4])
  const seeds = [[5, 0]] as const

  test('top-k breaks ties by index', () => {
    expect(reference.topK(ndarray([1, 3, 3, 2], [1, 4]), 3)).toEqual({ indices: [[1, 2, 3]], values: [[3, 3, 2]] })
  })

  test.each([
    [{ topK: 2 }, [0, 0, 3 / 7, 4 / 7]],
    [{ topP: 0.65 }, [0, 0, 3 / 7, 4 / 7]],
    [{ topP: 0.75 }, [0, 2 / 9, 3 / 9, 4 / 9]],
    [{ topK: 3, topP: 0.4 }, [0, 0, 0, 1]],
    [{}, [0.1, 0.2, 0.3, 0.4]],
  ])('%j leaves the right distribution', (options, expected) => {
    const [sample] = reference.sampleTokens(logits, { temperature: 1, seeds, step: 0, ...options })
    assertClose(sample?.probabilities ?? [], expected, { relative: 1e-12 })
  })

  test('draws follow the distribution, log-probs are those at the temperature', () => {
    const counts = [0, 0, 0, 0]
    for (let step = 0; step < 4000; step++) {
      const [sample] = reference.sampleTokens(logits, { temperature: 0.5, seeds, step })
      const id = sample?.id ?? -1
      counts[id] = (counts[id] ?? 0) + 1
      assertClose([sample?.logProb ?? NaN], [Math.log((id + 1) ** 2 / 30)], { relative: 1e-12 })
    }
    assertClose(
      counts.map((count) => count / 4000),
      [1 / 30, 4 / 30, 9 / 30, 16 / 30],
      { relative: 0, absolute: 0.03 },
    )
  })

  test('temperature 0 takes the first of the largest', () => {
    const [sample] = reference.sampleTokens(ndarray([1, 2, 2], [1, 3]), { temperature: 0, seeds, step: 0 })
    expect(sample?.id).toBe(1)
  })
})
