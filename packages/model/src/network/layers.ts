/** The pieces blocks are made of, chosen by the kinds of an architecture. */
import { linear, rmsNorm, swiglu, type Tensor } from '@revisual/tensor'
import type { MlpKind, NormKind } from '../config/architecture.js'

/** A weight by its hub name. Different sources give the same network other weights: live, reference, adapted. */
export type Weights = (name: string) => Tensor

/** Linear layer `name`, with or without bias: x [N, in] → [N, out]. */
export function project(weights: Weights, name: string, x: Tensor, bias: boolean): Tensor {
  const weight = weights(`${name}.weight`)
  return bias ? linear(x, weight, weights(`${name}.bias`)) : linear(x, weight)
}

/** Normalisations `name` of x [N, C]. */
export const norms: Record<NormKind, (weights: Weights, name: string, x: Tensor, epsilon: number) => Tensor> = {
  rms: (weights, name, x, epsilon) => rmsNorm(x, weights(`${name}.weight`), epsilon),
}

/** Feed-forward layers `name` of x [N, C]. */
export const mlps: Record<MlpKind, (weights: Weights, name: string, x: Tensor, bias: boolean) => Tensor> = {
  swiglu: (weights, name, x, bias) => {
    const gate = project(weights, `${name}.gate_proj`, x, bias)
    const up = project(weights, `${name}.up_proj`, x, bias)
    return project(weights, `${name}.down_proj`, swiglu(gate, up), bias)
  },
}
