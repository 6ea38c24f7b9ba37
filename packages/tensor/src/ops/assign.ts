/**
 * In-place writes, with the meaning they have in an eager library: reads made before see the old value, reads made after
 * see the new one. The write itself runs with the next evaluation.
 */
import { ShapeError, TensorStateError } from '../device/errors.js'
import { Node, readOf } from '../graph/node.js'
import { expandLayout, sameShape } from '../graph/shape.js'
import { deviceOf, type Tensor } from '../graph/tensor.js'
import { copy } from './elementwise.js'

/**
 * Writes `value` into `target`, a whole tensor or a view of one that owns its buffer.
 *
 * @throws {ShapeError} shapes differ (value may broadcast), or the target has no buffer of its own.
 */
export function assign(target: Tensor, value: Tensor): void {
  const { node } = target
  if (node.spec.kind !== 'source') {
    throw new TensorStateError(
      'assign(): the target must come from buffer(), tensor() or a ParameterSet, or be a view of one.',
    )
  }
  if (target.layout.strides.some((stride, axis) => stride === 0 && (target.shape[axis] ?? 1) > 1)) {
    throw new ShapeError('assign(): an expanded view cannot be written, its elements share memory.')
  }
  const source = value.node.spec.kind === 'source' ? copy(value.detached()) : value
  const layout = sameShape(source.shape, target.shape)
    ? source.layout
    : expandLayout(source.layout, target.shape, 'assign()')
  const write = new Node(
    { kind: 'assign', target: node, layout: target.layout },
    [readOf(source.node, layout)],
    target.shape,
    target.dtype,
  )
  deviceOf([target, value], 'assign()').addWrite(write)
}
