/**
 * Emitted kernels, kept. A training step repeats the kernels of the last one; writing their text anew takes longer than
 * all else the host does. A kernel is described by all that emission looks at (operations, layouts, types, sizes, which
 * values share memory), and what was emitted for an equal description is used again with other buffers. The parameters of
 * hand-written kernels are no part of the description: they are set anew. A constant is; one that changes misses.
 *
 * Equal descriptions must mean equal dispatches, so whatever emission comes to depend on belongs in {@link Description}.
 */
import type { Target } from './codegen.js'
import type { Dispatch, EmitContext } from './dispatch.js'
import { emit } from './emit.js'
import { parameterWords } from './emit-custom.js'
import type { KernelSpec, Node, Storage } from './node.js'
import type { FusedKernel } from './schedule.js'
import type { Layout } from './shape.js'
import type { PoolBuffer } from '../memory/pool.js'

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
  readonly dispatches: readonly KeptDispatch[]
  /** Bytes of the buffers emission borrows, in order. */
  readonly borrowed: readonly number[]
}

/** Numbers for long texts, so that they are not part of every key. */
class Texts {
  private readonly known = new Map<string, { readonly text: string; readonly id: number }>()

  /** The one string equal to `text`: comparing and hashing it costs nothing again. */
  get(text: string): { readonly text: string; readonly id: number } {
    let entry = this.known.get(text)
    if (!entry) {
      entry = { text, id: this.known.size }
      this.known.set(text, entry)
    }
    return entry
  }
}

/** Place of the first storage that was met in a buffer; others are placed from it. */
interface Memory {
  readonly index: number
  readonly storage: Storage
}

/** The key of a kernel, and the memory it names, in the order in which it was met. */
class Description {
  key = ''
  readonly memory = new Map<PoolBuffer, Memory>()
  private readonly nodes = new Map<Node, number>()

  constructor(
    kernel: FusedKernel,
    targets: readonly Target[],
    private readonly texts: Texts,
  ) {
    const { root, anchor, members } = kernel
    for (const [node, zone] of members) {
      this.key += zone === 'inner' ? '\ni' : '\no'
      this.node(node)
      this.spec(node)
      for (const read of node.inputs) {
        this.node(read.node)
        this.layout(read.layout)
      }
    }
    this.key += `\nroot${this.nodes.get(root) ?? ''} anchor${anchor ? (this.nodes.get(anchor) ?? '') : ''}`
    for (const { storage, dtype, layout, node } of targets) {
      this.key += `\n${dtype}`
      this.storage(storage)
      if (layout) this.layout(layout)
      if (node) this.node(node)
    }
  }

  private layout({ shape, strides, offset }: Layout): void {
    this.key += `[${shape.join()};${strides.join()};${offset}]`
  }

  /** Where a storage lies, from the first one in its buffer: which values share memory, and how, decides what is bound. */
  private storage(storage: Storage): void {
    const { buffer, byteOffset, bytes } = storage
    let first = this.memory.get(buffer)
    if (!first) {
      first = { index: this.memory.size, storage }
      this.memory.set(buffer, first)
    }
    this.key += `@${first.index}+${byteOffset - first.storage.byteOffset}:${bytes}`
  }

  private node(node: Node): void {
    const known = this.nodes.get(node)
    if (known !== undefined) {
      this.key += `n${known}`
      return
    }
    this.nodes.set(node, this.nodes.size)
    this.key += `N${node.dtype}(${node.shape.join()})`
    if (node.storage) this.storage(node.storage)
    if (node.quantization) {
      this.key += `q${node.quantization.groupSize}`
      this.node(node.quantization.scales)
    }
  }

  private spec({ spec }: Node): void {
    this.key += spec.kind
    switch (spec.kind) {
      case 'source':
      case 'output':
        return
      case 'constant':
        this.key += Object.is(spec.value, -0) ? '-0' : String(spec.value)
        return
      case 'iota':
        this.key += `${spec.length},${spec.inner}`
        return
      case 'elementwise':
        this.key += spec.op
        return
      case 'reduce':
        this.key += `${spec.op},${spec.outer},${spec.reduced},${spec.inner}`
        return
      case 'matmul':
        this.key += `${spec.batch.join()},${spec.m},${spec.n},${spec.k}`
        return
      case 'concat':
        this.key += `${spec.outer},${spec.inner},${spec.lengths.join()}`
        return
      case 'assign':
        this.node(spec.target)
        this.layout(spec.layout)
        return
      case 'kernel':
        this.custom(spec)
    }
  }

