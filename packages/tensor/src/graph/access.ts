/**
 * How kernels see buffers. A binding is a window on a buffer: a tensor larger than one binding is bound only where the
 * kernel touches it, and in several segments where it touches more than one binding holds. And an element is not always
 * a WGSL number: two bf16 share a word, quantised codes need their scale. Both are hidden behind loads and stores by
 * element, so that no kernel knows what it reads.
 *
 * Narrow elements: f16 is a WGSL type where the device has it, else it lies two to a u32 as bf16 does everywhere, which is
 * the upper half of an f32: element 2i in the lower half (the bytes of a little-endian file), so the bytes are the same. q8 and q4 are signed codes, four or eight to a u32, lowest first; the value
 * is code × scale, one scale for every `groupSize` neighbouring elements of a row.
 */
import type { EmitContext } from './dispatch.js'
import type { Quantization, Storage } from './node.js'
import { bytesPerElement, isQuantised, type DType } from './shape.js'

/** Elements of a node, both ends included. */
export interface Span {
  readonly low: number
  readonly high: number
}

/** A value in memory. */
export interface Source {
  readonly storage: Storage | null
  readonly dtype: DType
  readonly quantization: Quantization | null
}

/** A value seen by a kernel. Indices count from element `base`, in fours where the access is by vectors. */
export interface ReadAccess {
  readonly base: number
  /** Expression of element `index`, or of four, as the dtype's compute type. */
  load(index: string): string
}

export interface WriteAccess extends ReadAccess {
  /** Statement that stores a value of the compute type. */
  store(index: string, value: string): string
}

/** WGSL storage type of a binding, and its size. */
interface Cell {
  readonly type: string
  readonly bytes: number
}

/** Cell of packed halves that are stored one by one. */
const atomicWord: Cell = { type: 'atomic<u32>', bytes: 4 }

/** Buffer offsets must be multiples of this (`minStorageBufferOffsetAlignment` is at most that). */
const ALIGNMENT = 256

/** How two halves share a word: the helpers' prefix. */
type Packing = 'bf16' | 'half'

function cellOf(dtype: DType, packing: Packing | null, vector: boolean): Cell {
  if (packing) return vector ? { type: 'vec2<u32>', bytes: 8 } : { type: 'u32', bytes: 4 }
  switch (dtype) {
    case 'q8':
    case 'q4':
      return { type: 'u32', bytes: 4 }
    default:
      return vector
        ? { type: `vec4<${dtype}>`, bytes: 4 * bytesPerElement[dtype] }
        : { type: dtype, bytes: bytesPerElement[dtype] }
  }
}

