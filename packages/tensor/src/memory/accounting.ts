/**
 * What a device's tensors take, and which they are.
 */
import type { Node } from '../graph/node.js'
import type { DType, Shape } from '../graph/shape.js'
import type { BufferPool, TagBytes } from './pool.js'

/** One tensor that owns a buffer. */
export interface LiveTensor {
  readonly shape: Shape
  readonly dtype: DType
  readonly bytes: number
  readonly label: string | undefined
  /** See `device.tag()`. */
  readonly tag: string
}

/** Bytes in use, and every tensor that owns some. */
export class DeviceMemory {
  /** @internal */
  constructor(
    private readonly pool: BufferPool,
    private readonly live: ReadonlySet<Node>,
  ) {}

  /** Bytes of all buffers that exist, in use or kept for reuse. */
  get allocatedBytes(): number {
    return this.pool.statistics.allocatedBytes
  }

  /** Most bytes the device may take: its `memoryLimit`, by default Infinity on GPUs. */
  get limitBytes(): number {
    return this.pool.memoryLimit
  }

  /** Bytes of the buffers in use. */
  get liveBytes(): number {
    return this.pool.statistics.liveBytes
  }

  /** Bytes kept for reuse. */
  get pooledBytes(): number {
    return this.pool.statistics.pooledBytes
  }

  /** Largest `liveBytes` since creation or the last `resetPeak()`. */
  get peakBytes(): number {
    return this.pool.statistics.peakBytes
  }

  /** The same by tag; the peaks of tags need not have been at one moment. */
  get byTag(): ReadonlyMap<string, TagBytes> {
    return this.pool.byTag
  }

  /** Largest `allocatedBytes` since creation or the last `resetPeak()`. */
  get peakAllocatedBytes(): number {
    return this.pool.statistics.peakAllocatedBytes
  }

  /** Most bytes of all buffers; see `memoryLimit` of `createDevice`. What exists already stays when it is lowered. */
  get limit(): number {
    return this.pool.limits.memoryLimit
  }

  set limit(bytes: number) {
    this.pool.limits.memoryLimit = bytes
  }

  resetPeak(): void {
    this.pool.resetPeak()
  }

  /** Gives buffers kept for reuse back to the driver until at most `keepBytes` of them remain. */
  trim(keepBytes = 0): void {
    this.pool.trim(keepBytes)
  }

  /** Every tensor that owns a buffer: what a leak looks like. */
  liveTensors(): LiveTensor[] {
    return [...this.live].map(describe)
  }

  /** Marks this moment for {@link leaksSince}. */
  mark(): MemoryMark {
    return { live: new Set(this.live) }
  }

  /** Tensors that own a buffer now and did not at the mark, largest first. */
  leaksSince({ live }: MemoryMark): LiveTensor[] {
    return [...this.live]
      .filter((node) => !live.has(node))
      .sort((a, b) => b.bytes - a.bytes)
      .map(describe)
  }

  /** The same as text, one line each; empty when nothing leaked. */
  leakReport(mark: MemoryMark): string {
    return this.leaksSince(mark)
      .map(
        ({ label, dtype, shape, bytes, tag }) =>
          `${label ?? 'tensor'} ${dtype}[${shape.join(', ')}] ${bytes} bytes (${tag})`,
      )
      .join('\n')
  }
}

/** A moment; see {@link DeviceMemory.mark}. */
export interface MemoryMark {
  /** @internal */
  readonly live: ReadonlySet<Node>
}

function describe({ shape, dtype, bytes, label, tag }: Node): LiveTensor {
  return { shape, dtype, bytes, label, tag }
}
