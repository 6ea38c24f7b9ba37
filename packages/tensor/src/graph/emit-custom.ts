/**
 * Hand-written kernels. The author writes a WGSL function body over named inputs, outputs and parameters; bindings, the
 * parameter struct and typed accessors are generated, so one body serves every storage dtype.
 */
import { ShapeError } from '../device/errors.js'
import { Bindings, type Span } from './access.js'
import { f32Word, type Target } from './codegen.js'
import { wgslType } from './expression.js'
import { foldGrid, type Dispatch, type EmitContext } from './dispatch.js'
import type { KernelSpec, Node } from './node.js'
import { contiguousLayout, sizeOf, type Layout } from './shape.js'

function parameterWord([type, value]: readonly ['u32' | 'i32' | 'f32', number]): number {
  return type === 'f32' ? f32Word(value) : value >>> 0
}

/** Words with the values of the parameters, which come first; those behind them are the same for every launch. */
export function setParameterWords({ params }: KernelSpec, words: readonly number[]): number[] {
  const result = words.slice()
  let index = 0
  for (const name in params) {
    const parameter = params[name]
    if (parameter) result[index++] = parameterWord(parameter)
  }
  return result
}

export function emitCustom(root: Node, spec: KernelSpec, targets: readonly Target[], context: EmitContext): Dispatch {
  const names = Object.keys(spec.params)
  const params = setParameterWords(spec, [])
  const fields = names.map((name) => `${name}: ${spec.params[name]?.[0] ?? 'u32'}`)
  const bindings = new Bindings(context, (value) => {
    const name = `word${params.push(value >>> 0) - 1 - names.length}_`
    fields.push(`${name}: u32`)
    return `params.${name}`
  })
  const functions: string[] = []
  root.inputs.forEach(({ node, layout }, index) => {
    const name = spec.inputNames[index] ?? `input${index}`
    const width = widthOf(spec, name)
    const access = bindings.reading(node, runOf(layout), width === 4)
    const offset = (layout.offset - access.base) / width
    const at = offset === 0 ? 'i' : `(i + ${bindings.word(offset)})`
    functions.push(loadFunction(name, wgslType(node.dtype, width), access.load(at)))
  })
  const written = [
    ...spec.outputs.map(({ name, dtype, shape }, index) => ({
      name,
      source: { dtype, storage: targets[index]?.storage ?? null },
      layout: contiguousLayout(shape),
      isUpdated: false,
    })),
    ...spec.writes.map(({ name, node, layout }) => ({ name, source: node, layout, isUpdated: true })),
  ]
  for (const { name, source, layout, isUpdated } of written) {
    const width = widthOf(spec, name)
    const access = bindings.writing(source, runOf(layout), width === 4, `buffer_${name}`)
    const offset = (layout.offset - access.base) / width
    const at = offset === 0 ? 'i' : `(i + ${bindings.word(offset)})`
    const type = wgslType(source.dtype, width)
    if (isUpdated) functions.push(loadFunction(name, type, access.load(at)))
    functions.push(`fn store_${name}(i: u32, v: ${type}) { ${access.store(at, 'v')} }`)
  }
  const { workgroups, fold } = gridOf(spec, context)
  checkSlots(spec, bindings, context)
  const constants = Object.entries(spec.constants).map(
    ([name, value]) => `const ${name} = ${Number.isInteger(value) ? `${value}u` : String(value)};`,
  )
  const [sx, sy, sz] = spec.workgroupSize
  const code = [
    ...(bindings.usesF16 ? ['enable f16;'] : []),
    ...(spec.subgroups ? ['enable subgroups;', 'var<private> subgroup_lane: u32;'] : []),
    `struct Params { ${(fields.length > 0 ? fields : ['unused: u32']).join(', ')} }`,
    '@group(0) @binding(0) var<uniform> params: Params;',
    ...constants,
    bindings.declarations(),
    ...functions,
    spec.body,
    `@compute @workgroup_size(${sx}, ${sy}, ${sz})
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) lid: vec3<u32>, @builtin(local_invocation_index) lidx: u32${spec.subgroups ? ', @builtin(subgroup_invocation_id) lane: u32' : ''}) {
  ${spec.subgroups ? 'subgroup_lane = lane;\n  ' : ''}main_kernel(${fold}, lid, lidx);
}`,
  ].join('\n')
  return {
    label: spec.name,
    code,
    reads: bindings.reads,
    writes: bindings.writes,
    params: params.length > 0 ? params : [0],
    workgroups,
    ...(spec.zeroOutputs ? { zero: targets.map(({ storage }) => storage) } : {}),
  }
}

function widthOf(spec: KernelSpec, name: string): 1 | 4 {
  return spec.vectors.has(name) ? 4 : 1
}

/** The elements of a contiguous layout. */
function runOf({ shape, offset }: Layout): Span {
  return { low: offset, high: offset + Math.max(1, sizeOf(shape)) - 1 }
}

function loadFunction(name: string, type: string, value: string): string {
  return `fn load_${name}(i: u32) -> ${type} { return ${value}; }`
}

/** One axis may exceed what a dispatch can hold when another is 1: it is folded over both and unfolded here. */
function gridOf({ name, dispatch: [x, y, z] }: KernelSpec, context: EmitContext) {
  const limit = context.limits.maxComputeWorkgroupsPerDimension
  const plain = { workgroups: [x, y, z] as const, fold: 'id' }
  if (Math.max(x, y, z) <= limit) return plain
  if (x > limit && y === 1 && z <= limit) {
    const [fx, fy] = foldGrid(x, limit)
    return { workgroups: [fx, fy, z] as const, fold: 'vec3<u32>(id.x + id.y * groups.x, 0u, id.z)' }
  }
  throw new ShapeError(
    `Kernel '${name}': a dispatch of [${x}, ${y}, ${z}] workgroups exceeds ${limit} an axis, and only x can be folded, into a y of 1. ` +
      `Put the work on x.`,
  )
}

function checkSlots({ name }: KernelSpec, { slots }: Bindings, { limits }: EmitContext): void {
  if (slots <= limits.maxStorageBuffersPerShaderStage) return
  throw new ShapeError(
    `Kernel '${name}' needs ${slots} bindings of at most ${limits.maxStorageBufferBindingSize} bytes to reach its tensors, and this adapter ` +
      `has ${limits.maxStorageBuffersPerShaderStage}. Use smaller batches, or slice its tensors along their first axis.`,
  )
}
