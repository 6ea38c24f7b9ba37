/**
 * Checks an operation on the GPU against its reference, value and gradient, on the same (f32-rounded) inputs and random
 * output gradients.
 */
import { grad } from '../autograd/grad.js'
import type { Device } from '../device/device.js'
import { Tensor } from '../graph/tensor.js'
import { assertClose, type Tolerance } from './close.js'
import { map, type NdArray } from './ndarray.js'
import { randomUniform } from './reference/random.js'
import type { DifferentiableOp, ReferenceOp } from './reference/operation.js'

/** The array rounded to what f32 can hold. */
export function roundToFloat32(x: NdArray): NdArray {
  return map(x, Math.fround)
}

/** Values of an array as a tensor on the device. */
export function upload(device: Device, x: NdArray): Tensor {
  return device.tensor(Float32Array.from(x.data), x.shape)
}

/** Random numbers in [low, high), the same for the same seed. */
export function randomArray(shape: readonly number[], seed: number, low = -1, high = 1): NdArray {
  return roundToFloat32(map(randomUniform(shape, { seed }), (value) => low + (high - low) * value))
}

/** The tensors a function returned. */
export function listOf(result: Tensor | readonly Tensor[]): readonly Tensor[] {
  return result instanceof Tensor ? [result] : result
}

function describe(x: { readonly shape: readonly number[] }): string {
  return `[${x.shape.join(', ')}]`
}

export interface Comparison<Inputs extends readonly NdArray[], Options, Outputs extends readonly NdArray[]> {
  /** Named in errors. */
  readonly name: string
  readonly operation: ReferenceOp<Inputs, Options, Outputs> | DifferentiableOp<Inputs, Options, Outputs>
  readonly inputs: Inputs
  readonly options: Options
  /** The operation on the GPU. */
  readonly run: (...inputs: Tensor[]) => Tensor | readonly Tensor[]
  /** How an input gets onto the GPU: as a view, in another dtype. Default {@link upload}. */
  readonly place?: (device: Device, x: NdArray, index: number) => Tensor
  readonly tolerance?: Tolerance
  /** Default: `tolerance`. */
  readonly gradientTolerance?: Tolerance
  /** Seed of the output gradients. */
  readonly seed?: number
}

/**
 * Throws when a value or a gradient differs from the reference by more than the tolerance.
 *
 * @throws {NotCloseError} naming the operation, the output or input, and the worst element.
 */
export async function compareWithReference<
  Inputs extends readonly NdArray[],
  Options,
  Outputs extends readonly NdArray[],
>(device: Device, comparison: Comparison<Inputs, Options, Outputs>): Promise<void> {
  const { name, operation, options, run, place = upload, tolerance = {}, seed = 1 } = comparison
  using _scope = device.scope()
  const inputs = comparison.inputs.map(roundToFloat32)
  const tensors = inputs.map((x, index) => place(device, x, index).detached('vjp' in operation))
  const outputs = listOf(run(...tensors))
  const expected: readonly NdArray[] = operation.forward(inputs as readonly NdArray[] as Inputs, options)
  const shapes = inputs.map(describe).join(', ')
  const values = await device.read(outputs)
  expected.forEach((array, index) => {
    const what = `${name}(${shapes}), output ${index}`
    if (describe(outputs[index] ?? { shape: [] }) !== describe(array)) {
      assertClose(outputs[index]?.shape ?? [], array.shape, {}, `${what}, shape`)
    }
    assertClose(values[index] ?? [], array.data, tolerance, what)
  })
  if (!('vjp' in operation)) return

  const gradients = expected.map((array, index) => randomArray(array.shape, seed + index))
  const wanted = operation.vjp(
    inputs as readonly NdArray[] as Inputs,
    gradients as readonly NdArray[] as Outputs,
    options,
  )
  const lazy = grad(outputs, tensors, { gradOutputs: gradients.map((gradient) => upload(device, gradient)) })
  const actual = await device.read(lazy)
  wanted.forEach((array, index) => {
    if (!array) return
    assertClose(
      actual[index] ?? [],
      array.data,
      comparison.gradientTolerance ?? tolerance,
      `${name}(${shapes}), gradient of input ${index}`,
    )
  })
}
