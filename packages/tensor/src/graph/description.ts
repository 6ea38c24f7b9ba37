/**
 * A kernel described by all that emission looks at: operations, layouts, types, sizes, and which values share memory. The
 * description is a run of numbers in one array that every kernel is written into, so that describing one, as happens some
 * hundred times in a step, allocates nothing. Texts are numbered; every list is preceded by its length, so two
 * descriptions are equal only where all their parts are.
 *
 * Equal descriptions must mean equal dispatches, so whatever emission comes to depend on belongs in here.
 */
import type { Target } from './codegen.js'
import { mixed } from './hash.js'
import { newMark, type KernelSpec, type Node, type Storage } from './node.js'
import type { FusedKernel } from './schedule.js'
import type { Layout } from './shape.js'

const floats = new Float64Array(1)
const floatWords = new Uint32Array(floats.buffer)

export class Description {
  hash = 0
  /** The storage that stands for each buffer the kernel names, in the order in which it was met. */
  readonly memory: Storage[] = []
  private words = new Float64Array(1024)
  private length = 0
  private readonly texts = new Map<string, number>()
  private mark = 0
  private nodes = 0

  /** Replaces what was described before. */
  write({ root, anchor, members }: FusedKernel, targets: readonly Target[]): void {
    this.length = 0
    this.hash = 0
    this.memory.length = 0
    this.mark = newMark()
    this.nodes = 0
    this.put(members.size)
    for (const [node, zone] of members) {
      this.put(zone === 'inner' ? 1 : 0)
      this.node(node)
      this.spec(node)
      this.put(node.inputs.length)
      for (const read of node.inputs) {
        this.node(read.node)
        this.layout(read.layout)
      }
    }
    this.node(root)
    this.put(anchor ? 1 : 0)
    if (anchor) this.node(anchor)
    this.put(targets.length)
    for (const { storage, dtype, layout, node } of targets) {
      this.text(dtype)
      this.storage(storage)
      this.put((layout ? 1 : 0) + (node ? 2 : 0))
      if (layout) this.layout(layout)
      if (node) this.node(node)
    }
  }

  equals(words: Float64Array): boolean {
    const { length, words: own } = this
    if (words.length !== length) return false
    for (let index = 0; index < length; index++) if (words[index] !== own[index]) return false
    return true
  }

  /** A copy to compare others with. */
  kept(): Float64Array {
    return this.words.slice(0, this.length)
  }

  /** Forgets the numbers of texts; copies kept so far must not be compared with any more. */
  forget(): void {
    this.texts.clear()
  }

  private put(word: number): void {
    if (this.length === this.words.length) {
      const longer = new Float64Array(2 * this.length)
      longer.set(this.words)
      this.words = longer
    }
    this.words[this.length++] = word
    this.hash = mixed(this.hash, word)
  }

  /** A number by its bits: −0 is not 0, and NaN is itself. */
  private bits(value: number): void {
    floats[0] = value
    this.put(floatWords[0] ?? 0)
    this.put(floatWords[1] ?? 0)
  }

  private text(text: string): void {
    let id = this.texts.get(text)
    if (id === undefined) {
      id = this.texts.size
      this.texts.set(text, id)
    }
    this.put(id)
  }

  private list(numbers: readonly number[]): void {
    this.put(numbers.length)
    for (let index = 0; index < numbers.length; index++) this.put(numbers[index] ?? 0)
  }

  private layout({ shape, strides, offset }: Layout): void {
    this.list(shape)
    this.list(strides)
    this.put(offset)
  }

  /** Where a storage lies, from the first one in its buffer: which values share memory, and how, decides what is bound. */
  private storage(storage: Storage): void {
    const { memory } = this
    let index = 0
    while (index < memory.length && memory[index]?.buffer !== storage.buffer) index++
    if (index === memory.length) memory.push(storage)
    this.put(index)
    this.put(storage.byteOffset - (memory[index]?.byteOffset ?? 0))
    this.put(storage.bytes)
  }

  private node(node: Node): void {
    if (node.mark === this.mark) {
      this.put(node.place)
      return
    }
    node.mark = this.mark
    node.place = this.nodes++
    this.put(-1)
    this.text(node.dtype)
    this.list(node.shape)
    const { storage, quantization } = node
    this.put((storage ? 1 : 0) + (quantization ? 2 : 0))
    if (storage) this.storage(storage)
    if (quantization) {
      this.put(quantization.groupSize)
      this.node(quantization.scales)
    }
  }

  private spec({ spec }: Node): void {
    this.text(spec.kind)
    switch (spec.kind) {
      case 'source':
      case 'output':
        return
      case 'constant':
        this.bits(spec.value)
        return
      case 'iota':
        this.put(spec.length)
        this.put(spec.inner)
        return
      case 'elementwise':
        this.text(spec.op)
        return
      case 'reduce':
        this.text(spec.op)
        this.put(spec.outer)
        this.put(spec.reduced)
        this.put(spec.inner)
        return
      case 'matmul':
        this.list(spec.batch)
        this.put(spec.m)
        this.put(spec.n)
        this.put(spec.k)
        return
      case 'concat':
        this.put(spec.outer)
        this.put(spec.inner)
        this.list(spec.lengths)
        return
      case 'assign':
        this.node(spec.target)
        this.layout(spec.layout)
        return
      case 'kernel':
        this.custom(spec)
    }
  }

  /** Of a hand-written kernel's parameters the names and types: their values are set anew for every dispatch. */
  private custom(spec: KernelSpec): void {
    this.text(spec.name)
    this.text(spec.body)
    this.put((spec.zeroOutputs ? 1 : 0) + (spec.subgroups ? 2 : 0))
    this.put(spec.inputNames.length)
    for (const name of spec.inputNames) this.text(name)
    this.put(spec.outputs.length)
    for (const { name, shape, dtype } of spec.outputs) {
      this.text(name)
      this.text(dtype)
      this.list(shape)
    }
    for (const name in spec.params) {
      this.text(name)
      this.text(spec.params[name]?.[0] ?? '')
    }
    this.put(-1)
    for (const name in spec.constants) {
      this.text(name)
      this.bits(spec.constants[name] ?? 0)
    }
    this.put(-1)
    this.list(spec.workgroupSize)
    this.list(spec.dispatch)
    this.put(spec.vectors.size)
    for (const name of spec.vectors) this.text(name)
    this.put(spec.writes.length)
    for (const { name, node, layout } of spec.writes) {
      this.text(name)
      this.node(node)
      this.layout(layout)
    }
  }
}
