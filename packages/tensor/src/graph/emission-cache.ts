/**
 * Emitted kernels, kept. A training step repeats the kernels of the last one; writing their text anew takes longer than
 * all else the host does. What was emitted for an equal {@link Description} is used again with other buffers. The parameters of
 * hand-written kernels are no part of the description: they are set anew. A constant is; one that changes misses.
 */
import type { Target } from './codegen.js'
import { Description } from './description.js'
import type { Dispatch, EmitContext } from './dispatch.js'
import { emit } from './emit.js'
import { setParameterWords } from './emit-custom.js'
import type { Storage } from './node.js'
import type { FusedKernel } from './schedule.js'

/** Descriptions kept; past that many all are forgotten. */
const MOST = 4096

/** A window on memory of the kernel, or on a buffer it borrows. */
interface Slot {
  readonly source: number
  /** Bytes from the storage that stands for the memory. */
  readonly shift: number
  readonly bytes: number
}

interface KeptDispatch {
  readonly dispatch: Omit<Dispatch, 'reads' | 'writes' | 'zero'>
  readonly reads: readonly Slot[]
  readonly writes: readonly Slot[]
  readonly zero: readonly Slot[] | null
}

interface Kept {
  readonly description: Float64Array
  /** Null when one of them uses something that is not described. */
  readonly dispatches: readonly KeptDispatch[] | null
  /** Bytes of the buffers emission borrows, in order. */
  readonly borrowed: readonly number[]
}

export class EmissionCache {
  /** By the hash of their descriptions. */
  private readonly kept = new Map<number, Kept[]>()
  private size = 0
  private readonly description = new Description()
  /** The one string of each kernel text: comparing and hashing it costs nothing again. */
  private readonly codes = new Map<string, string>()

  /** As {@link emit}. All kernels of a cache must be emitted for the same device. */
  emit(kernel: FusedKernel, targets: readonly Target[], context: EmitContext): Dispatch[] {
    const { description } = this
    description.write(kernel, targets)
    const known = this.kept.get(description.hash)?.find((entry) => description.equals(entry.description))
    if (known?.dispatches) return replay(known.dispatches, known.borrowed, kernel, description.memory, context)
    const borrowed: Storage[] = []
    const temporary = (bytes: number) => {
      const storage = context.temporary(bytes)
      borrowed.push(storage)
      return storage
    }
    const dispatches = emit(kernel, targets, { ...context, temporary }).map((dispatch) => ({
      ...dispatch,
      code: this.code(dispatch.code),
    }))
    if (!known) this.keep(dispatches, borrowed)
    return dispatches
  }

  private keep(dispatches: readonly Dispatch[], borrowed: readonly Storage[]): void {
    const { description } = this
    // Descriptions name texts by number, so they must not outlive them.
    if (this.size >= MOST) {
      this.forget()
      return
    }
    const entry = {
      description: description.kept(),
      dispatches: withoutBuffers(dispatches, [...description.memory, ...borrowed]),
      borrowed: borrowed.map(({ bytes }) => bytes),
    }
    const bucket = this.kept.get(description.hash)
    if (bucket) bucket.push(entry)
    else this.kept.set(description.hash, [entry])
    this.size++
  }

  private code(text: string): string {
    const known = this.codes.get(text)
    if (known !== undefined) return known
    this.codes.set(text, text)
    return text
  }

  private forget(): void {
    this.kept.clear()
    this.codes.clear()
    this.description.forget()
    this.size = 0
  }
}

/** Dispatches with places instead of buffers; null when one of them uses something that is not among `sources`. */
function withoutBuffers(dispatches: readonly Dispatch[], sources: readonly Storage[]): KeptDispatch[] | null {
  const slot = (storage: Storage): Slot | null => {
    const source = sources.findIndex(({ buffer }) => buffer === storage.buffer)
    const found = sources[source]
    return found ? { source, shift: storage.byteOffset - found.byteOffset, bytes: storage.bytes } : null
  }
  const slots = (list: readonly Storage[]): Slot[] | null => {
    const all = list.map(slot).filter((found) => found !== null)
    return all.length === list.length ? all : null
  }
  const kept: KeptDispatch[] = []
  for (const { reads, writes, zero, ...dispatch } of dispatches) {
    const [readSlots, writeSlots, zeroSlots] = [slots(reads), slots(writes), zero ? slots(zero) : null]
    if (!readSlots || !writeSlots || (zero && !zeroSlots)) return null
    kept.push({ dispatch, reads: readSlots, writes: writeSlots, zero: zeroSlots })
  }
  return kept
}

function replay(
  kept: readonly KeptDispatch[],
  borrowed: readonly number[],
  { root }: FusedKernel,
  memory: readonly Storage[],
  context: EmitContext,
): Dispatch[] {
  const sources = borrowed.length === 0 ? memory : [...memory, ...borrowed.map((bytes) => context.temporary(bytes))]
  const at = ({ source, shift, bytes }: Slot): Storage => {
    const storage = sources[source]
    if (!storage) throw new Error('Internal: a kept kernel names a buffer that is not there.')
    if (shift === 0 && storage.bytes === bytes) return storage
    const { buffer, byteOffset, release } = storage
    return { buffer, byteOffset: byteOffset + shift, bytes, release }
  }
  return kept.map(({ dispatch: { label, code, workgroups, params }, reads, writes, zero }) => {
    const dispatch = {
      label,
      code,
      workgroups,
      params: root.spec.kind === 'kernel' ? setParameterWords(root.spec, params) : params,
      reads: reads.map(at),
      writes: writes.map(at),
    }
    return zero ? { ...dispatch, zero: zero.map(at) } : dispatch
  })
}
