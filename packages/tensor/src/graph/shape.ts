/**
 * Shapes, strides and layouts. A layout is how a tensor looks at the contiguous value of a node: shape, strides and an
 * offset, all in elements. Views (reshape, permute, expand, slice) only make new layouts.
 */
import { ShapeError } from '../device/errors.js'

export type Shape = readonly number[]

/** `bf16` is storage only; `q8` and `q4` are the codes of a quantised weight, which only reads as f32. */
export type DType = 'f32' | 'f16' | 'bf16' | 'i32' | 'u32' | 'q8' | 'q4'

export const bytesPerElement: Readonly<Record<DType, number>> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  i32: 4,
  u32: 4,
  q8: 1,
  q4: 0.5,
}

export function isFloat(dtype: DType): boolean {
  return dtype !== 'i32' && dtype !== 'u32'
}

export function isQuantised(dtype: DType): dtype is 'q8' | 'q4' {
  return dtype === 'q8' || dtype === 'q4'
}

/** The dtype in which values of a dtype can be written again: f32 for quantised ones. */
export function writable(dtype: DType): DType {
  return isQuantised(dtype) ? 'f32' : dtype
}

export interface Layout {
  readonly shape: Shape
  readonly strides: readonly number[]
  readonly offset: number
}

export function sizeOf(shape: Shape): number {
  let size = 1
  for (let axis = 0; axis < shape.length; axis++) size *= shape[axis] ?? 1
  return size
}

export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length)
  let stride = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride
    stride *= shape[axis] ?? 1
  }
  return strides
}

export function contiguousLayout(shape: Shape): Layout {
  return { shape, strides: contiguousStrides(shape), offset: 0 }
}

/** True when element i of the view, in row-major order, is element `offset + i` of the node. */
export function isContiguous(layout: Layout): boolean {
  let expected = 1
  for (let axis = layout.shape.length - 1; axis >= 0; axis--) {
    const dimension = layout.shape[axis] ?? 1
    if (dimension !== 1) {
      if (layout.strides[axis] !== expected) return false
      expected *= dimension
    }
  }
  return true
}

/** Merges neighbouring dimensions that one stride can walk, and drops those of size 1. */
export function collapse(layout: Layout): { dims: number[]; strides: number[] } {
  const dims: number[] = []
  const strides: number[] = []
  for (let axis = 0; axis < layout.shape.length; axis++) {
    const dimension = layout.shape[axis] ?? 1
    const stride = layout.strides[axis] ?? 0
    if (dimension === 1) continue
    const last = dims.length - 1
    if (last >= 0 && strides[last] === stride * dimension) {
      dims[last] = (dims[last] ?? 1) * dimension
      strides[last] = stride
    } else {
      dims.push(dimension)
      strides.push(stride)
    }
  }
  return { dims, strides }
}

/** Elements of the node that elements `begin` ≤ i < `end` of the view lie between, perhaps with others. */
export function spanOf(layout: Layout, begin = 0, end = sizeOf(layout.shape)): { low: number; high: number } {
  const { dims, strides } = collapse(layout)
  let [low, high] = [layout.offset, layout.offset]
  if (dims.includes(0)) return { low, high }
  let [first, last] = [begin, Math.max(begin, end - 1)]
  let inner = sizeOf(dims)
  let isWhole = false
  dims.forEach((dimension, axis) => {
    const stride = strides[axis] ?? 0
    inner /= dimension
    const from = isWhole ? 0 : Math.floor(first / inner)
    const to = isWhole ? dimension - 1 : Math.floor(last / inner)
    first -= from * inner
    last -= to * inner
    low += from * stride
    high += to * stride
    if (from !== to) isWhole = true
  })
  return { low, high }
}

export function checkShape(shape: Shape, what: string): void {
  for (const dimension of shape) {
    if (!Number.isInteger(dimension) || dimension < 0) {
      throw new ShapeError(`${what}: shape [${shape.join(', ')}] must consist of integers ≥ 0.`)
    }
  }
}