const helpers = {
  // Drivers drop a conversion to f16 and back as if it were exact, so the bits are rounded by hand.
  f16: /* wgsl */ `
fn f16_round1(x: f32) -> f32 {
  let b = bitcast<u32>(x);
  let magnitude = b & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return x; }
  if (magnitude >= 0x477ff000u) { return bitcast<f32>((b & 0x80000000u) | 0x7f800000u); }
  if (magnitude < 0x38800000u) { return round(x * 16777216.0) * 5.9604644775390625e-8; }
  return bitcast<f32>((b + 0xfffu + ((b >> 13u) & 1u)) & 0xffffe000u);
}
fn f16_round4(v: vec4<f32>) -> vec4<f32> { return vec4<f32>(f16_round1(v.x), f16_round1(v.y), f16_round1(v.z), f16_round1(v.w)); }`,
  bf16: /* wgsl */ `
fn bf16_bits(x: f32) -> u32 {
  let b = bitcast<u32>(x);
  return select((b + 0x7fffu + ((b >> 16u) & 1u)) >> 16u, (b >> 16u) | 0x40u, (b & 0x7fffffffu) > 0x7f800000u);
}
fn bf16_round1(x: f32) -> f32 { return bitcast<f32>(bf16_bits(x) << 16u); }
fn bf16_round4(v: vec4<f32>) -> vec4<f32> { return vec4<f32>(bf16_round1(v.x), bf16_round1(v.y), bf16_round1(v.z), bf16_round1(v.w)); }
fn bf16_pack4(v: vec4<f32>) -> vec2<u32> {
  return vec2<u32>(bf16_bits(v.x) | (bf16_bits(v.y) << 16u), bf16_bits(v.z) | (bf16_bits(v.w) << 16u));
}
fn bf16_of(w: u32, i: u32) -> f32 { return bitcast<f32>(select(w << 16u, w & 0xffff0000u, (i & 1u) == 1u)); }
fn bf16_quad(w: vec2<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u));
}`,
  // Rounded by hand: what pack2x16float makes of values beyond its range is not defined.
  half: /* wgsl */ `
fn half_bits(x: f32) -> u32 {
  let rounded = f16_round1(x);
  let b = bitcast<u32>(rounded);
  let magnitude = b & 0x7fffffffu;
  let sign = (b >> 16u) & 0x8000u;
  if (magnitude >= 0x7f800000u) { return sign | select(0x7c00u, 0x7e00u, magnitude > 0x7f800000u); }
  if (magnitude < 0x38800000u) { return sign | u32(abs(rounded) * 16777216.0); }
  return sign | ((magnitude - 0x38000000u) >> 13u);
}
fn half_pack4(v: vec4<f32>) -> vec2<u32> {
  return vec2<u32>(half_bits(v.x) | (half_bits(v.y) << 16u), half_bits(v.z) | (half_bits(v.w) << 16u));
}
fn half_of(w: u32, i: u32) -> f32 { return unpack2x16float(w >> ((i & 1u) * 16u)).x; }
fn half_quad(w: vec2<u32>) -> vec4<f32> { return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y)); }`,
  q8: /* wgsl */ `
fn q8_of(w: u32, i: u32) -> f32 { return f32(extractBits(bitcast<i32>(w), (i & 3u) * 8u, 8u)); }
fn q8_quad(w: u32) -> vec4<f32> {
  return vec4<f32>((vec4<i32>(bitcast<i32>(w)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}`,
  q4: /* wgsl */ `
fn q4_of(w: u32, i: u32) -> f32 { return f32(extractBits(bitcast<i32>(w), (i & 7u) * 4u, 4u)); }
fn q4_quad(w: u32, i: u32) -> vec4<f32> {
  return vec4<f32>((vec4<i32>(bitcast<i32>(w >> ((i & 1u) * 16u))) << vec4<u32>(28u, 24u, 20u, 16u)) >> vec4<u32>(28u));
}`,
}

interface Declaration {
  readonly storage: Storage
  readonly name: string
  readonly type: string
}

/** The bytes of a storage that a kernel sees. */
interface Part {
  readonly first: number
  readonly bytes: number
}

/** A part as one binding, or as several of equal size. */
interface Window {
  readonly names: readonly string[]
  readonly cell: Cell
  /** Cells of each binding but the last, as an expression; null when there is one. */
  readonly segment: string | null
}

/** The bindings of one module under construction, and the functions that read and write through them. */
export class Bindings {
  private readonly read: Declaration[] = []
  private readonly written: Declaration[] = []
  private readonly functions: string[] = []
  private readonly used = new Set<keyof typeof helpers>()
  private readonly known = new Map<string, ReadAccess>()
  usesF16 = false
  /** True when some value lies in more than one window. */
  isSegmented = false

  /** Most bytes one binding may show. */
  private readonly limit: number
  private readonly hasF16: boolean

  /** @param word Makes a uniform word and returns its expression. */
  constructor(
    { limits, hasF16 }: Pick<EmitContext, 'limits' | 'hasF16'>,
    readonly word: (value: number) => string,
  ) {
    this.limit = limits.maxStorageBufferBindingSize
    this.hasF16 = hasF16
  }

  get reads(): Storage[] {
    return this.read.map(({ storage }) => storage)
  }

  get writes(): Storage[] {
    return this.written.map(({ storage }) => storage)
  }

  /** Storage buffers bound. */
  get slots(): number {
    return this.read.length + this.written.length
  }

  /** The element from which a value read within `span` is seen. */
  baseOf({ storage, dtype }: Source, span: Span): number {
    return storage ? this.partOf(storage, dtype, span).first / bytesPerElement[dtype] : 0
  }

  /** A value the kernel reads within `span`; four elements at a time when `vector`. */
  reading(source: Source, span: Span, vector: boolean): ReadAccess {
    const { storage, dtype, quantization } = source
    if (!storage) throw new Error('Internal: a value is bound before it exists.')
    const part = this.partOf(storage, dtype, span)
    const key = `${storage.buffer.id}:${storage.byteOffset + part.first}:${part.bytes}:${dtype}:${vector}`
    const known = this.known.get(key)
    if (known) return known
    const window = this.open(
      this.read,
      storage,
      part,
      cellOf(dtype, this.packing(dtype), vector),
      `input${this.read.length}`,
    )
    const code = (index: string) => this.decode(dtype, vector, index, (i) => this.cell(window, i, false))
    const base = part.first / bytesPerElement[dtype]
    const end = (part.first + part.bytes) / bytesPerElement[dtype]
    const load = quantization ? this.scaled(code, quantization, { low: base, high: end - 1 }, window, vector) : code
    const access = { base, load }
    this.known.set(key, access)
    return access
  }

