/**
 * Gradients by finite differences: for random output weights w, Σ w · f(x) moves by its gradient times the step when one
 * element of x moves. Outputs are read and summed in f64, so only the rounding of f itself remains; a step of 2⁻⁷ then
 * balances it against the curvature of f.
 */
import { grad } from '../autograd/grad.js'
import type { Device } from '../device/device.js'
import type { Tensor } from '../graph/tensor.js'
import { assertClose, type Tolerance } from './close.js'
import { listOf, randomArray, roundToFloat32, upload } from './compare.js'
import { at, map, type NdArray } from './ndarray.js'
import { randomUniform } from './reference/random.js'
import type { DifferentiableOp } from './reference/operation.js'

export interface GradientCheckOptions {
  /** Step in an element of size ≤ 1; larger elements move in proportion. Default 2⁻⁷. */
  readonly step?: number
  /** Elements probed per input. Default 6. */
  readonly elements?: number
  /** Default 2e-3 relative and absolute. */
  readonly tolerance?: Tolerance
  readonly seed?: number
}

/** Distinct random places, all of them when there are few. */
function probes(size: number, count: number, seed: number): number[] {
  const order = randomUniform([size], { seed, stream: 1 }).data
  return Array.from({ length: size }, (_, i) => i)
    .sort((a, b) => (order[a] ?? 0) - (order[b] ?? 0))
    .slice(0, count)
}

function moved(x: NdArray, place: number, by: number): NdArray {
  return map(x, (value, i) => (i === place ? Math.fround(value + by) : value))
}

/**
 * Compares autograd with central differences of a function on the GPU.
 *
 * @param fn Differentiable near the inputs; its outputs are any number of tensors.
 * @throws {NotCloseError} naming the input and the element.
 */
export async function checkGradients(
  device: Device,
  fn: (...inputs: Tensor[]) => Tensor | readonly Tensor[],
  inputs: readonly NdArray[],
  options: GradientCheckOptions = {},
): Promise<void> {
  const { step = 2 ** -7, elements = 6, seed = 1, tolerance = { relative: 2e-3, absolute: 2e-3 } } = options
  using _scope = device.scope()
  const rounded = inputs.map(roundToFloat32)
  const outputsOf = (tensors: Tensor[]) => listOf(fn(...tensors))
  const tensors = rounded.map((x) => upload(device, x).detached(true))
  const outputs = outputsOf(tensors)
  const weights = outputs.map(({ shape }, index) => randomArray(shape, seed + index))
  const gradients = await device.read(grad(outputs, tensors, { gradOutputs: weights.map((w) => upload(device, w)) }))

  const trials = rounded.flatMap((x, input) =>
    probes(x.data.length, elements, seed + input).map((place) => {
      const by = step * Math.max(1, Math.abs(at(x, place)))
      const [up, down] = [moved(x, place, by), moved(x, place, -by)]
      return { input, place, up, down, distance: at(up, place) - at(down, place) }
    }),
  )
  const shifted = trials.flatMap(({ input, up, down }) =>
    [up, down].flatMap((x) => outputsOf(rounded.map((other, index) => upload(device, index === input ? x : other)))),
  )
  const values = await device.read(shifted)
  const weighted = (first: number) =>
    weights.reduce((sum, w, index) => w.data.reduce((s, wi, i) => s + wi * (values[first + index]?.[i] ?? NaN), sum), 0)
  trials.forEach(({ input, place, distance }, trial) => {
    const first = trial * 2 * outputs.length
    const slope = (weighted(first) - weighted(first + outputs.length)) / distance
    assertClose([gradients[input]?.[place] ?? NaN], [slope], tolerance, `gradient of input ${input}, element ${place}`)
  })
}

/**
 * The same for an operation of the reference, in f64 and over every element: how the reference itself is checked.
 *
 * @throws {NotCloseError} naming the input.
 */
export function checkReferenceGradients<Inputs extends readonly NdArray[], Options, Outputs extends readonly NdArray[]>(
  operation: DifferentiableOp<Inputs, Options, Outputs>,
  inputs: Inputs,
  options: Options,
): void {
  const step = 2 ** -17
  const outputs: readonly NdArray[] = operation.forward(inputs, options)
  const weights = outputs.map(({ shape }, index) => randomArray(shape, 1 + index))
  const weighted = (changed: readonly NdArray[]) =>
    (operation.forward(changed as Inputs, options) as readonly NdArray[]).reduce(
      (sum, output, index) => output.data.reduce((s, value, i) => s + value * (weights[index]?.data[i] ?? NaN), sum),
      0,
    )
  const gradients = operation.vjp(inputs, weights as readonly NdArray[] as Outputs, options)
  inputs.forEach((x, input) => {
    const gradient = gradients[input]
    if (!gradient) return
    const slopes = Float64Array.from(x.data, (_, place) => {
      const shifted = (by: number) =>
        inputs.map((other, index) => (index === input ? map(x, (v, i) => (i === place ? v + by : v)) : other))
      return (weighted(shifted(step)) - weighted(shifted(-step))) / (2 * step)
    })
    assertClose(gradient.data, slopes, { relative: 1e-7, absolute: 1e-7 }, `gradient of input ${input}`)
  })
}
