/**
 * WGSL for fused kernels. A module is assembled from an expression (the members of a kernel, each once per element, in
 * registers), reads of the leaves, and a loop around them. Dimensions, strides and constants are words of a uniform
 * buffer: two kernels that differ only in shapes or scalars have the same text, hence one pipeline.
 */
import { Bindings } from './access.js'
import type { EmitContext } from './dispatch.js'
import { computeType, elementwise, erfSource, wgslType } from './expression.js'
import type { Node, Read, Storage } from './node.js'
import type { FusedKernel } from './schedule.js'
import { collapse, spanOf, type DType, type Layout } from './shape.js'

export type Width = 1 | 4

/** Elements `begin` ≤ i < `end` of what a kernel computes. */
export interface Range {
  readonly begin: number
  readonly end: number
}

const floatBits = new Float32Array(1)
const floatWords = new Uint32Array(floatBits.buffer)

export function f32Word(value: number): number {
  floatBits[0] = value
  return floatWords[0] ?? 0
}

/** Uniform words, bindings and helper functions of one module under construction. */
export class ModuleBuilder {
  readonly words: number[] = []
  readonly bindings: Bindings
  usesErf = false
  usesSubgroups = false
  /** WGSL extensions of a kernel written by hand. */
  extensions: readonly string[] = []
  private temporaries = 0

  constructor(context: Pick<EmitContext, 'limits' | 'hasF16'>) {
    this.bindings = new Bindings(context, (value) => this.word(value))
  }

  /** WGSL expression of a u32 uniform word. */
  word(value: number): string {
    const index = this.words.push(value >>> 0) - 1
    return `params.e[${index >> 2}].${'xyzw'[index & 3] ?? 'x'}`
  }

  float(value: number): string {
    return `bitcast<f32>(${this.word(f32Word(value))})`
  }

  fresh(prefix: string): string {
    return `${prefix}${this.temporaries++}`
  }

  /** Module text up to the entry point. */
  prologue(extraParams = ''): string {
    const lines: string[] = []
    if (this.bindings.usesF16) lines.push('enable f16;')
    if (this.usesSubgroups) lines.push('enable subgroups;')
    for (const extension of this.extensions) lines.push(`enable ${extension};`)
    const words = Math.max(1, Math.ceil(this.words.length / 4))
    lines.push(`struct Params { ${extraParams}e: array<vec4<u32>, ${words}> }`)
    lines.push('@group(0) @binding(0) var<uniform> params: Params;')
    lines.push(this.bindings.declarations())
    if (this.usesErf) lines.push(erfSource)
    return lines.join('\n')
  }
}

/** Lines computing the linear element index `layout` has for element `index` of its row-major order. */
function stridedIndex(
  builder: ModuleBuilder,
  lines: string[],
  dims: readonly number[],
  strides: readonly number[],
  offset: number,
  index: string,
): string {
  const terms: string[] = offset === 0 ? [] : [builder.word(offset)]
  let rest = index
  for (let axis = dims.length - 1; axis >= 0; axis--) {
    const stride = strides[axis] ?? 0
    let coordinate = rest
    if (axis > 0) {
      const dimension = builder.fresh('d')
      lines.push(`let ${dimension} = ${builder.word(dims[axis] ?? 1)};`)
      const next = builder.fresh('q')
      lines.push(`let ${next} = ${rest} / ${dimension};`)
      coordinate = `(${rest} - ${next} * ${dimension})`
      rest = next
    }
    if (stride === 1) terms.push(coordinate)
    else if (stride !== 0) terms.push(`${coordinate} * ${builder.word(stride)}`)
  }
  if (terms.length === 0) return '0u'
  const name = builder.fresh('i')
  lines.push(`let ${name} = ${terms.join(' + ')};`)
  return name
}

const isVectorisable = (dims: readonly number[], strides: readonly number[], offset: number) => {
  const last = dims.length - 1
  return (
    (dims[last] ?? 1) % 4 === 0 &&
    strides[last] === 1 &&
    offset % 4 === 0 &&
    strides.every((stride, axis) => axis === last || stride % 4 === 0)
  )
}