  /** A value the kernel writes (and may read) within `span`. */
  writing(target: Pick<Source, 'storage' | 'dtype'>, span: Span, vector: boolean, name: string): WriteAccess {
    const { storage, dtype } = target
    if (!storage) throw new Error('Internal: a value is written before it has a buffer.')
    if (isQuantised(dtype)) throw new Error('Internal: quantised codes are not written element by element.')
    const packing = this.packing(dtype)
    const shared = vector ? null : packing
    const part = this.partOf(storage, dtype, span)
    const window = this.open(this.written, storage, part, shared ? atomicWord : cellOf(dtype, packing, vector), name)
    return {
      base: part.first / bytesPerElement[dtype],
      load: (index) => this.decode(dtype, vector, index, (i) => this.cell(window, i, shared !== null)),
      store: shared ? this.sharedStore(shared, window, name) : this.plainStore(packing, window, name),
    }
  }

  /** The helpers with which a type of two bytes is read and written as words; null for what WGSL has. */
  private packing(dtype: DType): Packing | null {
    if (dtype === 'bf16') return 'bf16'
    return dtype === 'f16' && !this.hasF16 ? 'half' : null
  }

  private usePacking(packing: Packing): void {
    this.used.add(packing)
    if (packing === 'half') this.used.add('f16')
  }

  /** Rounds an expression as storing it would. */
  rounded(value: string, dtype: DType, vector: boolean): string {
    if (dtype !== 'f16' && dtype !== 'bf16') return value
    this.used.add(dtype)
    return `${dtype}_round${vector ? 4 : 1}(${value})`
  }

  /** The declarations, from binding 1 on, reads before writes, and the functions over them. */
  declarations(): string {
    const lines = [
      ...this.read.map(
        ({ name, type }, index) => `@group(0) @binding(${index + 1}) var<storage, read> ${name}: array<${type}>;`,
      ),
      ...this.written.map(
        ({ name, type }, index) =>
          `@group(0) @binding(${this.read.length + index + 1}) var<storage, read_write> ${name}: array<${type}>;`,
      ),
    ]
    return [...lines, ...[...this.used].sort().map((name) => helpers[name]), ...this.functions].join('\n')
  }

  /** The bytes of a storage that hold the span: all of it where one binding can show that. */
  private partOf(storage: Storage, dtype: DType, { low, high }: Span): Part {
    if (storage.bytes <= this.limit) return { first: 0, bytes: storage.bytes }
    const size = bytesPerElement[dtype]
    const first = Math.floor((low * size) / ALIGNMENT) * ALIGNMENT
    return { first, bytes: Math.min(Math.ceil(((high + 1) * size) / 16) * 16, storage.bytes) - first }
  }

  private open(list: Declaration[], storage: Storage, part: Part, cell: Cell, name: string): Window {
    if (cell.type.includes('f16')) this.usesF16 = true
    const step = Math.floor(this.limit / ALIGNMENT) * ALIGNMENT
    const count = part.bytes <= this.limit ? 1 : Math.ceil(part.bytes / step)
    const names = Array.from({ length: count }, (_, index) => (count === 1 ? name : `${name}_${index}`))
    names.forEach((own, index) => {
      const first = part.first + index * step
      const bytes = count === 1 ? part.bytes : Math.min(step, part.first + part.bytes - first)
      list.push({ storage: { ...storage, byteOffset: storage.byteOffset + first, bytes }, name: own, type: cell.type })
    })
    if (count > 1) this.isSegmented = true
    return { names, cell, segment: count === 1 ? null : this.word(step / cell.bytes) }
  }

  /** A switch over the bindings of a window; `line` gets a binding's name and the index within it. */
  private dispatch({ names, segment }: Window, perCell: number, line: (name: string, index: string) => string): string {
    const length = perCell === 1 ? segment : `(${segment} * ${perCell}u)`
    const cases = names.map((name, n) => {
      const label = n === names.length - 1 ? 'default' : `case ${n}u`
      return `    ${label}: { ${line(name, n === 0 ? 'i' : `(i - ${n}u * ${length})`)} }`
    })
    return `switch i / ${length} {\n${cases.join('\n')}\n  }`
  }

