/**
 * Reductions. The input is seen as [outer, reduced, inner]; lanes of a workgroup walk the reduced axis and are added by
 * a tree. Few outputs over a long axis would leave the GPU idle: then the axis is cut into chunks whose partial results
 * a second kernel reduces, in a fixed order.
 */
import {
  ExpressionWriter,
  ModuleBuilder,
  targetIsVectorisable,
  writeStore,
  type Target,
  type Width,
} from './codegen.js'
import { foldGrid, type Dispatch, type EmitContext } from './dispatch.js'
import { computeType, wgslType } from './expression.js'
import type { Node, ReduceSpec, Storage } from './node.js'
import { inPieces, type Attempt } from './pieces.js'
import { labelOf, type FusedKernel } from './schedule.js'
import type { DType } from './shape.js'

const GROUP = 256

type Reduction = Pick<ReduceSpec, 'op' | 'outer' | 'reduced' | 'inner'>

/** Outer indices `from`..`to` and chunks `chunkFrom`..`chunkTo` of a reduction. */
interface Piece {
  readonly from: number
  readonly to: number
  readonly chunkFrom: number
  readonly chunkTo: number
}

function powerOfTwoAtLeast(value: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, value)))
}

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

/** How a reduction is laid over workgroups. */
interface Grid {
  readonly width: Width
  readonly lanes: number
  readonly columns: number
  /** Elements of the reduced axis in a chunk. */
  readonly chunk: number
  readonly chunks: number
}

