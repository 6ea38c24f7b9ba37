/**
 * Matrix products: the planner chooses a kernel by shape and strides; here its operands become windows on buffers and
 * its results pass through the epilogue. Operands or results beyond one binding are cut along batch, rows or columns.
 */
import { planMatmul, planPanels, type MatmulOperand, type MatmulPlan } from '../kernels/matmul.js'
import type { PanelCopy } from '../kernels/matmul-panels.js'
import type { ReadAccess, Span } from './access.js'
import { ModuleBuilder, targetIsVectorisable, writeStore, type Range, type Target } from './codegen.js'
import { foldGrid, type Dispatch, type EmitContext } from './dispatch.js'
import { emitElementwise } from './emit-elementwise.js'
import { Node, type MatmulSpec, type Read } from './node.js'
import { inPieces, type Attempt } from './pieces.js'
import { labelOf, type FusedKernel } from './schedule.js'
import { bytesPerElement, contiguousStrides, isQuantised, sizeOf, spanOf, type Layout } from './shape.js'

/** A part of the product: matrices of the batch, rows of the left operand, columns of the right one. */
interface Piece {
  readonly batch: readonly [Range, Range, Range]
  readonly m: Range
  readonly n: Range
}

const lengthOf = ({ begin, end }: Range) => end - begin

function operandOf({ node }: Read, layout: Layout, base: number, hasF16: boolean): MatmulOperand {
  const rank = layout.strides.length
  const stride = (axis: number) => ((layout.shape[axis] ?? 1) === 1 ? 0 : (layout.strides[axis] ?? 0))
  return {
    dtype: hasF16 && node.dtype === 'f16' ? 'f16' : 'f32',
    offset: layout.offset - base,
    batchStrides: [stride(rank - 5), stride(rank - 4), stride(rank - 3)],
    rowStride: layout.strides[rank - 2] ?? 0,
    colStride: layout.strides[rank - 1] ?? 0,
  }
}

/** The layout restricted to a range of every axis. */
function part({ strides, offset }: Layout, ranges: readonly Range[]): Layout {
  return {
    shape: ranges.map(lengthOf),
    strides,
    offset: ranges.reduce((at, { begin }, axis) => at + begin * (strides[axis] ?? 0), offset),
  }
}

/** Rows from which a product on a CPU rasteriser repays copying its right operand. */
const TRANSPOSE_FROM_ROWS = 32

/**
 * A copy of the right operand with unit stride along its columns, for a CPU rasteriser whose kernel reads strided columns
 * element by element, and for types that cost much to decode: every tile of rows would decode them again.
 */
function transposedCopy(read: Read, spec: MatmulSpec, context: EmitContext): { read: Read; dispatches: Dispatch[] } {
  const used = read.layout.shape.map((dimension, axis) => (read.layout.strides[axis] === 0 && axis < 3 ? 1 : dimension))
  const layout = { ...read.layout, shape: used }
  const size = sizeOf(used)
  const node = new Node({ kind: 'source' }, [], used, 'f32')
  node.storage = context.temporary(size * 4)
  const copy = new Node({ kind: 'elementwise', op: 'cast' }, [{ ...read, layout }], used, 'f32')
  const kernel: FusedKernel = { root: copy, anchor: null, members: new Map([[copy, 'outer']]), leaves: copy.inputs }
  const target: Target = { storage: node.storage, dtype: 'f32', layout: null, node: null }
  const strides = contiguousStrides(used).map((stride, axis) => (axis < 3 && used[axis] === 1 ? 0 : stride))
  const shape = [...spec.batch, spec.k, spec.n]
  return {
    read: { node, layout: { shape, strides, offset: 0 }, version: 0 },
    dispatches: emitElementwise(kernel, target, context),
  }
}

