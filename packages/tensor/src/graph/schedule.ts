/**
 * From a lazy graph to a list of kernels. An elementwise node joins the kernel of its consumers when all of them are in
 * one kernel and read it element by element; a reduction or a matmul joins the elementwise kernel behind it as its
 * anchor, so biases, activations, residuals and gradient accumulation become its epilogue. Whatever is read through
 * another layout, read by two kernels, or asked for, is materialised.
 */
import { checkAlive, checkVersion, isIdentity, type Node, type Read } from './node.js'

/** Where an inlined node is computed: once per output element, or once per element under the reduction. */
type Zone = 'outer' | 'inner'

/** One kernel: a root whose value is stored, and the nodes computed with it in registers. */
export interface FusedKernel {
  readonly root: Node
  /** Reduction or matmul computed in the same kernel below the root; the root itself when it is one. */
  readonly anchor: Node | null
  readonly members: ReadonlyMap<Node, Zone>
  /** Values read from memory, all materialised when the kernel runs. */
  readonly leaves: readonly Read[]
}

/** The operations of a kernel, for people. */
export function labelOf(kernel: FusedKernel): string {
  const ops = [...kernel.members.keys()].map(({ spec }) => (spec.kind === 'elementwise' ? spec.op : spec.kind))
  return ops.length > 6 ? `${ops.slice(0, 6).join('+')}+${ops.length - 6} more` : ops.reverse().join('+')
}

interface Use {
  readonly consumer: Node
  readonly identity: boolean
}

const isFree = (node: Node) => node.spec.kind === 'constant' || node.spec.kind === 'iota'

/** True for nodes that change a source in place. */
const isWrite = (node: Node) => writtenBy(node).length > 0

/** Lazy nodes the roots depend on, in program order. */
function neededNodes(roots: readonly Node[]): Node[] {
  const seen = new Set<Node>()
  const stack = [...roots]
  const needed: Node[] = []
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (seen.has(node) || node.storage) continue
    seen.add(node)
    if (node.spec.kind === 'source') continue
    needed.push(node)
    for (const read of node.inputs) {
      checkAlive(read.node)
      checkVersion(read)
      stack.push(read.node)
    }
  }
  return needed.sort((a, b) => a.id - b.id)
}

/** True when a write between the node and the kernel it would join changes something the node reads. */
function crossesWrite(node: Node, root: Node): boolean {
  return node.inputs.some((read) => read.node.pendingWrites.some((write) => write.id > node.id && write.id < root.id))
}

function sameElements(a: Read, target: Node, layout: Read['layout']): boolean {
  return (
    a.node === target &&
    a.layout.offset === layout.offset &&
    a.layout.strides.length === layout.strides.length &&
    a.layout.strides.every((stride, axis) => stride === layout.strides[axis] || layout.shape[axis] === 1)
  )
}

/** True when computing the node inside the write would read and write one buffer at different places. */
function aliasesTarget(node: Node, root: Node): boolean {
  const { spec } = root
  if (spec.kind !== 'assign') return false
  const target = spec.target.storage?.buffer
  return node.inputs.some(
    (read) => read.node.storage?.buffer === target && !sameElements(read, spec.target, spec.layout),
  )
}

class KernelBuilder {
  readonly members = new Map<Node, Zone>()
  private readonly candidates = new Map<Node, Zone>()
  private readonly leafReads: Read[] = []
  private anchor: Node | null = null

  constructor(
    private readonly root: Node,
    private readonly uses: ReadonlyMap<Node, readonly Use[]>,
    private readonly materialised: ReadonlySet<Node>,
    private readonly maxLeaves: number,
    private readonly bindingLimit: number,
  ) {}

  build(): FusedKernel {
    const { root } = this
    const grows = root.spec.kind === 'elementwise' || root.spec.kind === 'reduce' || root.spec.kind === 'assign'
    if (root.spec.kind === 'reduce' || root.spec.kind === 'matmul') this.anchor = root
    this.members.set(root, 'outer')
    if (!grows) {
      this.leafReads.push(...root.inputs)
      return { root, anchor: this.anchor, members: this.members, leaves: this.leafReads }
    }
    this.propose(root, 'outer')
    for (let next = this.takeLatest(); next; next = this.takeLatest()) {
      const [node, zone] = next
      if (this.fits(node, zone)) {
        this.members.set(node, zone)
        if (node.spec.kind === 'reduce' || node.spec.kind === 'matmul') this.anchor = node
        this.propose(node, zone)
      }
    }
    for (const node of this.members.keys()) {
      for (const read of node.inputs) if (!this.members.has(read.node)) this.leafReads.push(read)
    }
    return { root, anchor: this.anchor, members: this.members, leaves: this.leafReads }
  }

  private propose(node: Node, zone: Zone): void {
    if (node.spec.kind === 'matmul') return
    const inputZone: Zone = node.spec.kind === 'reduce' ? 'inner' : zone
    for (const read of node.inputs) if (!this.candidates.has(read.node)) this.candidates.set(read.node, inputZone)
  }

  private takeLatest(): [Node, Zone] | undefined {
    let latest: [Node, Zone] | undefined
    for (const entry of this.candidates) if (!latest || entry[0].id > latest[0].id) latest = entry
    if (latest) this.candidates.delete(latest[0])
    return latest
  }

