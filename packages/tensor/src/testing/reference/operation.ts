/**
 * What the reference knows of an operation: its value and, when it is differentiable, its vector-Jacobian product, both
 * in f64. Only differentiable operands are inputs; indices, masks and numbers are options.
 */
import type { NdArray } from '../ndarray.js'

export interface ReferenceOp<
  Inputs extends readonly NdArray[] = readonly NdArray[],
  Options = void,
  Outputs extends readonly NdArray[] = readonly [NdArray],
> {
  forward(inputs: Inputs, options: Options): Outputs
}

export interface DifferentiableOp<
  Inputs extends readonly NdArray[] = readonly NdArray[],
  Options = void,
  Outputs extends readonly NdArray[] = readonly [NdArray],
> extends ReferenceOp<Inputs, Options, Outputs> {
  /** Gradients of the inputs, given those of the outputs; null for inputs without one. */
  vjp(inputs: Inputs, gradients: Outputs, options: Options): readonly (NdArray | null)[]
}

export type UnaryInputs = readonly [NdArray]
export type BinaryInputs = readonly [NdArray, NdArray]
