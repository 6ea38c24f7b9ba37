/**
 * Matrix products over any strides: transposes, broadcasts and slices are read in place.
 */
import { noGrad, record } from '../autograd/tape.js'
import { ShapeError } from '../device/errors.js'
import { Node, readOf } from '../graph/node.js'
import {
  broadcastShapes,
  contiguousLayout,
  expandLayout,
  isFloat,
  reshapeLayout,
  type Layout,
  type Shape,
} from '../graph/shape.js'
import { Tensor } from '../graph/tensor.js'
import { add, copy, sumTo } from './elementwise.js'
import { expand, reshape, transpose } from './view.js'

/** The operand's layout with exactly three batch dimensions, or null when strides cannot express it. */
function batched(layout: Layout, batch: Shape): Layout | null {
  const [rows, columns] = [layout.shape.at(-2) ?? 1, layout.shape.at(-1) ?? 1]
  const [rowStride, columnStride] = [layout.strides.at(-2) ?? 0, layout.strides.at(-1) ?? 0]
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
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2), 'matmul()')
  const layoutA = batched(a.layout, batch)
  const layoutB = batched(b.layout, batch)
  if (!layoutA || !layoutB) {
    // More than three batch dimensions, broadcast so that no strides walk them: the operand is repeated.
    return matmul(layoutA ? a : copy(expand(a, [...batch, m, k])), layoutB ? b : copy(expand(b, [...batch, k, n])))
  }
  const [b0 = 1, b1 = 1, b2 = 1] = layoutA.shape
  const shape = [...batch, m, n]
  const node = new Node(
    { kind: 'matmul', batch: [b0, b1, b2], m, n, k },
    [readOf(a.node, layoutA), readOf(b.node, layoutB)],
    shape,
    'f32',
  )
  const result = new Tensor(a.device, node, contiguousLayout(shape))
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
