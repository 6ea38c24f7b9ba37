/**
 * The one owner of GPU buffers. Every tensor value lives in a buffer of this pool; freed buffers are kept by size class
 * and handed out again, so that a training step allocates nothing after its first run. WebGPU orders the uses of a
 * buffer on the queue, so a buffer may be handed out again as soon as the last command reading it is encoded;
 * destruction waits until the queue has passed that command.
 *
 * Of several free buffers the oldest is handed out. So which buffers an evaluation gets depends on those in use when it
 * begins and on nothing that happened before: a step that is like the last one gets the same buffers, and their bind groups.
 *
 * Running out of memory has two forms: the limit the user set, refused here at once, and a driver that has no more, which
 * WebGPU reports some time after the buffer was made. The latter is awaited with {@link BufferPool.settled}.
 */
import { OutOfMemoryError } from '../device/errors.js'

/** Who uses a buffer, for accounting and messages. */
export interface BufferUse {
  readonly tag: string
  describe(): string
  /** Called when the buffer turns out to have no memory behind it. */
  invalidate(reason: string): void
}

export interface PoolBuffer {
  readonly id: number
  readonly gpu: GPUBuffer
  readonly bytes: number
}

/** Where buffers come from. */
export interface BufferSource {
  /** A new buffer; `failure` resolves with what the driver said if there was no memory for it. */
  create(bytes: number): { readonly gpu: GPUBuffer; readonly failure: Promise<string | null> | null }
  /** Resolves when the GPU has passed every command that may use a buffer released so far. */
  fence(): Promise<void>
}

export interface PoolLimits {
  readonly maxBufferSize: number
  /** Most bytes of all buffers together. */
  memoryLimit: number
}

/** A buffer in use. */
export interface MemoryPart {
  readonly label: string
  readonly tag: string
  /** Bytes of its buffer, which is of a size class. */
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
  /** Largest `allocatedBytes` since creation or the last `resetPeak()`. */
  readonly peakAllocatedBytes: number
}

/** Bytes of one tag. */
export interface TagBytes {
  readonly liveBytes: number
  readonly peakBytes: number
}

const MIB = 2 ** 20
/** Unused buffers up to this many bytes are never given back unasked. */
const KEEP_UNUSED = 64 * MIB
/** Evaluations over which the pool remembers how much it needed. */
const WINDOW = 256
/** Parts an error message names. */
const NAMED_PARTS = 6
/** Buffers from this size on note who was using memory when they were made, should the driver refuse them. */
const NOTED_BYTES = MIB

/** Size classes: four steps per power of two, at least 256 bytes, so at most a quarter is wasted. */
function sizeClass(bytes: number): number {
  if (bytes <= 256) return 256
  const step = 2 ** Math.floor(Math.log2(bytes - 1)) / 4
  const quantum = Math.max(256, step)
  return Math.ceil(bytes / quantum) * quantum
}

interface Holding {
  readonly buffer: PoolBuffer
  readonly use: BufferUse
}

function describeParts(entries: readonly Holding[]): MemoryPart[] {
  return entries
    .map(({ buffer, use }) => ({ label: use.describe(), tag: use.tag, bytes: buffer.bytes }))
    .sort((a, b) => b.bytes - a.bytes)
}

/** Puts a buffer in its place in a list of falling ids. */
function insert(list: PoolBuffer[], buffer: PoolBuffer): void {
  let [low, high] = [0, list.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((list[middle]?.id ?? 0) > buffer.id) low = middle + 1
    else high = middle
  }
  list.splice(low, 0, buffer)
}

export class BufferPool {
  /** Unused buffers by size, those of the lowest ids last. */
  private readonly free = new Map<number, PoolBuffer[]>()
  private readonly inUse = new Map<number, Holding>()
  private readonly tags = new Map<string, { liveBytes: number; peakBytes: number }>()
  /** Buffers of which it is not known yet whether there was memory for them. */
  private readonly unconfirmed = new Set<Promise<void>>()
  /** Ids of buffers without memory. */
  private readonly hollow = new Set<number>()
  private nextId = 1
  private allocated = 0
  private live = 0
  private peak = 0
  private allocatedPeak = 0
  private evaluations = 0
  private windowPeak = 0
  private lastWindowPeak = Infinity
  /** Called with the id of every buffer that is destroyed, so that caches over buffers can drop it. */
  onDestroy: (id: number) => void = () => {}
  /** Called when the driver turns out to have no memory for a buffer. */
  onFailure: (error: OutOfMemoryError) => void = () => {}
  /** Called whenever more is in use than ever since {@link resetPeak}. */
  onPeak: (() => void) | null = null

