/**
 * From a lazy graph to a list of kernels. An elementwise node joins the kernel of its consumers when all of them are in
 * one kernel and read it element by element; a reduction or a matmul joins the elementwise kernel behind it as its
 * anchor, so biases, activations, residuals and gradient accumulation become its epilogue. Whatever is read through
 * another layout, read by two kernels, or asked for, is materialised.
 */
import { checkAlive, checkVersion, isIdentity, newMark, type Node, type Read } from './node.js'

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
const isWrite = ({ spec }: Node) => spec.kind === 'assign' || (spec.kind === 'kernel' && spec.writes.length > 0)

/** The lazy nodes of an evaluation, who reads what, and which values must be in memory. */
class Graph {
  /** In program order. */
  readonly nodes: Node[] = []
  private readonly mark = newMark()
  private readonly readers: (Use[] | undefined)[] = []
  private readonly inMemory: boolean[] = []

  constructor(roots: readonly Node[]) {
    const stack = [...roots]
    for (let node = stack.pop(); node; node = stack.pop()) {
      if (node.mark === this.mark) continue
      this.enter(node)
      if (node.storage || node.spec.kind === 'source') continue
      this.nodes.push(node)
      node.inputs.forEach((read) => {
        checkAlive(read.node)
        checkVersion(read)
        stack.push(read.node)
      })
    }
    this.nodes.sort((a, b) => a.id - b.id)
    this.nodes.forEach((consumer) => {
      consumer.inputs.forEach((read) => this.addUse(consumer, read))
    })
  }

  private addUse(consumer: Node, read: Read): void {
    const use = { consumer, identity: isIdentity(read) }
    const { place } = read.node
    const list = this.readers[place]
    if (list) list.push(use)
    else this.readers[place] = [use]
  }

  usesOf(node: Node): readonly Use[] {
    return (node.mark === this.mark ? this.readers[node.place] : undefined) ?? NO_USES
  }

  isMaterialised(node: Node): boolean {
    return this.inMemory[node.place] === true
  }

  materialise(node: Node): void {
    this.inMemory[node.place] = true
  }

  private enter(node: Node): void {
    node.mark = this.mark
    node.place = this.inMemory.push(false) - 1
  }
}

const NO_USES: readonly Use[] = []

