/**
 * Hand-written kernels. The author writes a WGSL function body over named inputs, outputs and parameters; bindings, the
 * parameter struct and typed accessors are generated, so one body serves every storage dtype.
 */
import { f32Word, type Target } from './codegen.js'
import { computeType } from './expression.js'
import { foldGrid, type Dispatch, type EmitContext } from './dispatch.js'
import type { KernelSpec, Node } from './node.js'

function parameterWord([type, value]: readonly ['u32' | 'i32' | 'f32', number]): number {
  return type === 'f32' ? f32Word(value) : value >>> 0
}

export function emitCustom(root: Node, spec: KernelSpec, targets: readonly Target[], context: EmitContext): Dispatch {
  const lines: string[] = []
  const dtypes = [...root.inputs.map(({ node }) => node.dtype), ...spec.outputs.map(({ dtype }) => dtype)]
  if (dtypes.includes('f16')) lines.push('enable f16;')
  const names = Object.keys(spec.params)
  const fields = names.length > 0 ? names.map((name) => `${name}: ${spec.params[name]?.[0] ?? 'u32'}`) : ['unused: u32']
  lines.push(`struct Params { ${fields.join(', ')} }`)
  lines.push('@group(0) @binding(0) var<uniform> params: Params;')
  for (const [name, value] of Object.entries(spec.constants)) {
    lines.push(`const ${name} = ${Number.isInteger(value) ? `${value}u` : String(value)};`)
  }
  let binding = 1
  root.inputs.forEach(({ node }, index) => {
    const name = spec.inputNames[index] ?? `input${index}`
    const type = computeType(node.dtype)
    lines.push(`@group(0) @binding(${binding++}) var<storage, read> ${name}: array<${node.dtype}>;`)
    lines.push(`fn load_${name}(i: u32) -> ${type} { return ${type}(${name}[i]); }`)
  })
  for (const { name, dtype } of spec.outputs) {
    const type = computeType(dtype)
    lines.push(`@group(0) @binding(${binding++}) var<storage, read_write> ${name}: array<${dtype}>;`)
    lines.push(`fn store_${name}(i: u32, v: ${type}) { ${name}[i] = ${dtype}(v); }`)
  }
  for (const { name, node } of spec.writes) {
    const type = computeType(node.dtype)
    lines.push(`@group(0) @binding(${binding++}) var<storage, read_write> ${name}: array<${node.dtype}>;`)
    lines.push(`fn load_${name}(i: u32) -> ${type} { return ${type}(${name}[i]); }`)
    lines.push(`fn store_${name}(i: u32, v: ${type}) { ${name}[i] = ${node.dtype}(v); }`)
  }
  const [sx, sy, sz] = spec.workgroupSize
  lines.push(spec.body)
  // The x dimension may exceed what one dispatch can hold; it is folded over x and y and unfolded here.
  lines.push(`@compute @workgroup_size(${sx}, ${sy}, ${sz})
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) lid: vec3<u32>, @builtin(local_invocation_index) lidx: u32) {
  main_kernel(vec3<u32>(id.x + FOLD_Y(id.y, groups.x), UNFOLD_Y(id.y), id.z), lid, lidx);
}`)
  const [dx, dy, dz] = spec.dispatch
  const limit = context.limits.maxComputeWorkgroupsPerDimension
  const folds = dx > limit
  if (folds && dy > 1)
    throw new Error(`Kernel '${spec.name}': dispatch x = ${dx} exceeds ${limit} and y is in use; put the work on z.`)
  const code = lines
    .join('\n')
    .replace('FOLD_Y(id.y, groups.x)', folds ? 'id.y * groups.x' : '0u')
    .replace('UNFOLD_Y(id.y)', folds ? '0u' : 'id.y')
  const [fx, fy] = folds ? foldGrid(dx, limit) : [dx, dy]
  const outputs = targets.map(({ storage }) => storage)
  const updated = spec.writes.map(({ name, node }) => {
    if (!node.storage) throw new Error(`Internal: kernel '${spec.name}' updates '${name}', which has no value.`)
    return node.storage
  })
  return {
    label: spec.name,
    code,
    reads: root.inputs.map(({ node }) => {
      if (!node.storage) throw new Error(`Internal: kernel '${spec.name}' reads a value that does not exist yet.`)
      return node.storage
    }),
    writes: [...outputs, ...updated],
    params: names.length > 0 ? names.map((name) => parameterWord(spec.params[name] ?? ['u32', 0])) : [0],
    workgroups: [fx, fy, dz],
    ...(spec.zeroOutputs ? { zero: outputs } : {}),
  }
}
