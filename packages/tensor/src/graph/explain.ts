/**
 * The graph and the plan as text: which operations a tensor is made of, which of them run in one kernel, and what that
 * kernel reads and writes. For people; nothing else depends on the form.
 */
import { isIdentity, operationName, type Node, type Read } from './node.js'
import { sizeOf } from './shape.js'
import type { RehearsedKernel } from './rehearse.js'

/** One kernel of a plan. */
export interface ExplainedKernel {
  /** What the profiler calls its dispatches. */
  readonly labels: readonly string[]
  /** Operations computed in it, in program order, as in `matmul → add → relu`. */
  readonly members: readonly string[]
  readonly reads: readonly string[]
  readonly writes: readonly string[]
  /** Bytes read and written, each buffer once. */
  readonly readBytes: number
  readonly writtenBytes: number
  /** Bytes of values that would be written and read again if every operation were a kernel of its own. */
  readonly savedBytes: number
}

/** What an evaluation would run. */
export interface Explanation {
  readonly kernels: readonly ExplainedKernel[]
  /** For people. */
  toString(): string
}

const typeOf = ({ dtype, shape }: Node) => `${dtype}[${shape.join(', ')}]`
const nameOf = (node: Node) => (node.label === undefined ? `%${node.id}` : `'${node.label}'`)
const nameAndType = (node: Node) => `${nameOf(node)} ${typeOf(node)}`
const isNumber = ({ spec }: Node) => spec.kind === 'constant' || spec.kind === 'iota'

function unique(reads: readonly Read[]): Node[] {
  return [...new Set(reads.map(({ node }) => node))].filter((node) => !isNumber(node))
}

function targetsOf({ spec, outputs }: Node): readonly Node[] | null {
  if (spec.kind === 'assign') return [spec.target]
  if (spec.kind === 'kernel') return [...outputs, ...spec.writes.map(({ node }) => node)]
  return null
}

function explainKernel({ kernel, dispatches }: RehearsedKernel): ExplainedKernel {
  const { root, members, leaves } = kernel
  const operations = [...members.keys()].filter((node) => !isNumber(node)).sort((a, b) => a.id - b.id)
  const reads = unique(leaves)
  const writes = targetsOf(root) ?? [root]
  const sum = (nodes: readonly Node[]) => nodes.reduce((total, node) => total + node.bytes, 0)
  const written =
    root.spec.kind === 'assign' ? sizeOf(root.spec.layout.shape) * (root.bytes / Math.max(1, root.size)) : sum(writes)
  return {
    labels: dispatches.map(({ label }) => label),
    members: operations.map(operationName),
    reads: reads.map(nameAndType),
    writes: writes.map(nameAndType),
    readBytes: sum(reads),
    writtenBytes: written,
    savedBytes: 2 * sum(operations.filter((node) => node !== root)),
  }
}

export function explainKernels(kernels: readonly RehearsedKernel[]): Explanation {
  const explained = kernels.map(explainKernel)
  return { kernels: explained, toString: () => explained.map(kernelText).join('\n') }
}

function kernelText(kernel: ExplainedKernel, index: number): string {
  const { members, reads, writes, readBytes, writtenBytes, savedBytes, labels } = kernel
  const saved = savedBytes > 0 ? `, ${savedBytes} bytes never leave registers` : ''
  return [
    `kernel ${index}: ${members.join(' → ')}`,
    `  reads   ${reads.join(', ') || 'nothing'} (${readBytes} bytes)`,
    `  writes  ${writes.join(', ')} (${writtenBytes} bytes${saved})`,
    ...(labels.length > 1 ? [`  in ${labels.length} dispatches: ${labels.join('; ')}`] : []),
  ].join('\n')
}

function operandText(read: Read): string {
  if (read.node.spec.kind === 'constant') return String(read.node.spec.value)
  if (isIdentity(read)) return nameOf(read.node)
  const { shape, strides, offset } = read.layout
  return `${nameOf(read.node)}[shape ${shape.join('×')}, strides ${strides.join(',')}${offset ? `, from ${offset}` : ''}]`
}

/** The lazy graph below a node: a line per operation in program order, operands before what is made of them. */
export function graphText(root: Node): string {
  const seen = new Set<Node>()
  const stack = [root]
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (seen.has(node)) continue
    seen.add(node)
    // A kernel of several outputs stands behind its outputs.
    for (const { node: input } of node.storage && node !== root ? [] : node.inputs) stack.push(input)
  }
  return [...seen]
    .filter((node) => !isNumber(node) || node === root)
    .sort((a, b) => a.id - b.id)
    .map((node) => {
      const state = node.storage ? ' (computed)' : ''
      const operands = node.inputs.map(operandText).join(', ')
      return `${nameOf(node)} = ${operationName(node)}(${node.storage ? '' : operands}) ${typeOf(node)}${state}`
    })
    .join('\n')
}