export function emitMatmul(
  kernel: FusedKernel,
  anchor: Node,
  spec: MatmulSpec,
  target: Target,
  context: EmitContext,
): Dispatch[] {
  const [a, b] = anchor.inputs
  if (!a || !b) throw new Error('Internal: matmul without operands.')
  const isStrided = (b.layout.strides.at(-1) ?? 1) !== 1 && spec.n > 1
  const copyFits = 4 * b.node.size <= context.limits.maxStorageBufferBindingSize
  const isCostly = context.subgroupSize === undefined || isQuantised(b.node.dtype)
  const product = { kernel, anchor, spec, target }
  const overPanels = emitOverPanels(product, a, b, context)
  if (overPanels) return overPanels
  if (!context.isSoftware || !isStrided || !isCostly || spec.m < TRANSPOSE_FROM_ROWS || !copyFits) {
    return emitInPieces(product, a, b, context)
  }
  const copy = transposedCopy(b, spec, context)
  const products = emitInPieces(product, a, copy.read, context)
  copy.read.node.storage?.release()
  return [...copy.dispatches, ...products]
}

/** Cuts along the batch, else along the rows or columns of what is largest. */
function halve(piece: Piece, k: number, a: Read, b: Read): [Piece, Piece] | null {
  const cut = (range: Range): [Range, Range] => {
    const size = lengthOf(range)
    // Parts stay multiples of 64 where they are long enough, for the sake of vectors and tiles.
    const middle = range.begin + (size > 128 ? Math.ceil(size / 128) * 64 : Math.ceil(size / 2))
    return [
      { begin: range.begin, end: middle },
      { begin: middle, end: range.end },
    ]
  }
  const axis = piece.batch.findIndex((range) => lengthOf(range) > 1)
  if (axis >= 0) {
    const [batch0, batch1] = cut(piece.batch[axis] ?? { begin: 0, end: 1 }).map(
      (half) => piece.batch.map((range, at) => (at === axis ? half : range)) as [Range, Range, Range],
    )
    return batch0 && batch1
      ? [
          { ...piece, batch: batch0 },
          { ...piece, batch: batch1 },
        ]
      : null
  }
  const [m, n] = [lengthOf(piece.m), lengthOf(piece.n)]
  const left = m * k * bytesPerElement[a.node.dtype]
  const right = n * k * bytesPerElement[b.node.dtype]
  const alongColumns = n > 1 && (m === 1 || right > Math.max(left, 4 * m * n))
  if (!alongColumns && m === 1) return null
  const [first, second] = cut(alongColumns ? piece.n : piece.m)
  const name = alongColumns ? 'n' : 'm'
  return [
    { ...piece, [name]: first },
    { ...piece, [name]: second },
  ]
}

/** WGSL of `mm_a` or `mm_b`, which read an operand by element. */
function loadFunction(name: string, access: ReadAccess, vector: boolean): string {
  return vector
    ? `fn ${name}4(i: u32) -> vec4<f32> { return ${access.load('(i >> 2u)')}; }`
    : `fn ${name}(i: u32) -> f32 { return ${access.load('i')}; }`
}

/** Where the results of a part belong, and how its kernel's index becomes the product's. */
function placement(spec: MatmulSpec, { batch, m, n }: Piece, builder: ModuleBuilder) {
  const sizes = [...spec.batch, spec.m, spec.n]
  const ranges = [...batch, m, n]
  const strides = contiguousStrides(sizes)
  const begin = ranges.reduce((at, range, axis) => at + range.begin * (strides[axis] ?? 0), 0)
  const last = ranges.reduce((at, range, axis) => at + (range.end - 1) * (strides[axis] ?? 0), 0)
  const isWhole = ranges.every((range, axis) => lengthOf(range) === sizes[axis])
  const lines: string[] = []
  let rest = 'i'
  const terms = [builder.word(isWhole ? 0 : begin)]
  if (!isWhole) {
    for (let axis = ranges.length - 1; axis > 0; axis--) {
      const length = builder.word(lengthOf(ranges[axis] ?? m))
      terms.push(`(${rest} % ${length}) * ${builder.word(strides[axis] ?? 1)}`)
      lines.push(`let r${axis} = ${rest} / ${length};`)
      rest = `r${axis}`
    }
    terms.push(`${rest} * ${builder.word(strides[0] ?? 1)}`)
  }
  const move = isWhole ? null : `fn place(i: u32) -> u32 {\n  ${lines.join('\n  ')}\n  return ${terms.join(' + ')};\n}`
  return { range: { begin, end: last + 1 }, move }
}

