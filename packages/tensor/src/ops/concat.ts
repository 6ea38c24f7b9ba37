/**
 * Joining tensors along an axis. Constant parts (padding) are written directly, never materialised.
 */
import { record } from '../autograd/tape.js'
import { ShapeError } from '../device/errors.js'
import { Node, readOf } from '../graph/node.js'
import { contiguousLayout, isQuantised, normaliseAxis, sizeOf } from '../graph/shape.js'
import { deviceOf, Tensor } from '../graph/tensor.js'
import { copy } from './elementwise.js'
import { slice, unsqueeze } from './view.js'

/** Joins tensors that agree in all dimensions but `axis`. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  const tensors = parts.map((part) => (isQuantised(part.dtype) ? copy(part) : part))
  const [first] = tensors
  if (!first) throw new ShapeError('concat(): needs at least one tensor.')
  const at = normaliseAxis(axis, first.rank, 'concat()')
  for (const tensor of tensors) {
    const fits =
      tensor.rank === first.rank && tensor.shape.every((d, index) => index === at || d === first.shape[index])
    if (!fits || tensor.dtype !== first.dtype) {
      throw new ShapeError(
        `concat(): ${tensor.dtype}[${tensor.shape.join(', ')}] does not fit ${first.dtype}[${first.shape.join(', ')}] along axis ${axis}; ` +
          `all other dimensions and the dtype must agree.`,
      )
    }
  }
  if (tensors.length === 1) return first
  const lengths = tensors.map(({ shape }) => shape[at] ?? 1)
  const total = lengths.reduce((sum, length) => sum + length, 0)
  const shape = first.shape.map((dimension, index) => (index === at ? total : dimension))
  const spec = {
    kind: 'concat',
    outer: sizeOf(shape.slice(0, at)),
    inner: sizeOf(shape.slice(at + 1)),
    lengths,
  } as const
  const node = new Node(
    spec,
    tensors.map((tensor) => readOf(tensor.node, tensor.layout)),
    shape,
    first.dtype,
  )
  const result = new Tensor(deviceOf(tensors, 'concat()'), node, contiguousLayout(shape))
  record([result], tensors, ([gradient]) => {
    let start = 0
    return lengths.map((length) => {
      const part = gradient ? slice(gradient, at, start, start + length) : null
      start += length
      return part
    })
  })
  return result
}

/** Joins tensors of one shape along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  return concat(
    tensors.map((tensor) => unsqueeze(tensor, axis)),
    axis,
  )
}