/** Axis in 0..rank−1; negative axes count from the end. */
export function normaliseAxis(axis: number, rank: number, what: string): number {
  const positive = axis < 0 ? axis + rank : axis
  if (!Number.isInteger(positive) || positive < 0 || positive >= rank) {
    throw new ShapeError(`${what}: axis ${axis} is out of range for rank ${rank}; allowed are ${-rank}..${rank - 1}.`)
  }
  return positive
}

/** NumPy broadcasting of shapes. */
export function broadcastShapes(a: Shape, b: Shape, what: string): number[] {
  const rank = Math.max(a.length, b.length)
  const result = new Array<number>(rank)
  for (let axis = 1; axis <= rank; axis++) {
    const x = a[a.length - axis] ?? 1
    const y = b[b.length - axis] ?? 1
    if (x !== y && x !== 1 && y !== 1) {
      throw new ShapeError(
        `${what}: shapes [${a.join(', ')}] and [${b.join(', ')}] do not broadcast (axis −${axis}: ${x} and ${y}). ` +
          `Dimensions must be equal or 1; reshape or unsqueeze one of them.`,
      )
    }
    result[rank - axis] = x === 1 ? y : x
  }
  return result
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let axis = 0; axis < a.length; axis++) if (a[axis] !== b[axis]) return false
  return true
}

export function expandLayout(layout: Layout, shape: Shape, what: string): Layout {
  if (sameShape(layout.shape, shape)) return layout
  const lead = shape.length - layout.shape.length
  if (lead < 0) throw new ShapeError(`${what}: cannot expand [${layout.shape.join(', ')}] to [${shape.join(', ')}].`)
  const strides = shape.map((dimension, axis) => {
    const own = axis < lead ? 1 : (layout.shape[axis - lead] ?? 1)
    if (own === dimension) return axis < lead ? 0 : (layout.strides[axis - lead] ?? 0)
    if (own === 1) return 0
    throw new ShapeError(`${what}: cannot expand [${layout.shape.join(', ')}] to [${shape.join(', ')}].`)
  })
  return { shape, strides, offset: layout.offset }
}

/** The layout under a new shape of the same size, or null when a copy is needed. */
export function reshapeLayout(layout: Layout, shape: Shape): Layout | null {
  if (isContiguous(layout)) return { shape, strides: contiguousStrides(shape), offset: layout.offset }
  // Match groups of old dimensions with groups of new ones; inside a group the old dimensions must be one run.
  const oldDims: number[] = []
  const oldStrides: number[] = []
  layout.shape.forEach((dimension, axis) => {
    if (dimension !== 1) {
      oldDims.push(dimension)
      oldStrides.push(layout.strides[axis] ?? 0)
    }
  })
  const strides = new Array<number>(shape.length).fill(0)
  let oldStart = 0
  let newStart = 0
  while (newStart < shape.length) {
    if (shape[newStart] === 1) {
      newStart++
      continue
    }
    let newEnd = newStart + 1
    let oldEnd = oldStart + 1
    let newSize = shape[newStart] ?? 1
    let oldSize = oldDims[oldStart] ?? 1
    while (newSize !== oldSize) {
      if (newSize < oldSize) newSize *= shape[newEnd++] ?? 1
      else oldSize *= oldDims[oldEnd++] ?? 1
    }
    for (let axis = oldStart; axis + 1 < oldEnd; axis++) {
      if (oldStrides[axis] !== (oldStrides[axis + 1] ?? 0) * (oldDims[axis + 1] ?? 1)) return null
    }
    let stride = oldStrides[oldEnd - 1] ?? 0
    for (let axis = newEnd - 1; axis >= newStart; axis--) {
      strides[axis] = stride
      stride *= shape[axis] ?? 1
    }
    newStart = newEnd
    oldStart = oldEnd
  }
  return { shape, strides, offset: layout.offset }
}
