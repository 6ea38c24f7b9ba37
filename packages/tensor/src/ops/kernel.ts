/**
 * The door for hand-written WGSL. The caller gives named inputs, outputs, parameters and a function body; bindings and
 * typed accessors are generated. A kernel has no gradient by itself: give it one with `customGrad`.
 */
import { ShapeError } from '../device/errors.js'
import { Node, readOf, type KernelParameter } from '../graph/node.js'
import {
  bytesPerElement,
  checkShape,
  contiguousLayout,
  isContiguous,
  isQuantised,
  type DType,
  type Shape,
} from '../graph/shape.js'
import { deviceOf, Tensor } from '../graph/tensor.js'
import { copy } from './elementwise.js'

export interface KernelOptions<Output extends string> {
  readonly name: string
  /** Read as `load_<name>(i)`: element i in row-major order, narrow and quantised floats widened to f32. */
  readonly inputs: Readonly<Record<string, Tensor>>
  /** Written with `store_<name>(i, value)`. Prefer f32: single bf16 share words and are stored by two atomics. */
  readonly outputs: Readonly<Record<Output, { readonly shape: Shape; readonly dtype: DType }>>
  /** Uniform data, read as `params.<name>`. Shapes and changing scalars belong here, never in the text. */
  readonly params?: Readonly<Record<string, KernelParameter>>
  /** Numbers compiled into the text: workgroup layout and the like. Each combination is a pipeline of its own. */
  readonly constants?: Readonly<Record<string, number>>
  readonly workgroupSize?: readonly [number, number, number]
  /** Workgroups. x may be any size when y is 1; the body must then ignore ids beyond what it needs. */
  readonly dispatch: readonly [number, number, number]
  /** WGSL that defines `fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32)`. */
  readonly body: string
  /**
   * Tensors made by `buffer()` or `tensor()`, or runs of their rows, that the kernel updates in place: `load_<name>` and
   * `store_<name>`.
   */
  readonly writes?: Readonly<Record<string, Tensor>>
  readonly zeroOutputs?: boolean
  /**
   * Names of inputs, outputs and writes that the body sees as vec4: `load_<name>(i)` and `store_<name>(i, value)` then
   * move elements 4i … 4i + 3 at once. Their sizes should be multiples of four.
   */
  readonly vectors?: readonly string[]
  /**
   * The body uses subgroup operations, and finds its invocation's place in the subgroup in `subgroup_lane`. Only for
   * devices whose `features` have `subgroups`.
   */
  readonly subgroups?: boolean
}

/** What a u32 or i32 may be. */
const ranges = { u32: [0, 2 ** 32 - 1], i32: [-(2 ** 31), 2 ** 31 - 1] } as const

function checkParameter(kernelName: string, name: string, parameter: KernelParameter): void {
  const [type, value] = (Array.isArray(parameter) ? parameter : []) as Partial<KernelParameter>
  if (typeof value === 'number') {
    if (type === 'f32') return
    const range = type && ranges[type]
    if (range && Number.isInteger(value) && value >= range[0] && value <= range[1]) return
  }
  throw new ShapeError(
    `kernel '${kernelName}': parameter '${name}' is ${String(parameter)}; give ['u32', n], ['i32', n] with n an integer of that type, or ['f32', x].`,
  )
}

function checkLaunch({ name, dispatch, workgroupSize = [64, 1, 1], params = {} }: KernelOptions<string>): void {
  const fits = (sizes: readonly number[], least: number) =>
    sizes.length === 3 && sizes.every((size) => Number.isInteger(size) && size >= least)
  if (!fits(dispatch, 0) || !fits(workgroupSize, 1)) {
    throw new ShapeError(
      `kernel '${name}': a dispatch of [${dispatch.join(', ')}] workgroups of [${workgroupSize.join(', ')}]; both must be three integers, ` +
        `those of the dispatch ≥ 0, those of a workgroup ≥ 1.`,
    )
  }
  for (const parameter of Object.keys(params)) checkParameter(name, parameter, params[parameter] as KernelParameter)
}

function checkOutput(kernelName: string, output: string, { shape, dtype }: { shape: Shape; dtype: DType }): void {
  checkShape(shape, `kernel '${kernelName}', output '${output}'`)
  if (Object.hasOwn(bytesPerElement, dtype) && !isQuantised(dtype)) return
  throw new ShapeError(
    `kernel '${kernelName}': output '${output}' cannot be stored as ${dtype}; allowed: f32, f16, bf16, i32, u32.`,
  )
}

/**
 * Adds a hand-written kernel to the graph.
 *
 * @throws {ShapeError} an output, a parameter or the launch is not of the form above, a write has no buffer of its own,
 * or the tensors live on several devices. WGSL that does not compile fails the evaluation.
 */
export function kernel<Output extends string>(options: KernelOptions<Output>): Record<Output, Tensor> {
  const vectors = new Set(options.vectors ?? [])
  const isReadable = (name: string, { layout }: Tensor) =>
    isContiguous(layout) && (layout.offset % 4 === 0 || !vectors.has(name))
  const inputs = Object.entries(options.inputs).map(
    ([name, tensor]) => [name, isReadable(name, tensor) ? tensor : copy(tensor)] as const,
  )
  const writes = Object.entries(options.writes ?? {})
  for (const [name, { layout, node }] of writes) {
    if (!isContiguous(layout) || node.spec.kind !== 'source') {
      throw new ShapeError(
        `kernel '${options.name}': '${name}' must be a tensor that owns its buffer, or a run of its rows.`,
      )
    }
  }
  checkLaunch(options)
  const device = deviceOf(
    [...inputs, ...writes].map(([, tensor]) => tensor),
    `kernel '${options.name}'`,
  )
  if (options.subgroups && !device.features.has('subgroups')) {
    throw new ShapeError(
      `kernel '${options.name}' uses subgroups, which the adapter '${device.info.description}' lacks; check device.features.`,
    )
  }
  const outputs = Object.entries(options.outputs) as [Output, { shape: Shape; dtype: DType }][]
  const node = new Node(
    {
      kind: 'kernel',
      name: options.name,
      inputNames: inputs.map(([name]) => name),
      outputs: outputs.map(([name, { shape, dtype }]) => ({ name, shape, dtype })),
      params: options.params ?? {},
      constants: options.constants ?? {},
      workgroupSize: options.workgroupSize ?? [64, 1, 1],
      dispatch: options.dispatch,
      body: options.body,
      writes: writes.map(([name, { node, layout }]) => ({ name, node, layout })),
      zeroOutputs: options.zeroOutputs ?? false,
      vectors,
      subgroups: options.subgroups ?? false,
    },
    inputs.map(([, tensor]) => readOf(tensor.node, tensor.layout)),
    [1],
    'f32',
  )
  const result: Partial<Record<Output, Tensor>> = {}
  const made = [readOf(node, contiguousLayout([1]))]
  node.outputs = outputs.map(([name, { shape, dtype }], index) => {
    checkOutput(options.name, name, { shape, dtype })
    const output = new Node({ kind: 'output', index }, made, shape, dtype)
    result[name] = new Tensor(device, output, contiguousLayout(shape))
    return output
  })
  if (writes.length > 0) device.addWrite(node)
  return result as Record<Output, Tensor>
}
