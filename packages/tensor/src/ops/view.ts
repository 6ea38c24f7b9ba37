/**
 * Views: new layouts over the same value. Only `reshape` and `contiguous` may copy, when strides do not allow a view.
 */
import { record } from '../autograd/tape.js'
import { ShapeError } from '../device/errors.js'
import {
  checkShape,
  contiguousLayout,
  expandLayout,
  isContiguous,
  normaliseAxis,
  reshapeLayout,
  sameShape,
  sizeOf,
  type Layout,
  type Shape,
} from '../graph/shape.js'
import { Tensor } from '../graph/tensor.js'
import { copy, sumTo } from './elementwise.js'
import { concat } from './concat.js'

function view(x: Tensor, layout: Layout, vjp: (gradient: Tensor) => Tensor): Tensor {
  const result = new Tensor(x.device, x.node, layout)
  record([result], [x], ([gradient]) => [gradient ? vjp(gradient) : null])
  return result
}

/** The same elements in row-major order under another shape; one dimension may be −1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  if (sameShape(shape, x.shape)) return x
  const unknown = shape.indexOf(-1)
  const target = unknown < 0 ? shape : shape.with(unknown, x.size / -sizeOf(shape))
  if (sizeOf(target) !== x.size || target.includes(-1) || !target.every(Number.isInteger)) {
    throw new ShapeError(
      `reshape(): [${x.shape.join(', ')}] (${x.size} elements) does not fit [${shape.join(', ')}]; at most one dimension may be −1.`,
    )
  }
  if (unknown >= 0 && sameShape(target, x.shape)) return x
  const layout = x.size === 0 ? contiguousLayout(target) : reshapeLayout(x.layout, target)
  if (!layout) return reshape(copy(x), target)
  return view(x, layout, (gradient) => reshape(gradient, x.shape))
}

/** A tensor whose elements lie in row-major order from the start of its node. */
export function contiguous(x: Tensor): Tensor {
  return isContiguous(x.layout) && x.layout.offset === 0 && x.size === x.node.size ? x : copy(x)
}

/** Axis k of the result is axis `axes[k]` of `x`. */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  const order = axes.map((axis) => normaliseAxis(axis, x.rank, 'permute()'))
  if (order.length !== x.rank || new Set(order).size !== x.rank) {
    throw new ShapeError(`permute(): [${axes.join(', ')}] must name each of the ${x.rank} axes once.`)
  }
  const inverse = order.map((_, axis) => order.indexOf(axis))
  const layout = {
    shape: order.map((axis) => x.shape[axis] ?? 1),
    strides: order.map((axis) => x.layout.strides[axis] ?? 0),
    offset: x.layout.offset,
  }
  return view(x, layout, (gradient) => permute(gradient, inverse))
}

function swapped(list: readonly number[]): number[] {
  const result = list.slice()
  const last = list.length - 1
  result[last] = list[last - 1] ?? 1
  result[last - 1] = list[last] ?? 1
  return result
}

/** Swaps the last two axes. */
export function transpose(x: Tensor): Tensor {
  if (x.rank < 2) throw new ShapeError(`transpose(): needs rank ≥ 2, got [${x.shape.join(', ')}].`)
  const { shape, strides, offset } = x.layout
  return view(x, { shape: swapped(shape), strides: swapped(strides), offset }, transpose)
}

/** Repeats dimensions of size 1 (and new leading ones) without copying. */
export function expand(x: Tensor, shape: Shape): Tensor {
  checkShape(shape, 'expand()')
  if (sameShape(shape, x.shape)) return x
  return view(x, expandLayout(x.layout, shape, 'expand()'), (gradient) => sumTo(gradient, x.shape))
}

/** Inserts a dimension of size 1 before `axis`. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  const at = normaliseAxis(axis, x.rank + 1, 'unsqueeze()')
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)])
}

/** Drops the given dimension of size 1, or all of them. */
export function squeeze(x: Tensor, axis?: number): Tensor {
  if (axis === undefined)
    return reshape(
      x,
      x.shape.filter((dimension) => dimension !== 1),
    )
  const at = normaliseAxis(axis, x.rank, 'squeeze()')
  if (x.shape[at] !== 1) throw new ShapeError(`squeeze(): axis ${axis} has size ${x.shape[at]}, not 1.`)
  return reshape(x, [...x.shape.slice(0, at), ...x.shape.slice(at + 1)])
}

/** Merges all axes into one. */
export function flatten(x: Tensor): Tensor {
  return reshape(x, [x.size])
}

/** Elements `start` ≤ index < `end` along an axis; negative bounds count from the end. */
export function slice(x: Tensor, axis: number, start: number, end?: number): Tensor {
  const at = normaliseAxis(axis, x.rank, 'slice()')
  const length = x.shape[at] ?? 1
  const from = start < 0 ? start + length : start
  const to = end === undefined ? length : end < 0 ? end + length : end
  if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to > length || from > to) {
    throw new ShapeError(`slice(): ${start}..${end ?? ''} does not lie in axis ${axis} of size ${length}.`)
  }
  if (from === 0 && to === length) return x
  const layout = {
    shape: x.shape.map((dimension, index) => (index === at ? to - from : dimension)),
    strides: x.layout.strides,
    offset: x.layout.offset + from * (x.layout.strides[at] ?? 0),
  }
  return view(x, layout, (gradient) => pad(gradient, at, from, length - to))
}

/** Cuts an axis into pieces of the given sizes, which must add up to it. */
export function split(x: Tensor, axis: number, sizes: readonly number[]): Tensor[] {
  const at = normaliseAxis(axis, x.rank, 'split()')
  const total = sizes.reduce((sum, size) => sum + size, 0)
  if (total !== x.shape[at]) {
    throw new ShapeError(
      `split(): sizes ${sizes.join(' + ')} = ${total} do not add up to axis ${axis} of size ${x.shape[at]}.`,
    )
  }
  let start = 0
  return sizes.map((size) => slice(x, at, start, (start += size)))
}

/** Zeros before and after along an axis. */
export function pad(x: Tensor, axis: number, before: number, after: number): Tensor {
  const at = normaliseAxis(axis, x.rank, 'pad()')
  const zeros = (length: number) =>
    x.device.zeros(
      x.shape.map((dimension, index) => (index === at ? length : dimension)),
      x.dtype,
    )
  const parts = [...(before > 0 ? [zeros(before)] : []), x, ...(after > 0 ? [zeros(after)] : [])]
  return parts.length === 1 ? x : concat(parts, at)
}
