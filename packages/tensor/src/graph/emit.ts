/**
 * One planned kernel becomes one or a few dispatches: WGSL text, buffers, uniform words and a grid. Nothing here touches
 * the GPU; what comes out is data that the device encodes.
 */
import { planMatmul, type MatmulOperand } from '../kernels/matmul.js'
import {
  ExpressionWriter,
  ModuleBuilder,
  targetIsVectorisable,
  writeStore,
  type Binding,
  type Target,
  type Width,
} from './codegen.js'
import { computeType, wgslType } from './expression.js'
import { Node, type MatmulSpec, type Read, type ReduceSpec, type Storage } from './node.js'
import type { FusedKernel } from './schedule.js'
import { contiguousStrides, sizeOf, type DType } from './shape.js'
import { emitCustom } from './emit-custom.js'
import { foldGrid, type Dispatch, type EmitContext } from './dispatch.js'

const GROUP = 256

function powerOfTwoAtLeast(value: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, value)))
}

export function emit(kernel: FusedKernel, targets: readonly Target[], context: EmitContext): Dispatch[] {
  const { root, anchor } = kernel
  if (root.spec.kind === 'kernel') return [emitCustom(root, root.spec, targets, context)]
  const [target] = targets
  if (!target) throw new Error('Internal: a kernel needs somewhere to write.')
  if (anchor?.spec.kind === 'reduce') return emitReduce(kernel, anchor, anchor.spec, target, context)
  if (anchor?.spec.kind === 'matmul') return emitMatmul(kernel, anchor, anchor.spec, target, context)
  if (root.spec.kind === 'concat') return emitConcat(root, target, context)
  return [emitElementwise(kernel, target, context)]
}

function labelOf(kernel: FusedKernel): string {
  const ops = [...kernel.members.keys()].map(({ spec }) => (spec.kind === 'elementwise' ? spec.op : spec.kind))
  return ops.length > 6 ? `${ops.slice(0, 6).join('+')}+${ops.length - 6} more` : ops.reverse().join('+')
}

function emitElementwise(kernel: FusedKernel, target: Target, context: EmitContext): Dispatch {
  const { root } = kernel
  const size = root.spec.kind === 'assign' ? sizeOf(root.spec.layout.shape) : root.size
  const width: Width = size % 4 === 0 && targetIsVectorisable(target) ? 4 : 1
  const builder = new ModuleBuilder()
  const items = size / width
  const perThread = items > GROUP * 128 ? 4 : 1
  const store = writeStore(builder, kernel, width, target, {
    name: 'store_out',
    vectorOutput: width === 4,
    given: null,
  })
  const count = builder.word(items)
  const per = builder.word(perThread)
  const main = `
@compute @workgroup_size(${GROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let per = ${per};
  let base = (group.x + group.y * groups.x) * ${GROUP}u * per + lane;
  for (var k = 0u; k < per; k++) {
    let j = base + k * ${GROUP}u;
    if (j < ${count}) { store_out(j * ${width}u); }
  }
}`
  const [x, y] = foldGrid(Math.ceil(items / (GROUP * perThread)), context.limits.maxComputeWorkgroupsPerDimension)
  const code = `${builder.prologue({ dtype: target.dtype, vector: width === 4 })}\n${store}\n${main}`
  return {
    label: labelOf(kernel),
    code,
    reads: builder.bindings.map(({ storage }) => storage),
    writes: [target.storage],
    params: builder.words,
    workgroups: [x, y, 1],
  }
}

// ------------------------------------------------------------------------------------------------ reductions

const combine = {
  sum: (a: string, b: string) => `${a} + ${b}`,
  max: (a: string, b: string) => `max(${a}, ${b})`,
  min: (a: string, b: string) => `min(${a}, ${b})`,
}

function identityOf(op: ReduceSpec['op'], dtype: DType): string {
  const type = computeType(dtype)
  if (op === 'sum') return `${type}(0)`
  if (op === 'max') return { f32: 'f32(-3.4028234e38)', i32: 'i32(-2147483647 - 1)', u32: 'u32(0)' }[type]
  return { f32: 'f32(3.4028234e38)', i32: 'i32(2147483647)', u32: 'u32(4294967295)' }[type]
}