function storeFunctions(vectorStore: boolean, vectorOutput: boolean, store: string, move: string | null): string[] {
  const stores = [store]
  if (move) {
    const own = vectorOutput ? 'fn store_out4(i: u32, v: vec4<f32>)' : 'fn store_out(i: u32, v: f32)'
    stores.push(move, `${own} { store_at(place(i), v); }`)
  }
  if (vectorStore && !vectorOutput) {
    const each = ['x', 'y', 'z', 'w'].map((part, j) => `store_out(i + ${j}u, v.${part});`).join(' ')
    stores.push(`fn store_out4(i: u32, v: vec4<f32>) { ${each} }`)
  }
  return stores
}

/** An operand as the kernel finds it. */
interface Operand {
  readonly node: Node
  readonly span: Span
}

/** The product to compute, and what becomes of its result. */
interface Product {
  readonly kernel: FusedKernel
  readonly anchor: Node
  readonly spec: MatmulSpec
  readonly target: Target
}

/** The module of a plan over a part of the product. */
function buildPlan(
  { kernel, anchor, spec, target }: Product,
  plan: MatmulPlan,
  [a, b]: readonly [Operand, Operand],
  piece: Piece,
  builder: ModuleBuilder,
): Attempt {
  const { bindings } = builder
  builder.usesSubgroups = plan.subgroups
  builder.extensions = plan.extensions ?? []
  const loads = [
    loadFunction('mm_a', bindings.reading(a.node, a.span, plan.vectorA), plan.vectorA),
    loadFunction('mm_b', bindings.reading(b.node, b.span, plan.vectorB), plan.vectorB),
  ]
  const vectorOutput = plan.vectorStore && spec.n % 4 === 0 && targetIsVectorisable(target)
  const { range, move } = placement(spec, piece, builder)
  const name = move ? 'store_at' : vectorOutput ? 'store_out4' : 'store_out'
  const options = { name, vectorOutput, given: anchor, range }
  const store = writeStore(builder, kernel, vectorOutput ? 4 : 1, target, options)
  const stores = storeFunctions(plan.vectorStore, vectorOutput, store, move)
  const prologue = builder.prologue(`mm: array<vec4<u32>, ${plan.params.length / 4}>, `)
  const dispatch: Dispatch = {
    label: `matmul ${labelOf(kernel)}`,
    code: [prologue, ...loads, ...stores, plan.code].join('\n'),
    reads: bindings.reads,
    writes: bindings.writes,
    params: [...plan.params, ...builder.words],
    workgroups: plan.workgroups,
  }
  return { dispatch, builder }
}

const softwareOptions = ({ isSoftware, subgroupSize }: EmitContext) => ({
  software: isSoftware,
  ...(subgroupSize === undefined ? {} : { subgroupSize }),
})

/** Copies an operand, which lies within one binding, into panels. */
function copyIntoPanels(read: Read, span: Span, plan: PanelCopy, context: EmitContext) {
  const node = new Node({ kind: 'source' }, [], [plan.size], 'f32')
  node.storage = context.temporary(plan.size * 4)
  const builder = new ModuleBuilder(context)
  const { bindings } = builder
  const panel = bindings.writing(node, { low: 0, high: plan.size - 1 }, true, 'panels')
  const load = loadFunction('mm_p', bindings.reading(read.node, span, plan.vector), plan.vector)
  const store = `fn store_panel(i: u32, v: vec4<f32>) { ${panel.store('i >> 2u', 'v')} }`
  const code = [builder.prologue(`mm: array<vec4<u32>, ${plan.params.length / 4}>, `), load, store, plan.code].join(
    '\n',
  )
  const dispatch: Dispatch = {
    label: 'matmul panels',
    code,
    reads: bindings.reads,
    writes: bindings.writes,
    params: [...plan.params, ...(builder.words.length > 0 ? builder.words : [0])],
    workgroups: [...foldGrid(plan.workgroups, context.limits.maxComputeWorkgroupsPerDimension), 1],
  }
  return { node, dispatch, builder }
}

