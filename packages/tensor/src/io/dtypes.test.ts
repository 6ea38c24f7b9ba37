import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fromFloat32, toFloat32 } from './dtypes.js'

type Narrow = 'F16' | 'BF16'
const roundTrip = (values: Float32Array, dtype: Narrow) =>
  toFloat32({ dtype, shape: [values.length], data: fromFloat32(values, dtype) })

/** Nearest multiple of the spacing around x for p bits of precision, ties to even: the definition, in f64. */
function nearest(x: number, precision: number, smallestExponent: number): number {
  if (x === 0) return x
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), smallestExponent)
  const spacing = 2 ** (exponent - precision + 1)
  const scaled = x / spacing
  const floor = Math.floor(scaled)
  const rest = scaled - floor
  return (rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor) * spacing
}

const formats: [Narrow, number, number, number][] = [
  ['F16', 11, -14, 65504],
  ['BF16', 8, -126, 3.3e38],
]

describe.each(formats)('%s', (dtype, precision, smallestExponent, largest) => {
  test('rounds to nearest even', () => {
    fc.assert(
      fc.property(fc.float({ min: Math.fround(-largest), max: Math.fround(largest), noNaN: true }), (x) => {
        expect(roundTrip(new Float32Array([x]), dtype)[0]).toBeCloseTo(nearest(x, precision, smallestExponent), 40)
      }),
      { numRuns: 500 },
    )
  })

  test('ties go to the even neighbour', () => {
    const half = 2 ** -precision
    const values = new Float32Array([1 + half, 1 + 3 * half, -1 - half])
    expect([...roundTrip(values, dtype)]).toEqual([1, 1 + 4 * half, -1])
  })

  test('every pattern survives a round trip', () => {
    const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i)
    const wide = toFloat32({ dtype, shape: [65536], data: new Uint8Array(patterns.buffer) })
    const back = new Uint16Array(fromFloat32(wide, dtype).buffer)
    expect(patterns.findIndex((pattern, i) => !Number.isNaN(wide[i]) && pattern !== back[i])).toBe(-1)
    expect([...back].filter((pattern, i) => Number.isNaN(wide[i]) && !isNaNPattern(pattern, dtype))).toEqual([])
  })

  test('infinities and NaN are kept', () => {
    expect([...roundTrip(new Float32Array([Infinity, -Infinity, NaN]), dtype)]).toEqual([Infinity, -Infinity, NaN])
  })
})

function isNaNPattern(pattern: number, dtype: Narrow): boolean {
  return (pattern & 0x7fff) > (dtype === 'F16' ? 0x7c00 : 0x7f80)
}

test('a finite value that would become infinite is an error with its place', () => {
  expect(() => fromFloat32(new Float32Array([1, 65520]), 'F16', 'w')).toThrow(
    /'w' does not fit F16: element 1 is 65520/,
  )
  expect(() => fromFloat32(new Float32Array([3.4e38]), 'BF16', 'w')).toThrow(/'w' does not fit BF16: element 0/)
  expect([...roundTrip(new Float32Array([65519]), 'F16')]).toEqual([65504])
})

test('F32 is copied, not shared', () => {
  const values = new Float32Array([1, 2])
  const bytes = fromFloat32(values.subarray(1), 'F32')
  values[1] = 9
  expect([...new Float32Array(bytes.buffer)]).toEqual([2])
})

test('types without a reader are named', () => {
  expect(() => toFloat32({ dtype: 'F8_E4M3', shape: [1], data: new Uint8Array(1) })).toThrow(
    /F8_E4M3 has no conversion/,
  )
  expect(() => toFloat32({ dtype: 'F32', shape: [2], data: new Uint8Array(4) })).toThrow(
    /F32\[2\] does not fit 4 bytes/,
  )
})
