/**
 * Runs planned kernels: a buffer for every output when its kernel comes, back to the pool after its last reader. What
 * later kernels of the same schedule need, but are not run now, is retained for them.
 */
import type { Target } from './codegen.js'
import type { Dispatch, EmitContext } from './dispatch.js'
import { emit } from './emit.js'
import type { EmissionCache } from './emission-cache.js'
import type { Node, Storage } from './node.js'
import { writtenBy, type FusedKernel } from './schedule.js'
import { ShapeError } from '../device/errors.js'
import type { BufferUse } from '../memory/pool.js'

/** What execution needs of the device. */
export interface ExecutionHost extends Pick<
  EmitContext,
  'limits' | 'isSoftware' | 'hasF16' | 'subgroupSize' | 'vendor' | 'matrixUnits' | 'chooseMatmul'
> {
  /** Kernels emitted before, kept; absent: each is emitted anew. */
  readonly emissions?: EmissionCache
  allocate(bytes: number, use: BufferUse): Storage
  /** Told of every kernel before its dispatches. */
  begin(kernel: FusedKernel): void
  encode(dispatch: Dispatch): void
  /** Makes a value last beyond this execution. */
  own(node: Node): void
  /** Gives a value's buffer back. */
  drop(node: Node): void
}

/** Memory a kernel needs besides its outputs, and for outputs nobody wants. */
class Workspace {
  private readonly open: Storage[] = []

  constructor(
    private readonly host: ExecutionHost,
    private readonly root: Node,
  ) {}

  take(bytes: number): Storage {
    const { tag } = this.root
    const describe = () => `workspace of ${this.root.describe()}`
    const storage = this.host.allocate(bytes, { tag, describe, invalidate: () => {} })
    const lent: Storage = {
      ...storage,
      release: () => {
        const index = this.open.indexOf(lent)
        if (index < 0) return
        this.open.splice(index, 1)
        storage.release()
      },
    }
    this.open.push(lent)
    return lent
  }

  /** Gives back what emission did not, because it failed. */
  close(): void {
    for (let storage = this.open[0]; storage; storage = this.open[0]) storage.release()
  }
}

/**
 * Runs kernels. When one of them cannot run, everything computed so far is given back and the error is thrown on; what
 * was written in place stays written.
 *
 * @param kernels The whole schedule.
 * @param chosen Its kernels that run now, in order.
 * @param kept Nodes whose values were asked for.
 */
export function execute(
  kernels: readonly FusedKernel[],
  chosen: readonly FusedKernel[],
  kept: ReadonlySet<Node>,
  host: ExecutionHost,
): void {
  const chosenSet = chosen === kernels ? null : new Set(chosen)
  const remaining = new Map<Node, number>()
  const neededLater = new Set<Node>()
  for (const kernel of kernels) {
    for (const { node } of kernel.leaves) {
      if (!chosenSet || chosenSet.has(kernel)) remaining.set(node, (remaining.get(node) ?? 0) + 1)
      else neededLater.add(node)
    }
  }
  const temporary = new Set<Node>()
  const finished: Node[] = []
  const settle = (node: Node) => {
    if ((remaining.get(node) ?? 0) > 0 || kept.has(node)) return
    if (neededLater.has(node) && temporary.has(node)) {
      node.retained = true
      host.own(node)
      temporary.delete(node)
      finished.push(node)
    } else if (temporary.has(node) || (node.retained && !neededLater.has(node))) {
      temporary.delete(node)
      host.drop(node)
    }
  }
  const start = (output: Node, workspace: Workspace): Target => {
    if (output.spec.kind === 'assign') {
      const { target, layout } = output.spec
      if (!target.storage) throw new ShapeError('assign(): the target was disposed before the write ran.')
      return { storage: target.storage, dtype: target.dtype, layout, node: target }
    }
    // Of a kernel that runs again for another of its outputs: this one has its value, and keeps it.
    if (output.storage) {
      return { storage: workspace.take(output.bytes), dtype: output.dtype, layout: null, node: null }
    }
    const storage = host.allocate(output.bytes, output)
    output.storage = storage
    if (kept.has(output)) {
      host.own(output)
      finished.push(output)
    } else temporary.add(output)
    return { storage, dtype: output.dtype, layout: null, node: null }
  }
  const emission = emissionOf(host)
  const runKernel = (kernel: FusedKernel) => {
    const { root } = kernel
    const outputs = root.spec.kind === 'kernel' ? root.outputs : [root]
    host.begin(kernel)
    const workspace = new Workspace(host, root)
    try {
      const targets = outputs.map((output) => start(output, workspace))
      if (root.size > 0) for (const dispatch of emission(kernel, targets, workspace)) host.encode(dispatch)
    } finally {
      workspace.close()
    }
    for (const target of writtenBy(root)) target.pendingWrites = target.pendingWrites.filter((write) => write !== root)
    for (const output of outputs) if (output.spec.kind !== 'assign') settle(output)
    for (const { node } of kernel.leaves) {
      remaining.set(node, (remaining.get(node) ?? 1) - 1)
      settle(node)
    }
  }
  try {
    for (const kernel of chosen) runKernel(kernel)
  } catch (error) {
    for (const node of [...temporary, ...finished]) host.drop(node)
    throw error
  }
}

/** Emits kernels for a host. */
function emissionOf(host: ExecutionHost) {
  let workspace: Workspace | null = null
  const context: EmitContext = {
    limits: host.limits,
    isSoftware: host.isSoftware,
    hasF16: host.hasF16,
    subgroupSize: host.subgroupSize,
    ...(host.vendor === undefined ? {} : { vendor: host.vendor }),
    ...(host.matrixUnits === undefined ? {} : { matrixUnits: host.matrixUnits }),
    ...(host.chooseMatmul ? { chooseMatmul: host.chooseMatmul } : {}),
    temporary: (bytes) => {
      if (!workspace) throw new Error('Internal: memory is borrowed for no kernel.')
      return workspace.take(bytes)
    },
    release: (storage) => storage.release(),
  }
  const { emissions } = host
  return (kernel: FusedKernel, targets: readonly Target[], own: Workspace): Dispatch[] => {
    workspace = own
    return emissions ? emissions.emit(kernel, targets, context) : emit(kernel, targets, context)
  }
}
