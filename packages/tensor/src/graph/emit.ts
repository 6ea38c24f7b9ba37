/**
 * One planned kernel becomes one or a few dispatches: WGSL text, buffers, uniform words and a grid. Nothing here touches
 * the GPU; what comes out is data that the device encodes.
 */
import type { Target } from './codegen.js'
import type { Dispatch, EmitContext } from './dispatch.js'
import { emitCustom } from './emit-custom.js'
import { emitElementwise } from './emit-elementwise.js'
import { emitMatmul } from './emit-matmul.js'
import { emitReduce } from './emit-reduce.js'
import { Node, type Read } from './node.js'
import type { FusedKernel } from './schedule.js'

export function emit(kernel: FusedKernel, targets: readonly Target[], context: EmitContext): Dispatch[] {
  const { root, anchor } = kernel
  if (root.spec.kind === 'kernel') return [emitCustom(root, root.spec, targets, context)]
  const [target] = targets
  if (!target) throw new Error('Internal: a kernel needs somewhere to write.')
  if (anchor?.spec.kind === 'reduce') return emitReduce(kernel, anchor, anchor.spec, target, context)
  if (anchor?.spec.kind === 'matmul') return emitMatmul(kernel, anchor, anchor.spec, target, context)
  if (root.spec.kind === 'concat') return emitConcat(root, target, context)
  return emitElementwise(kernel, target, context)
}

/** Each part is written to its place by a kernel of its own. */
function emitConcat(root: Node, target: Target, context: EmitContext): Dispatch[] {
  if (root.spec.kind !== 'concat') throw new Error('Internal: not a concat node.')
  const { outer, inner, lengths } = root.spec
  const total = lengths.reduce((sum, length) => sum + length, 0)
  const dispatches: Dispatch[] = []
  let start = 0
  root.inputs.forEach((read, index) => {
    const length = lengths[index] ?? 0
    const shape = [outer, length, inner]
    const layout = { shape, strides: [total * inner, inner, 1], offset: start * inner }
    start += length
    if (length === 0) return
    const flat: Read = { ...read }
    const copy = new Node({ kind: 'assign', target: root, layout }, [flat], shape, root.dtype)
    const kernel: FusedKernel = { root: copy, anchor: null, members: new Map([[copy, 'outer']]), leaves: [flat] }
    dispatches.push(
      ...emitElementwise(kernel, { storage: target.storage, dtype: root.dtype, layout, node: null }, context),
    )
  })
  return dispatches
}