  /** Reads one cell. */
  private cell(window: Window, index: string, isShared: boolean): string {
    const at = (name: string, i: string) => (isShared ? `atomicLoad(&${name}[${i}])` : `${name}[${i}]`)
    const [first = ''] = window.names
    if (window.segment === null) return at(first, index)
    const type = isShared ? 'u32' : window.cell.type
    const text = this.dispatch(window, 1, (name, i) => `return ${at(name, i)};`)
    this.define(`fn ${first}_cell(i: u32) -> ${type} {\n  ${text}\n}`)
    return `${first}_cell(${index})`
  }

  private define(text: string): void {
    if (!this.functions.includes(text)) this.functions.push(text)
  }

  /** Expression of element `index` (or four) given how a cell is read. */
  private decode(dtype: DType, vector: boolean, index: string, cell: (index: string) => string): string {
    const packing = this.packing(dtype)
    if (packing) {
      this.usePacking(packing)
      return vector ? `${packing}_quad(${cell(index)})` : `${packing}_of(${cell(`(${index}) >> 1u`)}, ${index})`
    }
    switch (dtype) {
      case 'f16':
        return vector ? `vec4<f32>(${cell(index)})` : `f32(${cell(index)})`
      case 'q8':
        this.used.add('q8')
        return vector ? `q8_quad(${cell(index)})` : `q8_of(${cell(`(${index}) >> 2u`)}, ${index})`
      case 'q4':
        this.used.add('q4')
        return vector
          ? `q4_quad(${cell(`(${index}) >> 1u`)}, ${index})`
          : `q4_of(${cell(`(${index}) >> 3u`)}, ${index})`
      default:
        return cell(index)
    }
  }

  /** Code × scale, as a function. `span` is what the window of the codes shows. */
  private scaled(
    code: (index: string) => string,
    { scales, groupSize }: Quantization,
    span: Span,
    window: Window,
    vector: boolean,
  ): (index: string) => string {
    // Behind the codes lie the scales: the window may show some of them.
    const groups = { low: span.low / groupSize, high: Math.min(Math.floor(span.high / groupSize), scales.size - 1) }
    const scale = this.reading(scales, groups, false)
    const shift = this.word(Math.log2(groupSize) - (vector ? 2 : 0))
    const first = groups.low - scale.base
    const group = first === 0 ? `i >> ${shift}` : `(i >> ${shift}) + ${this.word(first)}`
    const name = `${window.names[0] ?? ''}_value`
    this.define(`fn ${name}(i: u32) -> ${vector ? 'vec4<f32>' : 'f32'} { return ${code('i')} * ${scale.load(group)}; }`)
    return (index) => `${name}(${index})`
  }

  private plainStore(packing: Packing | null, window: Window, name: string): WriteAccess['store'] {
    const { cell, segment } = window
    if (packing) this.usePacking(packing)
    const encoded = (value: string) => (packing ? `${packing}_pack4(${value})` : `${cell.type}(${value})`)
    if (segment === null) return (index, value) => `${name}[${index}] = ${encoded(value)};`
    const text = this.dispatch(window, 1, (buffer, i) => `${buffer}[${i}] = v;`)
    this.define(`fn ${name}_put(i: u32, v: ${cell.type}) {\n  ${text}\n}`)
    return (index, value) => `${name}_put(${index}, ${encoded(value)});`
  }

  /**
   * Stores single packed halves. Two elements share a word and may belong to two threads: each replaces its own half, so that
   * their order does not matter.
   */
  private sharedStore(packing: Packing, window: Window, name: string): WriteAccess['store'] {
    this.usePacking(packing)
    const put = (buffer: string, i: string) =>
      `atomicAnd(&${buffer}[${i} >> 1u], select(0xffff0000u, 0x0000ffffu, (i & 1u) == 1u)); ` +
      `atomicOr(&${buffer}[${i} >> 1u], ${packing}_bits(v) << ((i & 1u) * 16u));`
    const text = window.segment === null ? put(name, 'i') : this.dispatch(window, 2, put)
    this.define(`fn ${name}_put(i: u32, v: f32) {\n  ${text}\n}`)
    return (index, value) => `${name}_put(${index}, ${value});`
  }
}
