/**
 * The one owner of GPU buffers. Every tensor value lives in a buffer of this pool; freed buffers are kept by size class
 * and handed out again, so that a training step allocates nothing after its first run. WebGPU orders the uses of a
 * buffer on the queue, so a buffer may be handed out again as soon as the last command reading it is encoded;
 * destruction waits until the queue has passed that command.
 */

export interface PoolBuffer {
  readonly id: number
  readonly gpu: GPUBuffer
  readonly bytes: number
}

/** What memory accounting reports. All figures in bytes. */
export interface PoolStatistics {
  /** Bytes of all buffers that exist, in use or kept for reuse. */
  readonly allocatedBytes: number
  /** Bytes of the buffers in use. */
  readonly liveBytes: number
  /** Bytes kept for reuse. */
  readonly pooledBytes: number
  /** Largest `liveBytes` since creation or the last `resetPeak()`. */
  readonly peakBytes: number
}

/** Size classes: four steps per power of two, at least 256 bytes, so at most a quarter is wasted. */
function sizeClass(bytes: number): number {
  if (bytes <= 256) return 256
  const step = 2 ** Math.floor(Math.log2(bytes - 1)) / 4
  const quantum = Math.max(256, step)
  return Math.ceil(bytes / quantum) * quantum
}

export class BufferPool {
  private readonly free = new Map<number, PoolBuffer[]>()
  private nextId = 1
  private allocated = 0
  private live = 0
  private peak = 0
  /** Called with the id of every buffer that is destroyed, so that caches over buffers can drop it. */
  onDestroy: (id: number) => void = () => {}

  constructor(
    private readonly device: GPUDevice,
    private readonly maxBufferSize: number,
  ) {}

  get statistics(): PoolStatistics {
    return {
      allocatedBytes: this.allocated,
      liveBytes: this.live,
      pooledBytes: this.allocated - this.live,
      peakBytes: this.peak,
    }
  }

  resetPeak(): void {
    this.peak = this.live
  }

  /** A buffer of at least `bytes`, contents undefined. */
  acquire(bytes: number): PoolBuffer {
    const size = Math.min(sizeClass(bytes), Math.max(this.maxBufferSize, bytes))
    const kept = this.free.get(size)?.pop()
    const buffer = kept ?? this.create(size)
    this.live += buffer.bytes
    this.peak = Math.max(this.peak, this.live)
    return buffer
  }

  release(buffer: PoolBuffer): void {
    this.live -= buffer.bytes
    const list = this.free.get(buffer.bytes)
    if (list) list.push(buffer)
    else this.free.set(buffer.bytes, [buffer])
  }

  /** Destroys buffers kept for reuse until at most `keepBytes` of them remain, largest first. */
  trim(keepBytes = 0): void {
    const sizes = [...this.free.keys()].sort((a, b) => b - a)
    const doomed: PoolBuffer[] = []
    for (const size of sizes) {
      const list = this.free.get(size) ?? []
      while (list.length > 0 && this.allocated - this.live > keepBytes) {
        const buffer = list.pop()
        if (!buffer) break
        this.allocated -= buffer.bytes
        this.onDestroy(buffer.id)
        doomed.push(buffer)
      }
      if (list.length === 0) this.free.delete(size)
    }
    if (doomed.length === 0) return
    const destroy = () => {
      for (const buffer of doomed) buffer.gpu.destroy()
    }
    this.device.queue.onSubmittedWorkDone().then(destroy, destroy)
  }

  private create(size: number): PoolBuffer {
    // What lies unused in other size classes is given back before the pool grows past twice what is in use.
    const unused = this.allocated - this.live
    if (unused > 64 * 2 ** 20 && unused + size > this.live) this.trim(this.live / 2)
    const gpu = this.device.createBuffer({
      size,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    })
    this.allocated += size
    return { id: this.nextId++, gpu, bytes: size }
  }
}