/** The loop shared by both stages of a reduction. */
function reduceMain(options: {
  builder: ModuleBuilder
  spec: Pick<ReduceSpec, 'op' | 'outer' | 'reduced' | 'inner'>
  dtype: DType
  width: Width
  lanes: number
  columns: number
  chunk: number
  finish: (index: string, value: string) => string
}): string {
  const { builder, spec, dtype, width, lanes, columns, chunk, finish } = options
  const type = wgslType(dtype, width)
  const isRow = spec.inner === 1
  const kept: Width = isRow ? 1 : width
  const keptType = wgslType(dtype, kept)
  const outputs = builder.word((spec.outer * spec.inner) / kept)
  const reduced = builder.word(spec.reduced)
  const inner = builder.word(spec.inner)
  const chunkWord = builder.word(chunk)
  const merge = combine[spec.op]
  const zero = identityOf(spec.op, dtype)
  const lane = isRow ? `lidx % ${lanes}u` : `lidx / ${columns}u`
  const column = isRow ? `lidx / ${lanes}u` : `lidx % ${columns}u`
  const step = isRow ? width : 1
  const slot = isRow ? '1u' : `${columns}u`
  let folded = 'acc'
  if (isRow && width === 4) {
    folded =
      spec.op === 'sum'
        ? '((acc.x + acc.y) + (acc.z + acc.w))'
        : merge(merge('acc.x', 'acc.y'), merge('acc.z', 'acc.w'))
  }
  return `
var<workgroup> partials: array<${keptType}, ${lanes * columns}>;
@compute @workgroup_size(${lanes * columns})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lidx: u32) {
  let lane = ${lane};
  let output = (group.x + group.y * groups.x) * ${columns}u + ${column};
  let reduced = ${reduced};
  let inner = ${inner};
  let begin = group.z * ${chunkWord};
  let end = min(begin + ${chunkWord}, reduced);
  var acc = ${type}(${zero});
  let at = output * ${kept}u;
  if (output < ${outputs}) {
    let base = (at / inner) * reduced * inner + at % inner;
    for (var r = begin + lane * ${step}u; r < end; r += ${lanes * step}u) {
      acc = ${merge('acc', 'element(base + r * inner)')};
    }
  }
  partials[lidx] = ${folded};
  for (var half = ${Math.floor(lanes / 2)}u; half > 0u; half = half / 2u) {
    workgroupBarrier();
    if (lane < half) { partials[lidx] = ${merge('partials[lidx]', `partials[lidx + half * ${slot}]`)}; }
  }
  if (lane == 0u && output < ${outputs}) { ${finish('at', 'partials[lidx]')} }
}`
}

/** Threads along the reduction and outputs per workgroup. */
function reduceGrid(
  spec: Pick<ReduceSpec, 'outer' | 'reduced' | 'inner'>,
  width: Width,
): { lanes: number; columns: number } {
  if (spec.inner === 1) {
    const perRow = powerOfTwoAtLeast(spec.reduced / width / 2)
    const lanes = Math.min(spec.outer >= 64 ? 32 : GROUP, Math.max(1, perRow))
    return { lanes, columns: GROUP / lanes }
  }
  const columns = Math.min(64, powerOfTwoAtLeast((spec.outer * spec.inner) / width))
  const lanes = Math.min(GROUP / columns, powerOfTwoAtLeast(spec.reduced))
  return { lanes, columns }
}