  private fits(node: Node, zone: Zone): boolean {
    if (node.storage || this.materialised.has(node)) return false
    const uses = this.uses.get(node) ?? []
    const here = uses.filter((use) => this.members.has(use.consumer))
    const identical = here.every((use) => use.identity && this.inputZone(use.consumer) === zone)
    if (node.spec.kind === 'constant') return true
    if (node.spec.kind === 'iota') return identical
    const isAnchor = node.spec.kind === 'reduce' || node.spec.kind === 'matmul'
    if (node.spec.kind !== 'elementwise' && !isAnchor) return false
    if (here.length !== uses.length || !identical) return false
    if (isAnchor && (zone === 'inner' || this.anchor !== null)) return false
    if (zone === 'outer' && this.anchor !== null && this.isEpilogue(node)) return false
    if (crossesWrite(node, this.root) || aliasesTarget(node, this.root)) return false
    return this.leafBound(node) <= this.maxLeaves
  }

  /**
   * True when the node can be the epilogue of a reduction or matmul of its own. In a chain of such (partial sums of a
   * gradient) each then takes its own addition along, instead of all parts waiting in memory for the last.
   */
  private isEpilogue(node: Node): boolean {
    return node.inputs.some((read) => {
      const { kind } = read.node.spec
      const waits = !read.node.storage && !this.materialised.has(read.node)
      return (
        (kind === 'reduce' || kind === 'matmul') && waits && isIdentity(read) && this.uses.get(read.node)?.length === 1
      )
    })
  }

  private inputZone(consumer: Node): Zone {
    return consumer.spec.kind === 'reduce' ? 'inner' : (this.members.get(consumer) ?? 'outer')
  }

  /** Upper bound of the bindings read if the node joins: more than one for values beyond a binding, and for codes. */
  private leafBound(joining: Node): number {
    const leaves = new Set<Node>()
    const consider = (node: Node) => {
      for (const read of node.inputs) {
        if (!isFree(read.node) && !this.members.has(read.node) && read.node !== joining) leaves.add(read.node)
      }
    }
    for (const member of this.members.keys()) consider(member)
    consider(joining)
    let slots = 0
    for (const leaf of leaves)
      slots += Math.max(1, Math.ceil(leaf.bytes / this.bindingLimit)) + (leaf.quantization ? 1 : 0)
    return slots
  }
}

/**
 * When a kernel runs. A write into something nobody reads in this plan (a gradient accumulator) runs as soon as its
 * operands exist, so that they can be freed; everything else runs in program order.
 */
function positionOf({ root, leaves, members }: FusedKernel, uses: ReadonlyMap<Node, readonly Use[]>): number {
  if (root.spec.kind !== 'assign') return root.id
  const { target } = root.spec
  if (
    target.pendingWrites.length > 1 ||
    leaves.some((read) => read.node.pendingWrites.length > 0 && read.node !== target)
  )
    return root.id
  const others = leaves.filter(({ node }) => node !== target)
  const sharing = [target, ...target.parts]
  if (sharing.some((node) => (uses.get(node) ?? []).some(({ consumer }) => !members.has(consumer)))) return root.id
  return others.reduce((latest, { node }) => Math.max(latest, node.storage ? 0 : node.id + 0.5), 0)
}

/**
 * Kernels that materialise `requested` and run `writes`, in program order.
 *
 * @param maxLeaves Most bindings one kernel may read.
 * @param bindingLimit Most bytes of one binding.
 */
export function schedule(
  requested: readonly Node[],
  writes: readonly Node[],
  maxLeaves: number,
  bindingLimit: number,
): FusedKernel[] {
  const nodes = neededNodes([...requested, ...writes])
  const uses = new Map<Node, Use[]>()
  for (const consumer of nodes) {
    for (const read of consumer.inputs) {
      const list = uses.get(read.node)
      const use = { consumer, identity: isIdentity(read) }
      if (list) list.push(use)
      else uses.set(read.node, [use])
    }
  }
  const materialised = new Set<Node>(requested.filter((node) => !node.storage))
  for (const node of nodes) if (isWrite(node)) materialised.add(node)
  const kernels: { kernel: FusedKernel; position: number }[] = []
  for (let index = nodes.length - 1; index >= 0; index--) {
    const node = nodes[index]
    if (!node || !materialised.has(node)) continue
    const kernel = new KernelBuilder(node, uses, materialised, maxLeaves, bindingLimit).build()
    for (const read of kernel.leaves) if (!read.node.storage) materialised.add(read.node)
    if (node.spec.kind === 'output') continue
    kernels.push({ kernel, position: positionOf(kernel, uses) })
  }
  return kernels.sort((a, b) => a.position - b.position).map(({ kernel }) => kernel)
}

/** Kernels the given nodes depend on, in order. */
export function reachable(kernels: readonly FusedKernel[], roots: readonly Node[]): FusedKernel[] {
  const wanted = new Set<Node>(roots)
  const chosen: FusedKernel[] = []
  for (let index = kernels.length - 1; index >= 0; index--) {
    const kernel = kernels[index]
    if (!kernel) continue
    const produced = kernel.root.spec.kind === 'kernel' ? [kernel.root, ...kernel.root.outputs] : [kernel.root]
    if (!produced.some((node) => wanted.has(node))) continue
    chosen.push(kernel)
    for (const { node } of kernel.leaves) wanted.add(node)
  }
  return chosen.reverse()
}

/** Sources a node changes in place, those inside a written arena included. */
export function writtenBy(node: Node): readonly Node[] {
  if (node.spec.kind === 'assign') return [node.spec.target, ...node.spec.target.parts]
  if (node.spec.kind !== 'kernel') return []
  return node.spec.writes.flatMap((write) => [write.node, ...write.node.parts])
}