/** A value inside a kernel that was not read from memory: the anchor's result, or the old value of a written target. */
export interface Given {
  readonly node: Node
  readonly expression: string
}

/** How a store that overwrites part of a buffer reads what was there before. */
interface TargetAccess {
  readonly node: Node
  readonly layout: Layout
  readonly expression: string
}

/** Emits the members of one zone as straight-line code for one element (or four neighbours). */
export class ExpressionWriter {
  private readonly values = new Map<Node, string>()

  constructor(
    private readonly builder: ModuleBuilder,
    private readonly kernel: FusedKernel,
    private readonly width: Width,
    private readonly lines: string[],
    /** Linear index of the (first) element in the zone. */
    private readonly index: string,
    /** Elements of the zone that the kernel comes to. */
    private readonly range: Range,
    given: readonly Given[] = [],
    private readonly target: TargetAccess | null = null,
  ) {
    for (const { node, expression } of given) this.values.set(node, expression)
  }

  /** WGSL expression of a read made by a member of this zone. */
  read(read: Read): string {
    const { node } = read
    const known = this.values.get(node)
    if (known !== undefined && (node.spec.kind === 'constant' || this.kernel.members.has(node))) return known
    if (this.kernel.members.has(node)) {
      const text = this.member(node)
      this.values.set(node, text)
      return text
    }
    return this.leaf(read)
  }

  private member(node: Node): string {
    const { spec } = node
    const type = wgslType(node.dtype, this.width)
    const name = this.builder.fresh('v')
    if (spec.kind === 'constant') {
      const scalar = computeType(node.dtype)
      const bits =
        scalar === 'f32' ? this.builder.float(spec.value) : `bitcast<${scalar}>(${this.builder.word(spec.value)})`
      this.lines.push(`let ${name} = ${type}(${bits});`)
      return name
    }
    if (spec.kind === 'iota') {
      const inner = this.builder.word(spec.inner)
      const length = this.builder.word(spec.length)
      const position =
        this.width === 1
          ? `((${this.index} / ${inner}) % ${length})`
          : `(((vec4<u32>(${this.index}) + vec4<u32>(0u, 1u, 2u, 3u)) / ${inner}) % ${length})`
      this.lines.push(`let ${name} = ${type}(${position});`)
      return name
    }
    if (spec.kind !== 'elementwise') throw new Error(`Internal: ${spec.kind} cannot be a member of an expression.`)
    const template = elementwise[spec.op]
    if (!template) throw new Error(`Internal: no WGSL for elementwise operation '${spec.op}'.`)
    if (spec.op === 'erf') this.builder.usesErf = true
    const operands = node.inputs.map((input) => this.read(input))
    const operandType = wgslType(node.inputs[0]?.node.dtype ?? node.dtype, this.width)
    let value = template(operands, type, operandType)
    if (spec.op === 'cast') value = this.builder.bindings.rounded(value, node.dtype, this.width === 4)
    this.lines.push(`let ${name} = ${value};`)
    return name
  }

  private leaf(read: Read): string {
    const { node, layout } = read
    const type = wgslType(node.dtype, this.width)
    const name = this.builder.fresh('v')
    if (this.target && this.target.node === node) {
      this.lines.push(`let ${name} = ${this.target.expression};`)
      return name
    }
    const { dims, strides } = collapse(layout)
    const last = dims.length - 1
    const span = spanOf(layout, this.range.begin, this.range.end)
    const { bindings } = this.builder
    if (dims.length === 0 || strides.every((stride) => stride === 0)) {
      const access = bindings.reading(node, span, false)
      const offset = layout.offset - access.base
      this.lines.push(`let ${name} = ${type}(${access.load(offset === 0 ? '0u' : this.builder.word(offset))});`)
      return name
    }
    if (this.width === 4 && isVectorisable(dims, strides, layout.offset)) {
      const access = bindings.reading(node, span, true)
      const vectorDims = dims.map((dimension, axis) => (axis === last ? dimension / 4 : dimension))
      const vectorStrides = strides.map((stride, axis) => (axis === last ? 1 : stride / 4))
      const index = this.builder.fresh('x')
      this.lines.push(`let ${index} = ${this.index} / 4u;`)
      const offset = (layout.offset - access.base) / 4
      const at = stridedIndex(this.builder, this.lines, vectorDims, vectorStrides, offset, index)
      this.lines.push(`let ${name} = ${access.load(at)};`)
      return name
    }
    const access = bindings.reading(node, span, false)
    const offset = layout.offset - access.base
    if (this.width === 1 || (strides[last] === 0 && (dims[last] ?? 1) % 4 === 0)) {
      const at = stridedIndex(this.builder, this.lines, dims, strides, offset, this.index)
      this.lines.push(`let ${name} = ${type}(${access.load(at)});`)
      return name
    }
    const parts = [0, 1, 2, 3].map((lane) => {
      const index = this.builder.fresh('x')
      this.lines.push(`let ${index} = ${this.index} + ${lane}u;`)
      return access.load(stridedIndex(this.builder, this.lines, dims, strides, offset, index))
    })
    this.lines.push(`let ${name} = ${type}(${parts.join(', ')});`)
    return name
  }
}

