/**
 * The lazy graph. A node is one operation whose value, when it has one, is contiguous; a read is how another node looks
 * at that value. Ids grow in program order, and a plan runs its kernels in that order: what a program writes first
 * happens first, so in-place writes mean what they mean in an eager library, and memory is needed for as long as an
 * eager program would need it, no longer.
 */
import { TensorStateError } from '../device/errors.js'
import type { BufferUse, PoolBuffer } from '../memory/pool.js'
import { currentTag } from '../memory/tags.js'
import { bytesPerElement, isContiguous, sizeOf, type DType, type Layout, type Shape } from './shape.js'

/** A node's value on the GPU. Parameters of one arena share a buffer at different offsets. */
export interface Storage {
  readonly buffer: PoolBuffer
  readonly byteOffset: number
  readonly bytes: number
  /** Gives the buffer back; storages inside an arena do nothing here. */
  readonly release: () => void
}

/** One node looking at another's value. */
export interface Read {
  readonly node: Node
  readonly layout: Layout
  /** How often the node had been written in place when this read was made. */
  readonly version: number
}

/** How the codes of a quantised weight become numbers. */
export interface Quantization {
  /** f16 or f32, one for every `groupSize` elements in row-major order. */
  readonly scales: Node
  /** A power of two that divides the rows. */
  readonly groupSize: number
}

export interface ReduceSpec {
  readonly kind: 'reduce'
  readonly op: 'sum' | 'max' | 'min'
  /** The input seen as [outer, reduced, inner]: element (o, r, i) sits at (o·reduced + r)·inner + i. */
  readonly outer: number
  readonly reduced: number
  readonly inner: number
}

export interface MatmulSpec {
  readonly kind: 'matmul'
  readonly batch: readonly [number, number, number]
  readonly m: number
  readonly n: number
  readonly k: number
}

/** A uniform value of a hand-written kernel. */
export type KernelParameter = readonly ['u32' | 'i32' | 'f32', number]

export interface KernelSpec {
  readonly kind: 'kernel'
  readonly name: string
  readonly inputNames: readonly string[]
  readonly outputs: readonly { readonly name: string; readonly shape: Shape; readonly dtype: DType }[]
  readonly params: Readonly<Record<string, KernelParameter>>
  readonly constants: Readonly<Record<string, number>>
  readonly workgroupSize: readonly [number, number, number]
  readonly dispatch: readonly [number, number, number]
  readonly body: string
  /** Sources the kernel updates in place, bound read-write after the outputs. */
  readonly writes: readonly { readonly name: string; readonly node: Node; readonly layout: Layout }[]
  /** Outputs are filled with zeros before the kernel runs. */
  readonly zeroOutputs: boolean
  /** Inputs, outputs and writes whose accessors move four elements. */
  readonly vectors: ReadonlySet<string>
  readonly subgroups: boolean
}

export type NodeSpec =
  | { readonly kind: 'source' }
  /** One number, everywhere. Its value is uniform data, never part of a pipeline. */
  | { readonly kind: 'constant'; readonly value: number }
  /** The index along an axis seen as [outer, length, inner]. */
  | { readonly kind: 'iota'; readonly length: number; readonly inner: number }
  | { readonly kind: 'elementwise'; readonly op: string }
  | ReduceSpec
  | MatmulSpec
  | { readonly kind: 'concat'; readonly outer: number; readonly inner: number; readonly lengths: readonly number[] }
  | KernelSpec
  /** One output of a kernel with several. */
  | { readonly kind: 'output'; readonly index: number }
  /** Writes its value input into a view of a source. */
  | { readonly kind: 'assign'; readonly target: Node; readonly layout: Layout }

let nextId = 1
let lastMark = 0

/** A number for a walk over the graph that notes something at nodes; see {@link Node.mark}. */
export function newMark(): number {
  return ++lastMark
}

const NONE: readonly Node[] = []

export class Node implements BufferUse {
  readonly id = nextId++
  readonly size: number
  /** What its memory is for. */
  readonly tag = currentTag()
  storage: Storage | null = null
  disposed = false
  /** Why the contents of its buffer are not what the program says, if so. */
  invalid: string | null = null
  /** Set by an evaluation that keeps this value for a later one; dropped after its last use there. */
  retained = false
  label: string | undefined
  /** In-place writes made so far (program order, run or not). */
  version = 0
  /** In-place writes that have not run yet, in program order. */
  pendingWrites: readonly Node[] = NONE
  /** Nodes that share its memory and are written with it: those inside an arena, the codes of a quantised weight. */
  parts: readonly Node[] = NONE
  /** Of codes (dtype q8, q4): their scales. */
  quantization: Quantization | null = null
  /** Of a kernel: the node of each output. */
  outputs: readonly Node[] = NONE
  /** Of a kernel that writes in place: it has run, and must not run again. */
  hasWritten = false
  /** What the walk over the graph that goes on noted here in `place`, where this is its number. Walks do not nest. */
  mark = 0
  place = 0

  constructor(
    readonly spec: NodeSpec,
    public inputs: readonly Read[],
    readonly shape: Shape,
    readonly dtype: DType,
  ) {
    this.size = sizeOf(shape)
  }

  /** Bytes of the value; of codes with their scales behind them. */
  get bytes(): number {
    const bytes = this.size * bytesPerElement[this.dtype]
    return this.quantization ? Math.ceil(bytes / 256) * 256 + this.quantization.scales.bytes : bytes
  }

  describe(): string {
    return `${this.label ?? operationName(this)} ${this.dtype}[${this.shape.join(', ')}]`
  }

  invalidate(reason: string): void {
    this.invalid = reason
  }
}

/** The operation that makes a node, in one word. */
export function operationName({ spec, inputs }: Node): string {
  if (spec.kind === 'elementwise') return spec.op
  if (spec.kind === 'reduce') return spec.op
  if (spec.kind === 'kernel') return spec.name
  const [maker] = inputs
  if (spec.kind === 'output' && maker?.node.spec.kind === 'kernel') {
    return `${maker.node.spec.name}.${maker.node.spec.outputs[spec.index]?.name ?? spec.index}`
  }
  return spec.kind
}

/** Fails when the node's value was given back, or is not what it should be. */
export function checkAlive(node: Node): void {
  if (node.invalid !== null) {
    throw new TensorStateError(
      `The contents of ${node.describe()} are not to be trusted: ${node.invalid}. Write or clear it, or load a checkpoint.`,
    )
  }
  if (node.disposed) {
    throw new TensorStateError(
      `Tensor${node.label ? ` '${node.label}'` : ''} of shape [${node.shape.join(', ')}] was disposed and cannot be used. ` +
        `Keep it with scope.keep(tensor), or dispose it later.`,
    )
  }
}

export function readOf(node: Node, layout: Layout): Read {
  checkAlive(node)
  return { node, layout, version: node.version }
}

/** True when element i of the read, in row-major order, is element i of the node. */
export function isIdentity(read: Read): boolean {
  return read.layout.offset === 0 && sizeOf(read.layout.shape) === read.node.size && isContiguous(read.layout)
}

/** Fails when the value a read was made for has since been overwritten. */
export function checkVersion(read: Read): void {
  if (read.version + read.node.pendingWrites.length < read.node.version) {
    throw new TensorStateError(
      `A tensor that depends on ${read.node.label ? `'${read.node.label}'` : `a [${read.node.shape.join(', ')}] tensor`} is evaluated ` +
        `after that was written in place (version ${read.version} is wanted, ${read.node.version} is there). ` +
        `Evaluate it before the write, or build it again after.`,
    )
  }
}