function emitReduce(
  kernel: FusedKernel,
  anchor: Node,
  spec: ReduceSpec,
  target: Target,
  context: EmitContext,
): Dispatch[] {
  const isRow = spec.inner === 1
  const vectorises = isRow ? spec.reduced % 4 === 0 : spec.inner % 4 === 0 && targetIsVectorisable(target)
  const width: Width = vectorises ? 4 : 1
  const { lanes, columns } = reduceGrid(spec, width)
  const outputs = spec.outer * spec.inner
  const groups = Math.ceil(outputs / (isRow ? 1 : width) / columns)
  const step = lanes * (isRow ? width : 1)
  const rounds = Math.ceil(spec.reduced / step)
  const chunks = groups < 32 && rounds > 8 ? Math.min(64, Math.ceil(rounds / 8)) : 1
  const chunk = Math.ceil(rounds / chunks) * step
  const [x, y] = foldGrid(groups, context.limits.maxComputeWorkgroupsPerDimension)

  const builder = new ModuleBuilder()
  const lines: string[] = []
  const writer = new ExpressionWriter(builder, kernel, width, lines, 'i')
  const [input] = anchor.inputs
  if (!input) throw new Error('Internal: reduction without input.')
  let value = writer.read(input)
  if (computeType(input.node.dtype) !== computeType(anchor.dtype)) value = `${wgslType(anchor.dtype, width)}(${value})`
  const element = `fn element(i: u32) -> ${wgslType(anchor.dtype, width)} {\n  ${lines.join('\n  ')}\n  return ${value};\n}`

  const storeWidth: Width = isRow ? 1 : width
  const label = labelOf(kernel)
  if (chunks === 1) {
    const vectorOutput = storeWidth === 4
    const store = writeStore(builder, kernel, storeWidth, target, { name: 'store_out', vectorOutput, given: anchor })
    const main = reduceMain({
      builder,
      spec,
      dtype: anchor.dtype,
      width,
      lanes,
      columns,
      chunk,
      finish: (index, result) => `store_out(${index}, ${result});`,
    })
    const code = `${builder.prologue({ dtype: target.dtype, vector: vectorOutput })}\n${element}\n${store}\n${main}`
    return [
      {
        label,
        code,
        reads: builder.bindings.map(({ storage }) => storage),
        writes: [target.storage],
        params: builder.words,
        workgroups: [x, y, 1],
      },
    ]
  }

  const partialType: DType = computeType(anchor.dtype)
  const partial = context.temporary(chunks * outputs * 4)
  const outputWord = builder.word(outputs)
  const main = reduceMain({
    builder,
    spec,
    dtype: anchor.dtype,
    width,
    lanes,
    columns,
    chunk,
    finish: (index, result) =>
      storeWidth === 4
        ? `result[(group.z * ${outputWord} + ${index}) / 4u] = ${result};`
        : `result[group.z * ${outputWord} + ${index}] = ${result};`,
  })
  const first: Dispatch = {
    label: `${label} (partial)`,
    code: `${builder.prologue({ dtype: partialType, vector: storeWidth === 4 })}\n${element}\n${main}`,
    reads: builder.bindings.map(({ storage }) => storage),
    writes: [partial],
    params: builder.words,
    workgroups: [x, y, chunks],
  }
  const second = emitReduceFinal(kernel, anchor, spec, partial, chunks, outputs, target, context)
  context.release(partial)
  return [first, second]
}

/** Second stage: sums the chunks' partial results, one thread per output, and applies the epilogue. */
function emitReduceFinal(
  kernel: FusedKernel,
  anchor: Node,
  spec: ReduceSpec,
  partial: Storage,
  chunks: number,
  outputs: number,
  target: Target,
  context: EmitContext,
): Dispatch {
  const builder = new ModuleBuilder()
  const source = builder.bind(partial, computeType(anchor.dtype), false)
  const element = `fn element(i: u32) -> ${wgslType(anchor.dtype, 1)} { return ${source.name}[i]; }`
  const store = writeStore(builder, kernel, 1, target, { name: 'store_out', vectorOutput: false, given: anchor })
  const final = { op: spec.op, outer: 1, reduced: chunks, inner: outputs }
  const isRow = outputs === 1
  const lanes = isRow ? powerOfTwoAtLeast(chunks) : 4
  const columns = isRow ? 1 : 64
  const main = reduceMain({
    builder,
    spec: final,
    dtype: anchor.dtype,
    width: 1,
    lanes,
    columns,
    chunk: chunks,
    finish: (index, result) => `store_out(${index}, ${result});`,
  })
  const [x, y] = foldGrid(Math.ceil(outputs / columns), context.limits.maxComputeWorkgroupsPerDimension)
  return {
    label: `${labelOf(kernel)} (final)`,
    code: `${builder.prologue({ dtype: target.dtype, vector: false })}\n${element}\n${store}\n${main}`,
    reads: builder.bindings.map(({ storage }) => storage),
    writes: [target.storage],
    params: builder.words,
    workgroups: [x, y, 1],
  }
}

// ------------------------------------------------------------------------------------------------ matmul

function matmulOperand(read: Read): MatmulOperand {
  const { layout, node } = read
  const rank = layout.strides.length
  const stride = (axis: number) => ((layout.shape[axis] ?? 1) === 1 ? 0 : (layout.strides[axis] ?? 0))
  return {
    dtype: node.dtype === 'f16' ? 'f16' : 'f32',
    offset: layout.offset,
    batchStrides: [stride(rank - 5), stride(rank - 4), stride(rank - 3)],
    rowStride: layout.strides[rank - 2] ?? 0,
    colStride: layout.strides[rank - 1] ?? 0,
  }
}

/** Rows from which a product on a CPU rasteriser repays copying its right operand. */
const TRANSPOSE_FROM_ROWS = 32

/**
 * A copy of the right operand with unit stride along its columns. A CPU rasteriser reads neighbouring columns with one
 * vector load and strided ones element by element; for weights `[out, in]` the copy is a small part of the product.
 */
function transposedCopy(read: Read, spec: MatmulSpec, context: EmitContext): { read: Read; dispatch: Dispatch } {
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
    dispatch: emitElementwise(kernel, target, context),
  }
}