export interface Target {
  readonly storage: Storage
  readonly dtype: DType
  /** Where element i of the kernel's row-major result goes; null when the result is stored as it comes. */
  readonly layout: Layout | null
  /** The node being overwritten, when it is one. */
  readonly node: Node | null
}

/**
 * The store function of a kernel: applies the members above the anchor (or all) and writes the root.
 *
 * @param range Elements of the result that the kernel stores.
 */
export function writeStore(
  builder: ModuleBuilder,
  kernel: FusedKernel,
  width: Width,
  target: Target,
  options: { name: string; vectorOutput: boolean; given: Node | null; range: Range },
): string {
  const lines: string[] = []
  const type = wgslType(target.dtype, width)
  const { range, vectorOutput: divide } = options
  const span = target.layout ? spanOf(target.layout, range.begin, range.end) : { low: range.begin, high: range.end - 1 }
  const access = builder.bindings.writing(target, span, divide, 'result')
  let place = 'i'
  if (divide) {
    place = builder.fresh('x')
    lines.push(`let ${place} = i / 4u;`)
  }
  if (target.layout) {
    const { dims, strides } = collapse(target.layout)
    const last = dims.length - 1
    const scaledDims = divide ? dims.map((d, axis) => (axis === last ? d / 4 : d)) : dims
    const scaledStrides = divide ? strides.map((s, axis) => (axis === last ? 1 : s / 4)) : strides
    const offset = (target.layout.offset - access.base) / (divide ? 4 : 1)
    place = stridedIndex(builder, lines, scaledDims, scaledStrides, offset, place)
  } else if (access.base > 0) {
    place = `(${place} - ${builder.word(access.base / (divide ? 4 : 1))})`
  }
  const old: TargetAccess | null = target.node
    ? {
        node: target.node,
        layout: target.layout ?? { shape: [], strides: [], offset: 0 },
        expression: `${type}(${access.load(place)})`,
      }
    : null
  const given = options.given ? [{ node: options.given, expression: 'v' }] : []
  const writer = new ExpressionWriter(builder, kernel, width, lines, 'i', range, given, old)
  const { root } = kernel
  let value: string
  if (root === options.given) value = 'v'
  else if (root.spec.kind === 'assign') {
    const [input] = root.inputs
    if (!input) throw new Error('Internal: assign without a value.')
    value = writer.read(input)
    if (computeType(input.node.dtype) !== computeType(target.dtype)) value = `${type}(${value})`
  } else value = writer.read({ node: root, layout: { shape: [], strides: [], offset: 0 }, version: 0 })
  lines.push(access.store(place, value))
  const parameter = options.given ? `, v: ${wgslType(options.given.dtype, width)}` : ''
  return `fn ${options.name}(i: u32${parameter}) {\n  ${lines.join('\n  ')}\n}`
}

export function targetIsVectorisable(target: Target): boolean {
  if (!target.layout) return true
  const { dims, strides } = collapse(target.layout)
  return dims.length > 0 && isVectorisable(dims, strides, target.layout.offset)
}
