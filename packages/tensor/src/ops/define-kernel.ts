/**
 * A hand-written WGSL kernel as an operation: which inputs it takes and in which storage types, the shapes it gives, its
 * body, and its vector-Jacobian product. `kernel` runs a body once; this is how to make an operation of it that can be
 * called anywhere, checks what it is given, and can be differentiated.
 */
import { customGrad } from '../autograd/grad.js'
import { ShapeError, TensorStateError } from '../device/errors.js'
import type { KernelParameter } from '../graph/node.js'
import { isFloat, sameShape, type DType, type Shape } from '../graph/shape.js'
import type { Tensor } from '../graph/tensor.js'
import { kernel } from './kernel.js'

/** What becomes part of a name in WGSL. */
const IDENTIFIER = /^[a-zA-Z][a-zA-Z0-9_]*$/

/** Shape and storage type of a tensor. */
export interface TensorType {
  readonly shape: Shape
  readonly dtype: DType
}

/** How one call of a kernel is launched. */
export interface KernelLaunch {
  /** Uniform data, read as `params.<name>`: sizes, and scalars that change from call to call. */
  readonly params?: Readonly<Record<string, KernelParameter>>
  /** Numbers compiled into the text; each combination is a pipeline of its own. */
  readonly constants?: Readonly<Record<string, number>>
  /** Default [64, 1, 1]. */
  readonly workgroupSize?: readonly [number, number, number]
  /** Workgroups. x may be any size when y is 1; the body must then ignore ids beyond what it needs. */
  readonly dispatch: readonly [number, number, number]
}

/** What the gradient of a kernel may use. */
export interface KernelVjp<Input extends string, Output extends string, Options> {
  readonly inputs: Readonly<Record<Input, Tensor>>
  readonly outputs: Readonly<Record<Output, Tensor>>
  /** Gradients of the outputs; null where none arrived. */
  readonly gradients: Readonly<Record<Output, Tensor | null>>
  readonly options: Options
}

export interface KernelDefinition<Input extends string, Output extends string, Options> {
  /** Shown by profiles and in errors. */
  readonly name: string
  /** Inputs in the order of their bindings, each with the storage types it may have. In the body: `load_<name>(i)`. */
  readonly inputs: Readonly<Record<Input, readonly DType[]>>
  /**
   * Outputs by name. Called before anything runs: throw a {@link ShapeError} for shapes that do not fit together. In the
   * body: `store_<name>(i, value)`.
   */
  readonly outputs: (
    inputs: Readonly<Record<Input, TensorType>>,
    options: Options,
  ) => Readonly<Record<Output, TensorType>>
  readonly launch: (inputs: Readonly<Record<Input, TensorType>>, options: Options) => KernelLaunch
  /** WGSL that defines `fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32)`. */
  readonly body: string
  /**
   * Gradients of the inputs; those left out have none. Made of any operations, other kernels included. Absent: asking for a
   * gradient through the kernel is an error.
   */
  readonly vjp?: (context: KernelVjp<Input, Output, Options>) => Readonly<Partial<Record<Input, Tensor | null>>>
}

/**
 * Makes an operation of a kernel.
 *
 * @returns The operation. It throws a {@link ShapeError} for an input that is missing, that nobody asked for, or whose
 * storage type is not allowed; gradients through it throw one where the vjp gives something of another shape.
 * @throws {ShapeError} an input's name cannot be part of a name in WGSL.
 */
export function defineKernel<Input extends string, Output extends string, Options = void>(
  definition: KernelDefinition<Input, Output, Options>,
): (inputs: Readonly<Record<Input, Tensor>>, options: Options) => Record<Output, Tensor> {
  const { name, body, vjp } = definition
  const names = Object.keys(definition.inputs) as Input[]
  for (const input of names) checkName(name, input)
  return (given, options) => {
    checkNames(name, Object.keys(given), names, 'an input')
    for (const input of names) checkType(name, input, given[input], definition.inputs[input])
    const types = mapRecord(names, (input) => ({ shape: given[input].shape, dtype: given[input].dtype }))
    const outputTypes = definition.outputs(types, options)
    const outputNames = Object.keys(outputTypes) as Output[]
    for (const output of outputNames) checkName(name, output)
    const launch = definition.launch(types, options)
    const run = customGrad((...tensors: Tensor[]) => {
      const inputs = mapRecord(names, (_, index) => tensors[index] as Tensor)
      const outputs = kernel({ name, inputs, outputs: outputTypes, body, ...launch })
      return {
        value: outputNames.map((output) => outputs[output]),
        vjp: (...arrived) => {
          if (!vjp) throw new TensorStateError(`Kernel '${name}' has no gradient; give its definition a vjp.`)
          const gradients = mapRecord(outputNames, (_, index) => arrived[index] ?? null)
          const found: Readonly<Partial<Record<Input, Tensor | null>>> =
            vjp({ inputs, outputs, gradients, options }) ?? {}
          checkNames(name, Object.keys(found), names, 'a gradient of')
          return names.map((input) => checkGradient(name, input, inputs[input], found[input] ?? null))
        },
      }
    })
    const values = run(...names.map((input) => given[input]))
    return mapRecord(outputNames, (_, index) => values[index] as Tensor)
  }
}

function checkType(kernelName: string, input: string, tensor: Tensor | undefined, allowed: readonly DType[]): void {
  if (!tensor) throw new ShapeError(`Kernel '${kernelName}' needs an input '${input}'.`)
  if (allowed.includes(tensor.dtype)) return
  throw new ShapeError(
    `Kernel '${kernelName}': input '${input}' is ${tensor.dtype}; allowed: ${allowed.join(', ')}. Use cast().`,
  )
}

function checkName(kernelName: string, name: string): void {
  if (IDENTIFIER.test(name)) return
  throw new ShapeError(
    `Kernel '${kernelName}': '${name}' becomes part of names in WGSL; use letters, digits and _, a letter first.`,
  )
}

/** A misspelt name would otherwise mean an input that is not read, or a gradient of zero. */
function checkNames(kernelName: string, given: readonly string[], known: readonly string[], what: string): void {
  const other = given.find((name) => !known.includes(name))
  if (other === undefined) return
  throw new ShapeError(`Kernel '${kernelName}' was given ${what} '${other}'; its inputs are ${known.join(', ')}.`)
}

function checkGradient(kernelName: string, input: string, { shape }: Tensor, gradient: Tensor | null): Tensor | null {
  if (!gradient || (sameShape(gradient.shape, shape) && isFloat(gradient.dtype))) return gradient
  throw new ShapeError(
    `Kernel '${kernelName}': its vjp gave ${gradient.dtype}[${gradient.shape.join(', ')}] as the gradient of '${input}', which is ` +
      `[${shape.join(', ')}]; gradients are floats of the shape of their input. Sum over what was broadcast.`,
  )
}

function mapRecord<Key extends string, Value>(
  keys: readonly Key[],
  value: (key: Key, index: number) => Value,
): Record<Key, Value> {
  return Object.fromEntries(keys.map((key, index) => [key, value(key, index)])) as Record<Key, Value>
}
