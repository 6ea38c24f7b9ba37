/**
 * Arrays of the plain reference: a shape and f64 values in row-major order, nothing else. Written for clarity, checked
 * against by everything fast; no code is shared with the kernels.
 */
import { ShapeError } from '../device/errors.js'

export interface NdArray {
  readonly shape: readonly number[]
  readonly data: Float64Array
}

export function sizeOfShape(shape: readonly number[]): number {
  return shape.reduce((product, dimension) => product * dimension, 1)
}

/** An array of the given values; by default one-dimensional. */
export function ndarray(data: ArrayLike<number>, shape: readonly number[] = [data.length]): NdArray {
  if (sizeOfShape(shape) !== data.length) {
    throw new ShapeError(`ndarray(): ${data.length} values do not fill shape [${shape.join(', ')}].`)
  }
  return { shape, data: Float64Array.from(data) }
}

/** A rank-0 array. */
export function scalar(value: number): NdArray {
  return ndarray([value], [])
}

/** An array whose element i in row-major order is `fn(i)`. */
export function generate(shape: readonly number[], fn: (index: number) => number): NdArray {
  return { shape, data: Float64Array.from({ length: sizeOfShape(shape) }, (_, index) => fn(index)) }
}

export function zeros(shape: readonly number[]): NdArray {
  return { shape, data: new Float64Array(sizeOfShape(shape)) }
}

/** Element i in row-major order. */
export function at(x: NdArray, index: number): number {
  const value = x.data[index]
  if (value === undefined) throw new RangeError(`Element ${index} of an array of ${x.data.length}.`)
  return value
}

export function map(x: NdArray, fn: (value: number, index: number) => number): NdArray {
  return { shape: x.shape, data: x.data.map((value, index) => fn(value, index)) }
}

/** Row-major strides in elements. */
function stridesOf(shape: readonly number[]): number[] {
  return shape.map((_, axis) => sizeOfShape(shape.slice(axis + 1)))
}

/** Coordinates of element i in row-major order. */
export function coordinates(index: number, shape: readonly number[]): number[] {
  return stridesOf(shape).map((stride, axis) => Math.floor(index / stride) % (shape[axis] ?? 1))
}

/** Position in row-major order of the given coordinates. */
export function position(coordinate: readonly number[], shape: readonly number[]): number {
  return stridesOf(shape).reduce((sum, stride, axis) => sum + stride * (coordinate[axis] ?? 0), 0)
}

/** For each element of `shape`, the position of the element of `source` that NumPy broadcasting puts there. */
export function broadcastMap(source: readonly number[], shape: readonly number[]): number[] {
  const lead = shape.length - source.length
  return Array.from({ length: sizeOfShape(shape) }, (_, index) => {
    const full = coordinates(index, shape).slice(lead)
    return position(
      full.map((value, axis) => (source[axis] === 1 ? 0 : value)),
      source,
    )
  })
}

export function broadcastShape(...shapes: (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length))
  return Array.from({ length: rank }, (_, axis) => {
    const dimensions = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1)
    const wide = dimensions.filter((dimension) => dimension !== 1)
    if (new Set(wide).size > 1)
      throw new ShapeError(`Shapes ${shapes.map((s) => `[${s.join(', ')}]`).join(' and ')} do not broadcast.`)
    return wide[0] ?? 1
  })
}

export function broadcastTo(x: NdArray, shape: readonly number[]): NdArray {
  const places = broadcastMap(x.shape, shape)
  return generate(shape, (index) => at(x, places[index] ?? 0))
}

/** Sums a broadcast gradient back to the shape its operand had. */
export function sumToShape(gradient: NdArray, shape: readonly number[]): NdArray {
  const result = zeros(shape)
  broadcastMap(shape, gradient.shape).forEach((place, index) => {
    result.data[place] = at(result, place) + at(gradient, index)
  })
  return result
}

/** Axis in 0..rank−1; negative ones count from the end. */
export function axisOf(axis: number, rank: number): number {
  const positive = axis < 0 ? axis + rank : axis
  if (!Number.isInteger(positive) || positive < 0 || positive >= rank)
    throw new ShapeError(`Axis ${axis} of rank ${rank}.`)
  return positive
}