/** The product over panels of its operands; null where that is not worth it, or anything is larger than one binding. */
function emitOverPanels(product: Product, a: Read, b: Read, context: EmitContext): Dispatch[] | null {
  const { spec, target } = product
  const limit = context.limits.maxStorageBufferBindingSize
  const operandA = operandOf(a, a.layout, 0, context.hasF16)
  const operandB = operandOf(b, b.layout, 0, context.hasF16)
  const plan = planPanels(spec, operandA, operandB, context.limits, softwareOptions(context))
  if (!plan) return null
  const bytes = [a.node.storage, b.node.storage, target.storage].map((storage) => storage?.bytes ?? 0)
  if (Math.max(...bytes, 4 * plan.a.size, 4 * plan.b.size) > limit) return null
  const copyA = copyIntoPanels(a, spanOf(a.layout), plan.a, context)
  const copyB = copyIntoPanels(b, spanOf(b.layout), plan.b, context)
  const whole = ({ node }: { node: Node }): Operand => ({ node, span: { low: 0, high: node.size - 1 } })
  const copied = [whole(copyA), whole(copyB)] as const
  const built = [copyA, copyB, buildPlan(product, plan.product, copied, wholeOf(spec), new ModuleBuilder(context))]
  copyA.node.storage?.release()
  copyB.node.storage?.release()
  const fits = built.every(
    ({ builder: { bindings } }) =>
      !bindings.isSegmented && bindings.slots <= context.limits.maxStorageBuffersPerShaderStage,
  )
  return fits ? built.map(({ dispatch }) => dispatch) : null
}

/** All of the product. */
function wholeOf(spec: MatmulSpec): Piece {
  const [b0, b1, b2] = spec.batch.map((size) => ({ begin: 0, end: size }))
  if (!b0 || !b1 || !b2) throw new Error('Internal: a product has three batch dimensions.')
  return { batch: [b0, b1, b2], m: { begin: 0, end: spec.m }, n: { begin: 0, end: spec.n } }
}

function emitInPieces(whole: Product, a: Read, b: Read, context: EmitContext): Dispatch[] {
  const { spec } = whole
  const attempt = (piece: Piece): Attempt => {
    const deep = { begin: 0, end: spec.k }
    const layoutA = part(a.layout, [...piece.batch, piece.m, deep])
    const layoutB = part(b.layout, [...piece.batch, deep, piece.n])
    const builder = new ModuleBuilder(context)
    const { bindings } = builder
    const [spanA, spanB] = [spanOf(layoutA), spanOf(layoutB)]
    const [b0, b1, b2] = piece.batch
    const product = {
      shape: {
        batch: [lengthOf(b0), lengthOf(b1), lengthOf(b2)],
        m: lengthOf(piece.m),
        n: lengthOf(piece.n),
        k: spec.k,
      },
      a: operandOf(a, layoutA, bindings.baseOf(a.node, spanA), context.hasF16),
      b: operandOf(b, layoutB, bindings.baseOf(b.node, spanB), context.hasF16),
    } as const
    const kernelName = context.chooseMatmul?.(product)
    const plan = planMatmul(product.shape, product.a, product.b, context.limits, {
      ...softwareOptions(context),
      ...(context.vendor === undefined ? {} : { vendor: context.vendor }),
      ...(kernelName === undefined ? {} : { kernel: kernelName }),
      ...context.matrixUnits,
    })
    const operands = [
      { node: a.node, span: spanA },
      { node: b.node, span: spanB },
    ] as const
    return buildPlan(whole, plan, operands, piece, builder)
  }
  return inPieces(wholeOf(spec), attempt, (piece) => halve(piece, spec.k, a, b), context)
}