/** True when a write between the node and the kernel it would join changes something the node reads. */
function crossesWrite(node: Node, root: Node): boolean {
  for (const { node: input } of node.inputs) {
    for (const write of input.pendingWrites) if (write.id > node.id && write.id < root.id) return true
  }
  return false
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
  private readonly candidates: Node[] = []
  private readonly zones: Zone[] = []
  private anchor: Node | null = null

  constructor(
    private readonly root: Node,
    private readonly graph: Graph,
    private readonly maxLeaves: number,
    private readonly bindingLimit: number,
  ) {}

  build(): FusedKernel {
    const { root, members } = this
    const grows = root.spec.kind === 'elementwise' || root.spec.kind === 'reduce' || root.spec.kind === 'assign'
    if (root.spec.kind === 'reduce' || root.spec.kind === 'matmul') this.anchor = root
    members.set(root, 'outer')
    if (!grows) return { root, anchor: this.anchor, members, leaves: root.inputs }
    this.propose(root, 'outer')
    while (this.candidates.length > 0) {
      const { node, zone } = this.takeLatest()
      if (this.fits(node, zone)) {
        members.set(node, zone)
        if (node.spec.kind === 'reduce' || node.spec.kind === 'matmul') this.anchor = node
        this.propose(node, zone)
      }
    }
    const leaves: Read[] = []
    for (const node of members.keys()) {
      for (const read of node.inputs) if (!members.has(read.node)) leaves.push(read)
    }
    return { root, anchor: this.anchor, members, leaves }
  }

  private propose(node: Node, zone: Zone): void {
    if (node.spec.kind === 'matmul') return
    const inputZone: Zone = node.spec.kind === 'reduce' ? 'inner' : zone
    for (const read of node.inputs) {
      if (this.candidates.includes(read.node)) continue
      this.candidates.push(read.node)
      this.zones.push(inputZone)
    }
  }

  private takeLatest(): { node: Node; zone: Zone } {
    const { candidates, zones } = this
    let latest = 0
    candidates.forEach(({ id }, index) => {
      if (id > (candidates[latest]?.id ?? 0)) latest = index
    })
    const [node, zone] = [candidates[latest], zones[latest]]
    const [lastNode, lastZone] = [candidates.pop(), zones.pop()]
    if (!node || !zone || !lastNode || !lastZone) throw new Error('Internal: no candidate is left.')
    if (latest < candidates.length) {
      candidates[latest] = lastNode
      zones[latest] = lastZone
    }
    return { node, zone }
  }

  private fits(node: Node, zone: Zone): boolean {
    if (node.storage || this.graph.isMaterialised(node)) return false
    const { kind } = node.spec
    if (kind === 'constant') return true
    let isAllHere = true
    for (const { consumer, identity } of this.graph.usesOf(node)) {
      if (!this.members.has(consumer)) isAllHere = false
      else if (!identity || this.inputZone(consumer) !== zone) return false
    }
    if (kind === 'iota') return true
    const isAnchor = kind === 'reduce' || kind === 'matmul'
    if (!isAllHere || (kind !== 'elementwise' && !isAnchor)) return false
    if (isAnchor && (zone === 'inner' || this.anchor !== null)) return false
    if (zone === 'outer' && this.anchor !== null && this.isEpilogue(node)) return false
    if (crossesWrite(node, this.root) || aliasesTarget(node, this.root)) return false
    return this.leafBound(node, false) <= this.maxLeaves || this.leafBound(node, true) <= this.maxLeaves
  }

  /**
   * True when the node can be the epilogue of a reduction or matmul of its own. In a chain of such (partial sums of a
   * gradient) each then takes its own addition along, instead of all parts waiting in memory for the last.
   */
  private isEpilogue(node: Node): boolean {
    return node.inputs.some((read) => {
      const { kind } = read.node.spec
      const waits = !read.node.storage && !this.graph.isMaterialised(read.node)
      return (
        (kind === 'reduce' || kind === 'matmul') &&
        waits &&
        isIdentity(read) &&
        this.graph.usesOf(read.node).length === 1
      )
    })
  }

  private inputZone(consumer: Node): Zone {
    return consumer.spec.kind === 'reduce' ? 'inner' : (this.members.get(consumer) ?? 'outer')
  }

  /**
   * Upper bound of the bindings read if the node joins: more than one for values beyond a binding, and for codes.
   *
   * @param exact Counts a value once that is read several times.
   */
  private leafBound(joining: Node, exact: boolean): number {
    const counted = exact ? new Set<Node>() : null
    let slots = 0
    const consider = ({ inputs }: Node) => {
      for (const { node: leaf } of inputs) {
        if (isFree(leaf) || this.members.has(leaf) || leaf === joining || counted?.has(leaf)) continue
        counted?.add(leaf)
        slots += Math.max(1, Math.ceil(leaf.bytes / this.bindingLimit)) + (leaf.quantization ? 1 : 0)
      }
    }
    for (const member of this.members.keys()) consider(member)
    consider(joining)
    return slots
  }
}

/**
 * When a kernel runs. A write into something nobody reads in this plan (a gradient accumulator) runs as soon as its
 * operands exist, so that they can be freed; everything else runs in program order.
 */
function positionOf({ root, leaves, members }: FusedKernel, graph: Graph): number {
  if (root.spec.kind !== 'assign') return root.id
  const { target } = root.spec
  if (
    target.pendingWrites.length > 1 ||
    leaves.some((read) => read.node.pendingWrites.length > 0 && read.node !== target)
  )
    return root.id
  const others = leaves.filter(({ node }) => node !== target)
  const sharing = [target, ...target.parts]
  if (sharing.some((node) => graph.usesOf(node).some(({ consumer }) => !members.has(consumer)))) return root.id
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
  const graph = new Graph([...requested, ...writes])
  const { nodes } = graph
  for (const node of requested) if (!node.storage) graph.materialise(node)
  for (const node of nodes) if (isWrite(node)) graph.materialise(node)
  const kernels: { kernel: FusedKernel; position: number }[] = []
  for (let index = nodes.length - 1; index >= 0; index--) {
    const node = nodes[index]
    if (!node || !graph.isMaterialised(node)) continue
    const kernel = new KernelBuilder(node, graph, maxLeaves, bindingLimit).build()
    for (const read of kernel.leaves) if (!read.node.storage) graph.materialise(read.node)
    if (node.spec.kind === 'output') continue
    kernels.push({ kernel, position: positionOf(kernel, graph) })
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

const NONE: readonly Node[] = []

/** Sources a node changes in place, those inside a written arena included. */
export function writtenBy(node: Node): readonly Node[] {
  if (node.spec.kind === 'assign') return [node.spec.target, ...node.spec.target.parts]
  if (node.spec.kind !== 'kernel' || node.spec.writes.length === 0) return NONE
  return node.spec.writes.flatMap((write) => [write.node, ...write.node.parts])
}
