/**
 * The element types of the safetensors format, in the order of its own library (github.com/huggingface/safetensors,
 * `Dtype` in tensor.rs): files list tensors of later types first, so that data stay aligned. Values come to the host as
 * f32; leaving, they are rounded to nearest even, and a value that does not fit is an error, never an infinity.
 */
import { endianness } from 'node:os'
import { fromBfloat16, fromHalf, toBfloat16Bits, toHalfBits } from '../graph/half.js'
import { SafetensorsError } from './errors.js'

/** Bits per element. */
const BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const

export type SafetensorsDType = keyof typeof BITS

export const DTYPES = Object.keys(BITS) as SafetensorsDType[]

export function isDType(name: unknown): name is SafetensorsDType {
  return typeof name === 'string' && Object.hasOwn(BITS, name)
}

/** Position in the order in which the format's own writer sorts types. */
export function rankOf(dtype: SafetensorsDType): number {
  return DTYPES.indexOf(dtype)
}

/** Bytes of a tensor, or null when they are not a whole, safe number. */
export function byteLength(dtype: SafetensorsDType, shape: readonly number[]): number | null {
  let bits: number = BITS[dtype]
  for (const dimension of shape) bits *= dimension
  return Number.isSafeInteger(bits) && bits % 8 === 0 ? bits / 8 : null
}

/** A tensor's bytes, little-endian, row-major. */
export interface SafetensorsTensor {
  readonly dtype: SafetensorsDType
  readonly shape: readonly number[]
  readonly data: Uint8Array<ArrayBuffer>
}

function littleEndianOnly(): void {
  if (endianness() !== 'LE') {
    throw new SafetensorsError(
      'safetensors data are little-endian; this machine is big-endian, which is not supported.',
    )
  }
}

interface Bytes {
  readonly buffer: ArrayBuffer
  readonly byteOffset: number
}

/** The data, or a copy when they do not start where every element type may start. */
function aligned(data: Uint8Array<ArrayBuffer>): Bytes {
  return data.byteOffset % 8 === 0 ? data : { buffer: new Uint8Array(data).buffer, byteOffset: 0 }
}

/**
 * Values as f32: exact for F32, F16, BF16 and integers of up to 24 bits, rounded for the wider types. F32 data are not
 * copied when they are aligned.
 *
 * @throws {SafetensorsError} complex, 8-bit float and smaller types, which have no reader here.
 */
export function toFloat32(tensor: SafetensorsTensor): Float32Array<ArrayBuffer> {
  littleEndianOnly()
  const { dtype, shape, data } = tensor
  const { buffer, byteOffset } = aligned(data)
  const size = shape.reduce((product, dimension) => product * dimension, 1)
  if (byteLength(dtype, shape) !== data.byteLength) {
    throw new SafetensorsError(`toFloat32(): ${dtype}[${shape.join(', ')}] does not fit ${data.byteLength} bytes.`)
  }
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer, byteOffset, size)
    case 'F16':
      return fromHalf(new Uint16Array(buffer, byteOffset, size))
    case 'BF16':
      return fromBfloat16(new Uint16Array(buffer, byteOffset, size))
    case 'F64':
      return Float32Array.from(new Float64Array(buffer, byteOffset, size))
    case 'BOOL':
    case 'U8':
      return Float32Array.from(data)
    case 'I8':
      return Float32Array.from(new Int8Array(buffer, byteOffset, size))
    case 'I16':
      return Float32Array.from(new Int16Array(buffer, byteOffset, size))
    case 'U16':
      return Float32Array.from(new Uint16Array(buffer, byteOffset, size))
    case 'I32':
      return Float32Array.from(new Int32Array(buffer, byteOffset, size))
    case 'U32':
      return Float32Array.from(new Uint32Array(buffer, byteOffset, size))
    case 'I64':
      return Float32Array.from(new BigInt64Array(buffer, byteOffset, size), Number)
    case 'U64':
      return Float32Array.from(new BigUint64Array(buffer, byteOffset, size), Number)
    default:
      throw new SafetensorsError(
        `toFloat32(): ${dtype} has no conversion here; F32, F16, BF16, F64, BOOL and the integers have. Convert the file first.`,
      )
  }
}

/** Index of the first finite value that became infinite, or −1. `infinity` is the infinite bit pattern. */
function firstOverflow(values: Float32Array, bits: Uint16Array, infinity: number): number {
  return bits.findIndex((pattern, i) => (pattern & 0x7fff) === infinity && Number.isFinite(values[i]))
}

/**
 * Bytes of f32 values in a narrower (or the same) float type, rounded to nearest even.
 *
 * @param what Named in the error.
 * @throws {SafetensorsError} a finite value does not fit, with its place and size.
 */
export function fromFloat32(
  values: Float32Array,
  dtype: 'F32' | 'F16' | 'BF16',
  what = 'tensor',
): Uint8Array<ArrayBuffer> {
  littleEndianOnly()
  if (dtype === 'F32') return new Uint8Array(new Float32Array(values).buffer)
  const bits = dtype === 'F16' ? toHalfBits(values) : toBfloat16Bits(values)
  const overflow = firstOverflow(values, bits, dtype === 'F16' ? 0x7c00 : 0x7f80)
  if (overflow >= 0) {
    const largest = dtype === 'F16' ? '65504' : '3.39e38'
    throw new SafetensorsError(
      `'${what}' does not fit ${dtype}: element ${overflow} is ${values[overflow] ?? NaN}, the largest finite ${dtype} is ${largest}. ` +
        `Save it as ${dtype === 'F16' ? 'BF16 or F32' : 'F32'}.`,
    )
  }
  return new Uint8Array(bits.buffer)
}