function emitMatmul(
  kernel: FusedKernel,
  anchor: Node,
  spec: MatmulSpec,
  target: Target,
  context: EmitContext,
): Dispatch[] {
  const [a, b] = anchor.inputs
  if (!a || !b) throw new Error('Internal: matmul without operands.')
  const isStrided = (b.layout.strides.at(-1) ?? 1) !== 1 && spec.n > 1
  if (!context.isSoftware || !isStrided || spec.m < TRANSPOSE_FROM_ROWS) {
    return [emitProduct(kernel, a, b, spec, anchor, target, context)]
  }
  const copy = transposedCopy(b, spec, context)
  const product = emitProduct(kernel, a, copy.read, spec, anchor, target, context)
  copy.read.node.storage?.release()
  return [copy.dispatch, product]
}

function loadFunction(name: string, { name: buffer, vector }: Binding): string {
  return vector
    ? `fn ${name}4(i: u32) -> vec4<f32> { return vec4<f32>(${buffer}[i >> 2u]); }`
    : `fn ${name}(i: u32) -> f32 { return f32(${buffer}[i]); }`
}

function emitProduct(
  kernel: FusedKernel,
  a: Read,
  b: Read,
  spec: MatmulSpec,
  anchor: Node,
  target: Target,
  context: EmitContext,
): Dispatch {
  if (!a.node.storage || !b.node.storage) throw new Error('Internal: matmul operands must have values.')
  const plan = planMatmul(
    { batch: spec.batch, m: spec.m, n: spec.n, k: spec.k },
    matmulOperand(a),
    matmulOperand(b),
    context.limits,
    {
      software: context.isSoftware,
      ...(context.subgroupSize === undefined ? {} : { subgroupSize: context.subgroupSize }),
    },
  )
  const builder = new ModuleBuilder()
  builder.usesSubgroups = plan.subgroups
  const vectorOutput = plan.vectorStore && targetIsVectorisable(target)
  const matrixA = builder.bind(a.node.storage, a.node.dtype, plan.vectorA)
  const matrixB = builder.bind(b.node.storage, b.node.dtype, plan.vectorB)
  const stores: string[] = []
  if (plan.vectorStore && vectorOutput) {
    stores.push(writeStore(builder, kernel, 4, target, { name: 'store_out4', vectorOutput: true, given: anchor }))
  } else {
    stores.push(writeStore(builder, kernel, 1, target, { name: 'store_out', vectorOutput: false, given: anchor }))
    if (plan.vectorStore) {
      stores.push(
        'fn store_out4(i: u32, v: vec4<f32>) { store_out(i, v.x); store_out(i + 1u, v.y); store_out(i + 2u, v.z); store_out(i + 3u, v.w); }',
      )
    }
  }
  const vectors = plan.params.length / 4
  const prologue = builder.prologue({ dtype: target.dtype, vector: vectorOutput }, `mm: array<vec4<u32>, ${vectors}>, `)
  const loads = [loadFunction('mm_a', matrixA), loadFunction('mm_b', matrixB)]
  return {
    label: `matmul ${labelOf(kernel)}`,
    code: `${prologue}\n${[...loads, ...stores].join('\n')}\n${plan.code}`,
    reads: builder.bindings.map(({ storage }) => storage),
    writes: [target.storage],
    params: [...plan.params, ...(builder.words.length > 0 ? builder.words : [0])],
    workgroups: plan.workgroups,
  }
}

// ------------------------------------------------------------------------------------------------ concat

function emitConcat(root: Node, target: Target, context: EmitContext): Dispatch[] {
  if (root.spec.kind !== 'concat') throw new Error('Internal: not a concat node.')
  const { outer, inner, lengths } = root.spec
  const total = lengths.reduce((sum, length) => sum + length, 0)
  const dispatches: Dispatch[] = []
  let start = 0
  root.inputs.forEach((read, index) => {
    const length = lengths[index] ?? 0
    const shape = [outer, length, inner]
    const layout = { shape, strides: [total * inner, inner, 1], offset: start * inner }
    start += length
    if (length === 0) return
    const flat: Read = { ...read }
    const copy = new Node({ kind: 'assign', target: root, layout }, [flat], shape, root.dtype)
    const kernel: FusedKernel = { root: copy, anchor: null, members: new Map([[copy, 'outer']]), leaves: [flat] }
    dispatches.push(
      emitElementwise(kernel, { storage: target.storage, dtype: root.dtype, layout, node: null }, context),
    )
  })
  return dispatches
}