  constructor(
    private readonly source: BufferSource,
    readonly limits: PoolLimits,
  ) {}

  get statistics(): PoolStatistics {
    return {
      allocatedBytes: this.allocated,
      liveBytes: this.live,
      pooledBytes: this.allocated - this.live,
      peakBytes: this.peak,
      peakAllocatedBytes: this.allocatedPeak,
    }
  }

  /** Bytes by tag. */
  get byTag(): ReadonlyMap<string, TagBytes> {
    return this.tags
  }

  /** Buffers in use, largest first. */
  parts(): MemoryPart[] {
    return this.holdings()()
  }

  /** What is in use now, to be described later. */
  holdings(): () => MemoryPart[] {
    const entries = [...this.inUse.values()]
    return () => describeParts(entries)
  }

  get memoryLimit(): number {
    return this.limits.memoryLimit
  }

  resetPeak(): void {
    this.peak = this.live
    this.allocatedPeak = this.allocated
    for (const tag of this.tags.values()) tag.peakBytes = tag.liveBytes
  }

  /**
   * A buffer of at least `bytes`, contents undefined.
   *
   * @throws {OutOfMemoryError} beyond the limit the user set.
   */
  acquire(bytes: number, use: BufferUse): PoolBuffer {
    const size = Math.min(sizeClass(bytes), Math.max(this.limits.maxBufferSize, bytes))
    const buffer = this.free.get(size)?.pop() ?? this.create(size, use)
    this.inUse.set(buffer.id, { buffer, use })
    this.live += buffer.bytes
    this.windowPeak = Math.max(this.windowPeak, this.live)
    const tag = this.tags.get(use.tag) ?? { liveBytes: 0, peakBytes: 0 }
    this.tags.set(use.tag, tag)
    tag.liveBytes += buffer.bytes
    tag.peakBytes = Math.max(tag.peakBytes, tag.liveBytes)
    if (this.live > this.peak) {
      this.peak = this.live
      this.onPeak?.()
    }
    return buffer
  }

  release(buffer: PoolBuffer): void {
    const entry = this.inUse.get(buffer.id)
    if (!entry) throw new Error(`Internal: buffer ${buffer.id} is released twice.`)
    this.inUse.delete(buffer.id)
    this.live -= buffer.bytes
    const tag = this.tags.get(entry.use.tag)
    if (tag) tag.liveBytes -= buffer.bytes
    if (this.hollow.has(buffer.id)) return this.destroy([buffer])
    const list = this.free.get(buffer.bytes)
    if (list) insert(list, buffer)
    else this.free.set(buffer.bytes, [buffer])
  }

  /** Destroys buffers kept for reuse until at most `keepBytes` of them remain, largest first. */
  trim(keepBytes = 0): void {
    const sizes = [...this.free.keys()].sort((a, b) => b - a)
    const doomed: PoolBuffer[] = []
    let unused = this.allocated - this.live
    for (const size of sizes) {
      const list = this.free.get(size) ?? []
      while (list.length > 0 && unused > keepBytes) {
        const buffer = list.shift()
        if (!buffer) break
        unused -= buffer.bytes
        doomed.push(buffer)
      }
      if (list.length === 0) this.free.delete(size)
    }
    this.destroy(doomed)
  }

  /**
   * Called at the end of every evaluation: what exceeds the most that was needed in the last few hundred of them goes
   * back to the driver, so that one long sequence does not hold its memory for ever.
   */
  endEvaluation(): void {
    if (++this.evaluations % WINDOW !== 0) return
    const needed = Math.max(this.windowPeak, this.lastWindowPeak)
    if (this.allocated > needed + KEEP_UNUSED) this.trim(needed + KEEP_UNUSED - this.live)
    this.lastWindowPeak = this.windowPeak
    this.windowPeak = this.live
  }