/** The loop shared by both stages of a reduction. */
function reduceMain(
  builder: ModuleBuilder,
  spec: Reduction,
  dtype: DType,
  { width, lanes, columns, chunk }: Grid,
  piece: Piece,
  finish: (index: string, value: string) => string,
): string {
  const type = wgslType(dtype, width)
  const isRow = spec.inner === 1
  const kept: Width = isRow ? 1 : width
  const keptType = wgslType(dtype, kept)
  const first = builder.word((piece.from * spec.inner) / kept)
  const outputs = builder.word((piece.to * spec.inner) / kept)
  const reduced = builder.word(spec.reduced)
  const inner = builder.word(spec.inner)
  const chunkWord = builder.word(chunk)
  const chunkFrom = builder.word(piece.chunkFrom)
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
  let output = ${first} + (group.x + group.y * groups.x) * ${columns}u + ${column};
  let reduced = ${reduced};
  let inner = ${inner};
  let chunk = ${chunkFrom} + group.z;
  let begin = chunk * ${chunkWord};
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
function lanesOf(spec: Reduction, width: Width): { lanes: number; columns: number } {
  if (spec.inner === 1) {
    const perRow = powerOfTwoAtLeast(spec.reduced / width / 2)
    const lanes = Math.min(spec.outer >= 64 ? 32 : GROUP, Math.max(1, perRow))
    return { lanes, columns: GROUP / lanes }
  }
  const columns = Math.min(64, powerOfTwoAtLeast((spec.outer * spec.inner) / width))
  const lanes = Math.min(GROUP / columns, powerOfTwoAtLeast(spec.reduced))
  return { lanes, columns }
}

function gridOf(spec: Reduction, target: Target, segments: number, mostChunks: number): Grid {
  const isRow = spec.inner === 1
  const vectorises = isRow ? spec.reduced % 4 === 0 : spec.inner % 4 === 0 && targetIsVectorisable(target)
  const width: Width = vectorises ? 4 : 1
  const { lanes, columns } = lanesOf(spec, width)
  const groups = Math.ceil((spec.outer * spec.inner) / (isRow ? 1 : width) / columns)
  const step = lanes * (isRow ? width : 1)
  const rounds = Math.ceil(spec.reduced / step)
  let chunks = groups < 32 && rounds > 8 ? Math.min(64, mostChunks, Math.ceil(rounds / 8)) : 1
  // One run over more than a binding holds can only be cut along itself.
  if (spec.outer === 1 && segments > 1) chunks = Math.max(chunks, Math.min(rounds, mostChunks, 2 * segments))
  return { width, lanes, columns, chunk: Math.ceil(rounds / chunks) * step, chunks }
}

/** Elements of the input a piece comes to, and results it makes. */
function rangesOf(spec: Reduction, chunk: number, { from, to, chunkFrom, chunkTo }: Piece) {
  const { reduced, inner } = spec
  const results = { begin: from * inner, end: to * inner }
  const row = reduced * inner
  const elements =
    to - from === 1
      ? {
          begin: from * row + Math.min(chunkFrom * chunk, reduced - 1) * inner,
          end: from * row + Math.min(chunkTo * chunk, reduced) * inner,
        }
      : { begin: from * row, end: to * row }
  return { elements, results }
}

function halve({ from, to, chunkFrom, chunkTo }: Piece): [Piece, Piece] | null {
  if (to - from > 1) {
    const middle = (from + to) >> 1
    return [
      { from, to: middle, chunkFrom, chunkTo },
      { from: middle, to, chunkFrom, chunkTo },
    ]
  }
  if (chunkTo - chunkFrom <= 1) return null
  const middle = (chunkFrom + chunkTo) >> 1
  return [
    { from, to, chunkFrom, chunkTo: middle },
    { from, to, chunkFrom: middle, chunkTo },
  ]
}

export function emitReduce(
  kernel: FusedKernel,
  anchor: Node,
  spec: ReduceSpec,
  target: Target,
  context: EmitContext,
): Dispatch[] {
  const limit = context.limits.maxStorageBufferBindingSize
  const segments = Math.max(1, ...kernel.leaves.map(({ node }) => Math.ceil(node.bytes / limit)))
  const grid = gridOf(spec, target, segments, context.limits.maxComputeWorkgroupsPerDimension)
  const outputs = spec.outer * spec.inner
  const [input] = anchor.inputs
  if (!input) throw new Error('Internal: reduction without input.')
  const partial = grid.chunks > 1 ? context.temporary(grid.chunks * outputs * 4) : null
  const isRow = spec.inner === 1
  const storeWidth: Width = isRow ? 1 : grid.width

  const attempt = (piece: Piece): Attempt => {
    const { elements, results } = rangesOf(spec, grid.chunk, piece)
    const builder = new ModuleBuilder(context)
    const lines: string[] = []
    const writer = new ExpressionWriter(builder, kernel, grid.width, lines, 'i', elements)
    let value = writer.read(input)
    const type = wgslType(anchor.dtype, grid.width)
    if (computeType(input.node.dtype) !== computeType(anchor.dtype)) value = `${type}(${value})`
    const functions = [`fn element(i: u32) -> ${type} {\n  ${lines.join('\n  ')}\n  return ${value};\n}`]
    const isVector = storeWidth === 4
    let finish: (index: string, result: string) => string
    if (partial) {
      const span = {
        low: piece.chunkFrom * outputs + results.begin,
        high: (piece.chunkTo - 1) * outputs + results.end - 1,
      }
      const source = { storage: partial, dtype: computeType(anchor.dtype) }
      const access = builder.bindings.writing(source, span, isVector, 'result')
      const place = `chunk * ${builder.word(outputs)} - ${builder.word(access.base)}`
      finish = (index, result) =>
        access.store(isVector ? `((${place} + ${index}) / 4u)` : `(${place} + ${index})`, result)
    } else {
      const options = { name: 'store_out', vectorOutput: isVector, given: anchor, range: results }
      functions.push(writeStore(builder, kernel, storeWidth, target, options))
      finish = (index, result) => `store_out(${index}, ${result});`
    }
    const main = reduceMain(builder, spec, anchor.dtype, grid, piece, finish)
    const groups = Math.ceil((results.end - results.begin) / storeWidth / grid.columns)
    const [x, y] = foldGrid(groups, context.limits.maxComputeWorkgroupsPerDimension)
    const dispatch: Dispatch = {
      label: partial ? `${labelOf(kernel)} (partial)` : labelOf(kernel),
      code: [builder.prologue(), ...functions, main].join('\n'),
      reads: builder.bindings.reads,
      writes: builder.bindings.writes,
      params: builder.words,
      workgroups: [x, y, piece.chunkTo - piece.chunkFrom],
    }
    return { dispatch, builder }
  }
  const whole = { from: 0, to: spec.outer, chunkFrom: 0, chunkTo: grid.chunks }
  const dispatches = inPieces(whole, attempt, halve, context)
  if (!partial) return dispatches
  dispatches.push(...emitReduceFinal(kernel, anchor, spec, partial, grid.chunks, target, context))
  context.release(partial)
  return dispatches
}

/** Second stage: sums the chunks' partial results, a few threads per output, and applies the epilogue. */
function emitReduceFinal(
  kernel: FusedKernel,
  anchor: Node,
  { op, outer, inner }: ReduceSpec,
  partial: Storage,
  chunks: number,
  target: Target,
  context: EmitContext,
): Dispatch[] {
  const outputs = outer * inner
  const builder = new ModuleBuilder(context)
  const source = { storage: partial, dtype: computeType(anchor.dtype), quantization: null }
  const access = builder.bindings.reading(source, { low: 0, high: chunks * outputs - 1 }, false)
  const element = `fn element(i: u32) -> ${wgslType(anchor.dtype, 1)} { return ${access.load('i')}; }`
  const range = { begin: 0, end: outputs }
  const store = writeStore(builder, kernel, 1, target, { name: 'store_out', vectorOutput: false, given: anchor, range })
  const spec = { op, outer: 1, reduced: chunks, inner: outputs }
  const isRow = outputs === 1
  const lanes = isRow ? powerOfTwoAtLeast(chunks) : 4
  const columns = isRow ? 1 : 64
  const grid: Grid = { width: 1, lanes, columns, chunk: chunks, chunks: 1 }
  const piece = { from: 0, to: 1, chunkFrom: 0, chunkTo: 1 }
  const main = reduceMain(
    builder,
    spec,
    anchor.dtype,
    grid,
    piece,
    (index, result) => `store_out(${index}, ${result});`,
  )
  const [x, y] = foldGrid(Math.ceil(outputs / columns), context.limits.maxComputeWorkgroupsPerDimension)
  const dispatch: Dispatch = {
    label: `${labelOf(kernel)} (final)`,
    code: [builder.prologue(), element, store, main].join('\n'),
    reads: builder.bindings.reads,
    writes: builder.bindings.writes,
    params: builder.words,
    workgroups: [x, y, 1],
  }
  return inPieces(
    piece,
    () => ({ dispatch, builder }),
    () => null,
    context,
  )
}
