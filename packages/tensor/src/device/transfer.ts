/**
 * Numbers between JavaScript arrays and the bytes of GPU buffers.
 */
import { fromHalf, toHalfBits } from '../graph/half.js'
import type { DType } from '../graph/shape.js'

export type TensorData = Float32Array | Int32Array | Uint32Array
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

export function encode(data: readonly number[] | TensorData, dtype: DType): Uint8Array<ArrayBuffer> {
  const padded = (array: Float32Array | Int32Array | Uint32Array | Uint16Array) => {
    const bytes = new Uint8Array(Math.ceil(array.byteLength / 4) * 4)
    bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
    return bytes
  }
  if (dtype === 'f16') return padded(toHalfBits(data))
  const Target = { f32: Float32Array, i32: Int32Array, u32: Uint32Array }[dtype]
  return padded(data instanceof Target ? data : Target.from(data))
}

export function decode(bytes: ArrayBuffer, offset: number, size: number, dtype: DType): TensorData {
  if (dtype === 'f16') return fromHalf(new Uint16Array(bytes, offset, size))
  const Source = { f32: Float32Array, i32: Int32Array, u32: Uint32Array }[dtype]
  return new Source(bytes, offset, size)
}

export function emptyOf(dtype: DType): TensorData {
  return dtype === 'i32' ? new Int32Array() : dtype === 'u32' ? new Uint32Array() : new Float32Array()
}
