/**
 * Chains of elementwise operations: one thread a few elements, four at a time where the result's place allows.
 */
import { ModuleBuilder, targetIsVectorisable, writeStore, type Range, type Target, type Width } from './codegen.js'
import { foldGrid, type Dispatch, type EmitContext } from './dispatch.js'
import { inPieces, type Attempt } from './pieces.js'
import { labelOf, type FusedKernel } from './schedule.js'
import { sizeOf } from './shape.js'

const GROUP = 256
/** Parts of a result end on multiples of this, so that every part may be vectorised and starts a binding. */
const PIECE_STEP = 512

function halve({ begin, end }: Range): [Range, Range] | null {
  const middle = Math.ceil((begin + end) / 2 / PIECE_STEP) * PIECE_STEP
  if (middle >= end) return null
  return [
    { begin, end: middle },
    { begin: middle, end },
  ]
}

export function emitElementwise(kernel: FusedKernel, target: Target, context: EmitContext): Dispatch[] {
  const { root } = kernel
  const size = root.spec.kind === 'assign' ? sizeOf(root.spec.layout.shape) : root.size
  const width: Width = size % 4 === 0 && targetIsVectorisable(target) ? 4 : 1
  const attempt = (range: Range): Attempt => {
    const builder = new ModuleBuilder(context)
    const items = (range.end - range.begin) / width
    const perThread = items > GROUP * 128 ? 4 : 1
    const options = { name: 'store_out', vectorOutput: width === 4, given: null, range }
    const store = writeStore(builder, kernel, width, target, options)
    const [first, count, per] = [range.begin, items, perThread].map((value) => builder.word(value))
    const main = `
@compute @workgroup_size(${GROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let per = ${per};
  let base = (group.x + group.y * groups.x) * ${GROUP}u * per + lane;
  for (var k = 0u; k < per; k++) {
    let j = base + k * ${GROUP}u;
    if (j < ${count}) { store_out(${first} + j * ${width}u); }
  }
}`
    const [x, y] = foldGrid(Math.ceil(items / (GROUP * perThread)), context.limits.maxComputeWorkgroupsPerDimension)
    const dispatch: Dispatch = {
      label: labelOf(kernel),
      code: [builder.prologue(), store, main].join('\n'),
      reads: builder.bindings.reads,
      writes: builder.bindings.writes,
      params: builder.words,
      workgroups: [x, y, 1],
    }
    return { dispatch, builder }
  }
  return inPieces({ begin: 0, end: size }, attempt, halve, context)
}