  /** True while the driver has not confirmed every buffer. */
  get isUnconfirmed(): boolean {
    return this.unconfirmed.size > 0
  }

  /** Resolves when it is known of every buffer made so far whether there is memory for it. */
  async settled(): Promise<void> {
    while (this.unconfirmed.size > 0) await Promise.all(this.unconfirmed)
  }

  /** A pool with the same buffers, in use and kept, whose buffers are never made: what an evaluation would do to this one. */
  rehearsal(gpu: GPUBuffer): BufferPool {
    const copy = new BufferPool(
      { create: () => ({ gpu, failure: null }), fence: () => Promise.resolve() },
      { ...this.limits, memoryLimit: Infinity },
    )
    for (const [size, list] of this.free) copy.free.set(size, [...list])
    for (const [id, entry] of this.inUse) copy.inUse.set(id, entry)
    for (const [name, { liveBytes }] of this.tags) copy.tags.set(name, { liveBytes, peakBytes: liveBytes })
    copy.nextId = this.nextId
    copy.allocated = this.allocated
    copy.live = this.live
    copy.peak = this.live
    copy.allocatedPeak = this.allocated
    return copy
  }

  private create(size: number, use: BufferUse): PoolBuffer {
    // What lies unused in other size classes is given back before the pool grows past twice what is in use.
    const unused = this.allocated - this.live
    if (unused > KEEP_UNUSED && unused + size > this.live) this.trim(this.live / 2)
    const { memoryLimit } = this.limits
    if (this.allocated + size > memoryLimit) this.trim(Math.max(0, memoryLimit - this.live - size))
    if (this.allocated + size > memoryLimit) {
      throw new OutOfMemoryError(this.describeFailure(size, use, `the limit set is ${memoryLimit} bytes`))
    }
    const { gpu, failure } = this.source.create(size)
    const buffer = { id: this.nextId++, gpu, bytes: size }
    this.allocated += size
    this.allocatedPeak = Math.max(this.allocatedPeak, this.allocated)
    if (failure) this.watch(buffer, failure, use)
    return buffer
  }

  /** Notes when the driver had no memory for a buffer. */
  private watch(buffer: PoolBuffer, failure: Promise<string | null>, use: BufferUse): void {
    const noted = buffer.bytes >= NOTED_BYTES ? this.describeFailure(buffer.bytes, use, 'the driver has no more') : null
    const confirmed = failure.then((message) => {
      this.unconfirmed.delete(confirmed)
      if (message === null) return
      this.hollow.add(buffer.id)
      this.inUse.get(buffer.id)?.use.invalidate('there was no memory for it')
      const list = this.free.get(buffer.bytes)
      const at = list?.indexOf(buffer) ?? -1
      if (list && at >= 0) this.destroy(list.splice(at, 1))
      const text = noted ?? this.describeFailure(buffer.bytes, use, 'the driver has no more')
      this.onFailure(new OutOfMemoryError(`${text} (${message})`))
    })
    this.unconfirmed.add(confirmed)
  }

  private destroy(doomed: readonly PoolBuffer[]): void {
    if (doomed.length === 0) return
    for (const buffer of doomed) {
      this.allocated -= buffer.bytes
      this.hollow.delete(buffer.id)
      this.onDestroy(buffer.id)
    }
    const destroy = () => {
      for (const buffer of doomed) buffer.gpu.destroy()
    }
    this.source.fence().then(destroy, destroy)
  }

  private describeFailure(size: number, use: BufferUse, reason: string): string {
    const parts = this.parts().slice(0, NAMED_PARTS)
    const text = (part: MemoryPart) => `${part.label} (${part.tag}) ${part.bytes} bytes`
    return (
      `Out of memory: ${use.describe()} (${use.tag}) needs ${size} bytes, and ${reason}. ` +
      `${this.live} bytes are in use, ${this.allocated - this.live} kept for reuse. ` +
      `Largest parts: ${parts.map(text).join('; ')}. Use smaller micro-batches or shorter sequences.`
    )
  }
}
