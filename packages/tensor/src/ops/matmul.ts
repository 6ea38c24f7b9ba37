/**
 * Matrix products over any strides: transposes, broadcasts and slices are read in place.
 */
import { noGrad, record } from '../autograd/tape.js'
import type { Device } from '../device/device.js'
import { ShapeError } from '../device/errors.js'
import { Node, readOf } from '../graph/node.js'
import {
  broadcastShapes,
  contiguousLayout,
  bytesPerElement,
  expandLayout,
  isFloat,
  reshapeLayout,
  type DType,
  type Layout,
  type Shape,
} from '../graph/shape.js'
import { deviceOf, Tensor } from '../graph/tensor.js'
import { add, copy, sumTo } from './elementwise.js'
import { expand, reshape, transpose } from './view.js'

/** The operand's layout with exactly three batch dimensions, or null when strides cannot express it. */
function batched(layout: Layout, batch: Shape): Layout | null {
  const { length } = layout.shape
  const [rows, columns] = [layout.shape[length - 2] ?? 1, layout.shape[length - 1] ?? 1]
  const [rowStride, columnStride] = [layout.strides[length - 2] ?? 0, layout.strides[length - 1] ?? 0]
  if (batch.length === 0) {
    return { shape: [1, 1, 1, rows, columns], strides: [1, 1, 1, rowStride, columnStride], offset: layout.offset }
  }
  const lead = { shape: layout.shape.slice(0, -2), strides: layout.strides.slice(0, -2), offset: layout.offset }
  const expanded = expandLayout(lead, batch, 'matmul()')
  const three = batch.length <= 3 ? [...new Array<number>(3 - batch.length).fill(1), ...batch] : null
  const fitted = reshapeLayout(expanded, three ?? [batch.slice(0, -2).reduce((a, b) => a * b, 1), ...batch.slice(-2)])
  if (!fitted) return null
  return {
    shape: [...fitted.shape, rows, columns],
    strides: [...fitted.strides, rowStride, columnStride],
    offset: layout.offset,
  }
}

/**
 * Parts of K that keep an operand within reach. An operand whose rows run across K lies all over its buffer for every
 * part of the result, so where that is more than a third of a stage's bindings can show, K itself is cut.
 */
function partsOfK({ limits }: Device, k: number, { shape, strides }: Layout, dtype: DType, isLeft: boolean): number {
  const { maxStorageBufferBindingSize, maxStorageBuffersPerShaderStage } = limits
  const [rowStride = 0, columnStride = 0] = [strides[3], strides[4]]
  const [strideK, other] = isLeft ? [columnStride, rowStride] : [rowStride, columnStride]
  const last = ((shape[3] ?? 1) - 1) * rowStride + ((shape[4] ?? 1) - 1) * columnStride
  const span = (last + 1) * bytesPerElement[dtype]
  if (strideK <= other || span <= maxStorageBufferBindingSize) return 1
  const reach = Math.max(1, Math.floor((maxStorageBuffersPerShaderStage - 2) / 3)) * maxStorageBufferBindingSize
  return Math.min(k, Math.ceil(span / reach))
}

/** The layout restricted to a range of an axis. */
function part(layout: Layout, axis: 3 | 4, from: number, to: number): Layout {
  if (from === 0 && to === layout.shape[axis]) return layout
  return {
    shape: layout.shape.map((size, at) => (at === axis ? to - from : size)),
    strides: layout.strides,
    offset: layout.offset + from * (layout.strides[axis] ?? 0),
  }
}

/** The product of operands with three batch dimensions, unrecorded. */
function product(a: Tensor, b: Tensor, layoutA: Layout, layoutB: Layout, shape: Shape): Tensor {
  const [b0 = 1, b1 = 1, b2 = 1, m = 1, k = 1] = layoutA.shape
  const n = layoutB.shape[4] ?? 1
  const parts = Math.max(partsOfK(a.device, k, layoutA, a.dtype, true), partsOfK(b.device, k, layoutB, b.dtype, false))
  const each = Math.ceil(k / parts)
  let total: Tensor | null = null
  for (let from = 0; from < k || total === null; from += each) {
    const to = Math.min(k, from + each)
    const reads = [readOf(a.node, part(layoutA, 4, from, to)), readOf(b.node, part(layoutB, 3, from, to))]
    const node = new Node({ kind: 'matmul', batch: [b0, b1, b2], m, n, k: to - from }, reads, shape, 'f32')
    const sum: Tensor = new Tensor(a.device, node, contiguousLayout(shape))
    total = total ? noGrad(() => add(total as Tensor, sum)) : sum
  }
  return total
}

/**
 * `[..., M, K] × [..., K, N] → [..., M, N]`, leading dimensions broadcast. Accumulates in f32.
 *
 * @throws {ShapeError} rank below 2, or inner dimensions differ.
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  const m = a.shape.at(-2)
  const k = a.shape.at(-1)
  const n = b.shape.at(-1)
  if (m === undefined || k === undefined || n === undefined || b.rank < 2 || b.shape.at(-2) !== k) {
    throw new ShapeError(
      `matmul(): [${a.shape.join(', ')}] × [${b.shape.join(', ')}] does not fit; the last dimension of the first must equal ` +
        `the second-last of the second, both of rank ≥ 2.`,
    )
  }
  for (const { dtype } of [a, b]) {
    if (!isFloat(dtype)) throw new ShapeError(`matmul(): needs float tensors, got ${dtype}; cast first.`)
  }
  deviceOf([a, b], 'matmul()')
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2), 'matmul()')
  const layoutA = batched(a.layout, batch)
  const layoutB = batched(b.layout, batch)
  if (!layoutA || !layoutB) {
    // More than three batch dimensions, broadcast so that no strides walk them: the operand is repeated.
    return matmul(layoutA ? a : copy(expand(a, [...batch, m, k])), layoutB ? b : copy(expand(b, [...batch, k, n])))
  }
  const result = product(a, b, layoutA, layoutB, [...batch, m, n])
  record([result], [a, b], ([gradient]) => {
    if (!gradient) return [null, null]
    return [
      a.requiresGrad ? sumTo(matmul(gradient, transpose(b)), a.shape) : null,
      b.requiresGrad ? sumTo(matmul(transpose(a), gradient), b.shape) : null,
    ]
  })
  return result
}

/** `x · weightᵀ + bias` for x `[..., in]`, weight `[out, in]`, bias `[out]`. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const [output, input] = weight.shape
  if (weight.rank !== 2 || x.shape.at(-1) !== input || output === undefined) {
    throw new ShapeError(
      `linear(): x [${x.shape.join(', ')}] does not fit weight [${weight.shape.join(', ')}]; the last dimension of x must be weight's second.`,
    )
  }
  const rows = reshape(x, [-1, input ?? 1])
  const product = noGrad(() => matmul(rows, transpose(weight)))
  record([product], [rows, weight], ([gradient]) => {
    if (!gradient) return [null, null]
    // The weight's gradient comes out in the weight's own layout, so accumulating it is the matmul's epilogue.
    return [
      rows.requiresGrad ? matmul(gradient, weight) : null,
      weight.requiresGrad ? matmul(transpose(gradient), rows) : null,
    ]
  })
  const shifted = bias ? add(product, bias) : product
  return reshape(shifted, [...x.shape.slice(0, -1), output])
}
