/**
 * 16-bit floats on the CPU, IEEE 754 half precision and bfloat16: widening is exact, narrowing rounds to nearest even.
 */

const view = new DataView(new ArrayBuffer(4))

function toHalf(value: number): number {
  view.setFloat32(0, value)
  const bits = view.getUint32(0)
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x477ff000) return sign | 0x7c00
  if (magnitude >= 0x38800000) {
    const rebased = magnitude - 0x38000000
    return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13)
  }
  // Subnormal halves are multiples of 2^-24; Math.round breaks ties upwards, so ties are made even by hand.
  const scaled = Math.abs(value) * 2 ** 24
  const floor = Math.floor(scaled)
  const rest = scaled - floor
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
  return sign | rounded
}

/** Half-precision bit patterns of numbers. Values beyond ±65,504 become infinite. */
export function toHalfBits(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const bits = new Uint16Array(values.length)
  for (let index = 0; index < values.length; index++) bits[index] = toHalf(values[index] ?? 0)
  return bits
}

/** Numbers of half-precision bit patterns. */
export function fromHalf(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(bits.length)
  for (let index = 0; index < bits.length; index++) {
    const half = bits[index] ?? 0
    const exponent = (half >>> 10) & 0x1f
    const fraction = half & 0x3ff
    const sign = half & 0x8000 ? -1 : 1
    if (exponent === 0) values[index] = sign * fraction * 2 ** -24
    else if (exponent === 31) values[index] = fraction ? NaN : sign * Infinity
    else values[index] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
  }
  return values
}

/** bfloat16 bit patterns of numbers. Values beyond the largest, 3.39e38, become infinite. */
export function toBfloat16Bits(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const floats = values instanceof Float32Array ? values : Float32Array.from(values)
  const words = new Uint32Array(floats.buffer, floats.byteOffset, floats.length)
  const bits = new Uint16Array(floats.length)
  for (let i = 0; i < bits.length; i++) {
    const word = words[i] ?? 0
    const isNaN = (word & 0x7fffffff) > 0x7f800000
    bits[i] = isNaN ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16
  }
  return bits
}

/** Numbers of bfloat16 bit patterns. */
export function fromBfloat16(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const words = new Uint32Array(bits.length)
  for (let i = 0; i < bits.length; i++) words[i] = (bits[i] ?? 0) << 16
  return new Float32Array(words.buffer)
}
