/**
 * Numbers between JavaScript arrays and the bytes of GPU buffers.
 */
import { fromBfloat16, fromHalf, toBfloat16Bits, toHalfBits } from '../graph/half.js'
import type { DType } from '../graph/shape.js'
import { ShapeError } from './errors.js'

export type TensorData = Float32Array | Int32Array | Uint32Array
/** Numbers, or the bit patterns of f16 or bf16. */
export type TensorInput = TensorData | Uint16Array
/** Numbers, or arrays of them to any depth. */
export type Nested = number | readonly Nested[]

export function flatten(data: readonly Nested[]): number[] {
  return (data as readonly unknown[]).flat(Infinity) as number[]
}

export function nesting(data: readonly Nested[]): number[] {
  const shape: number[] = []
  let level: Nested | undefined = data
  while (Array.isArray(level)) {
    shape.push(level.length)
    level = (level as readonly Nested[])[0]
  }
  return shape
}

/** Bytes of numbers, or the bytes given where they are bit patterns already; a multiple of four of them. */
export function encode(data: readonly number[] | TensorInput, dtype: DType): Uint8Array<ArrayBuffer> {
  if (data instanceof Uint16Array && dtype !== 'f16' && dtype !== 'bf16') {
    throw new ShapeError(
      `A Uint16Array holds bit patterns of f16 or bf16, not ${dtype}; give numbers in another array.`,
    )
  }
  if (dtype === 'q8' || dtype === 'q4') {
    throw new ShapeError(`Numbers cannot be written as ${dtype}; quantize() makes codes and scales of them.`)
  }
  if (dtype === 'f16' || dtype === 'bf16') {
    return bytesOf(data instanceof Uint16Array ? data : dtype === 'f16' ? toHalfBits(data) : toBfloat16Bits(data))
  }
  const Target = { f32: Float32Array, i32: Int32Array, u32: Uint32Array }[dtype]
  return bytesOf(data instanceof Target ? data : Target.from(data))
}

function bytesOf(array: TensorInput): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = array
  if (byteLength % 4 === 0 && buffer instanceof ArrayBuffer) return new Uint8Array(buffer, byteOffset, byteLength)
  const bytes = new Uint8Array(Math.ceil(byteLength / 4) * 4)
  bytes.set(new Uint8Array(buffer, byteOffset, byteLength))
  return bytes
}

export function decode(bytes: ArrayBuffer, offset: number, size: number, dtype: DType): TensorData {
  if (dtype === 'f16') return fromHalf(new Uint16Array(bytes, offset, size))
  if (dtype === 'bf16') return fromBfloat16(new Uint16Array(bytes, offset, size))
  if (dtype === 'q8' || dtype === 'q4') throw new Error('Internal: quantised codes are read as f32.')
  const Source = { f32: Float32Array, i32: Int32Array, u32: Uint32Array }[dtype]
  return new Source(bytes, offset, size)
}

export function emptyOf(dtype: DType): TensorData {
  return dtype === 'i32' ? new Int32Array() : dtype === 'u32' ? new Uint32Array() : new Float32Array()
}
