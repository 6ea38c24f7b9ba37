/**
 * An evaluation without the GPU: the same schedule, the same emission, buffers of a copy of the pool that are never made.
 * What an evaluation would take and which kernels it would run is known before anything is allocated. The graph is left
 * as it was.
 */
import type { BufferPool, MemoryPart } from '../memory/pool.js'
import type { Dispatch } from './dispatch.js'
import { execute, type ExecutionHost } from './execute.js'
import type { Node, Storage } from './node.js'
import { writtenBy, type FusedKernel } from './schedule.js'

/** A kernel with what it would dispatch. */
export interface RehearsedKernel {
  readonly kernel: FusedKernel
  readonly dispatches: readonly Dispatch[]
}

/** What an evaluation would take, in bytes; nothing has been allocated. */
export interface MemoryPlan {
  /** Most bytes in use at one moment, those in use already included. */
  readonly peakBytes: number
  /** Most bytes of all buffers at one moment, those kept for reuse included. */
  readonly peakAllocatedBytes: number
  /** In use at the peak, largest first. */
  readonly parts: readonly MemoryPart[]
  /** Bytes in use at the peak, by tag. */
  readonly byTag: ReadonlyMap<string, number>
  readonly kernels: number
  readonly dispatches: number
}

export interface Rehearsal {
  readonly kernels: readonly RehearsedKernel[]
  readonly plan: MemoryPlan
}

/** What a rehearsal needs of the device. */
export type RehearsalHost = Pick<ExecutionHost, 'limits' | 'isSoftware' | 'hasF16' | 'subgroupSize'>

/** Remembers what an evaluation changes about nodes. */
function remember(kernels: readonly FusedKernel[]): () => void {
  const nodes = new Set<Node>()
  for (const { root, leaves } of kernels) {
    for (const node of [root, ...root.outputs, ...writtenBy(root), ...leaves.map((read) => read.node)]) nodes.add(node)
  }
  const states = [...nodes].map((node) => ({
    node,
    storage: node.storage,
    retained: node.retained,
    pendingWrites: node.pendingWrites,
  }))
  return () => {
    for (const { node, ...state } of states) Object.assign(node, state)
  }
}

/**
 * @param pool A copy made for this rehearsal.
 * @param kernels See {@link execute}, as are the following.
 */
export function rehearse(
  host: RehearsalHost,
  pool: BufferPool,
  kernels: readonly FusedKernel[],
  chosen: readonly FusedKernel[],
  kept: ReadonlySet<Node>,
): Rehearsal {
  const rehearsed: { kernel: FusedKernel; dispatches: Dispatch[] }[] = []
  let atPeak = pool.holdings()
  pool.onPeak = () => {
    atPeak = pool.holdings()
  }
  const restore = remember(chosen)
  try {
    execute(kernels, chosen, kept, {
      ...host,
      allocate: (bytes, use): Storage => {
        const buffer = pool.acquire(Math.max(16, bytes), use)
        return { buffer, byteOffset: 0, bytes: Math.max(4, bytes), release: () => pool.release(buffer) }
      },
      begin: (kernel) => rehearsed.push({ kernel, dispatches: [] }),
      encode: (dispatch) => rehearsed.at(-1)?.dispatches.push(dispatch),
      own: () => {},
      drop: (node) => {
        if (node.storage) pool.release(node.storage.buffer)
        node.storage = null
        node.retained = false
      },
    })
  } finally {
    restore()
  }
  const parts = atPeak()
  const byTag = new Map<string, number>()
  for (const { tag, bytes } of parts) byTag.set(tag, (byTag.get(tag) ?? 0) + bytes)
  const { peakBytes, peakAllocatedBytes } = pool.statistics
  const dispatches = rehearsed.reduce((sum, kernel) => sum + kernel.dispatches.length, 0)
  return {
    kernels: rehearsed,
    plan: { peakBytes, peakAllocatedBytes, parts, byTag, kernels: rehearsed.length, dispatches },
  }
}