  private custom(spec: KernelSpec): void {
    const parameters = Object.entries(spec.params).map(([name, [type]]) => `${name}:${type}`)
    const outputs = spec.outputs.map(({ name, shape, dtype }) => `${name}:${dtype}(${shape.join()})`)
    const constants = Object.entries(spec.constants).map(([name, value]) => `${name}=${value}`)
    const lists = [
      spec.inputNames,
      outputs,
      parameters,
      constants,
      spec.workgroupSize,
      spec.dispatch,
      [...spec.vectors],
    ]
    this.key += ` ${this.texts.get(spec.name).id}/${this.texts.get(spec.body).id}/${lists.map((list) => list.join()).join('/')}`
    this.key += `/${spec.zeroOutputs}/${spec.subgroups}`
    for (const { name, node, layout } of spec.writes) {
      this.key += `/${name}`
      this.node(node)
      this.layout(layout)
    }
  }
}

export class EmissionCache {
  private kept = new Map<string, Kept | null>()
  private texts = new Texts()

  /** As {@link emit}. All kernels of a cache must be emitted for the same device. */
  emit(kernel: FusedKernel, targets: readonly Target[], context: EmitContext): Dispatch[] {
    const { key, memory } = new Description(kernel, targets, this.texts)
    const storages = [...memory.values()].map(({ storage }) => storage)
    const known = this.kept.get(key)
    if (known) return replay(known, kernel, storages, context)
    const borrowed: Storage[] = []
    const temporary = (bytes: number) => {
      const storage = context.temporary(bytes)
      borrowed.push(storage)
      return storage
    }
    const dispatches = emit(kernel, targets, { ...context, temporary }).map((dispatch) => ({
      ...dispatch,
      code: this.texts.get(dispatch.code).text,
    }))
    // The key of a kernel names texts by number, so it must not outlive them.
    if (this.kept.size >= MOST) this.forget()
    else if (known === undefined) this.kept.set(key, keep(dispatches, storages, borrowed))
    return dispatches
  }

  private forget(): void {
    this.kept = new Map()
    this.texts = new Texts()
  }
}

/** Dispatches with places instead of buffers; null when one of them uses something that is not described. */
function keep(
  dispatches: readonly Dispatch[],
  storages: readonly Storage[],
  borrowed: readonly Storage[],
): Kept | null {
  const sources = [...storages, ...borrowed]
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
  return { dispatches: kept, borrowed: borrowed.map(({ bytes }) => bytes) }
}

function replay(kept: Kept, { root }: FusedKernel, storages: readonly Storage[], context: EmitContext): Dispatch[] {
  const sources = [...storages, ...kept.borrowed.map((bytes) => context.temporary(bytes))]
  const at = ({ source, shift, bytes }: Slot): Storage => {
    const storage = sources[source]
    if (!storage) throw new Error('Internal: a kept kernel names a buffer that is not there.')
    if (shift === 0 && storage.bytes === bytes) return storage
    return { ...storage, byteOffset: storage.byteOffset + shift, bytes }
  }
  return kept.dispatches.map(({ dispatch, reads, writes, zero }) => ({
    ...dispatch,
    ...(root.spec.kind === 'kernel' ? { params: withParameters(dispatch.params, parameterWords(root.spec)) } : {}),
    reads: reads.map(at),
    writes: writes.map(at),
    ...(zero ? { zero: zero.map(at) } : {}),
  }))
}

/** The parameters of a hand-written kernel come first; the words behind them depend on the description alone. */
function withParameters(words: readonly number[], parameters: readonly number[]): readonly number[] {
  return parameters.length === 0 ? words : [...parameters, ...words.slice(parameters.length)]
}
