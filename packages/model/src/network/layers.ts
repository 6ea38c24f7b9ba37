/** The pieces blocks are made of, chosen by the kinds of an architecture. */
import { concat, gelu, layerNorm, linear, rmsNorm, sigmoid, silu, swiglu, type Tensor } from '@revisual/tensor'
import type {
  ActivationKind,
  DecoderLayerKind,
  FeedForward,
  NormKind,
  TextArchitecture,
} from '../config/architecture.js'

/** Linear layer `name`, with or without bias: x [N, in] → [N, out]. */
export type Projection = (name: string, x: Tensor, bias: boolean) => Tensor

/**
 * A weight by its hub name. Different sources give the same network other weights: live, reference, adapted. A source
 * whose linear layers are more than one dense matrix (quantised, with an adapter) computes them itself in `project`.
 */
export interface Weights {
  (name: string): Tensor
  readonly project?: Projection
}

/** The projection of dense matrices. */
export const plainProjection =
  (weights: Weights): Projection =>
  (name, x, bias) => {
    const weight = weights(`${name}.weight`)
    return bias ? linear(x, weight, weights(`${name}.bias`)) : linear(x, weight)
  }

/** Linear layer `name` of these weights. */
export function project(weights: Weights, name: string, x: Tensor, bias: boolean): Tensor {
  return (weights.project ?? plainProjection(weights))(name, x, bias)
}

/** The weights whose names begin with a prefix, by the rest of their names. */
export function weightsUnder(weights: Weights, prefix: string): Weights {
  const named = (name: string) => weights(`${prefix}${name}`)
  const { project: own } = weights
  return own
    ? Object.assign(named, { project: (name, x, bias) => own(`${prefix}${name}`, x, bias) } satisfies {
        project: Projection
      })
    : named
}

/** Several linear layers of one input: x [N, in] → their outputs side by side. */
export interface JoinedProjection {
  readonly project: (x: Tensor) => Tensor
  /** What was prepared: to be evaluated once, and kept as long as it is used. */
  readonly prepared: readonly Tensor[]
}

/**
 * Dense layers become one product over their joined matrices; layers that compute themselves run one by one.
 * @param arrange stores the joined matrix another way.
 */
export function joinProjections(
  weights: Weights,
  names: readonly string[],
  bias: boolean,
  arrange: (matrix: Tensor) => Tensor = (matrix) => matrix,
): JoinedProjection {
  if (weights.project) {
    return {
      project: (x) =>
        concat(
          names.map((name) => project(weights, name, x, bias)),
          1,
        ),
      prepared: [],
    }
  }
  const join = (kind: string) =>
    concat(
      names.map((name) => weights(`${name}.${kind}`)),
      0,
    )
  const weight = arrange(join('weight'))
  if (!bias) return { project: (x) => linear(x, weight), prepared: [weight] }
  const joinedBias = join('bias')
  return { project: (x) => linear(x, weight, joinedBias), prepared: [weight, joinedBias] }
}

/** Normalisations `name` of x [N, C]. */
export const norms: Record<NormKind, (weights: Weights, name: string, x: Tensor, epsilon: number) => Tensor> = {
  rms: (weights, name, x, epsilon) => rmsNorm(x, weights(`${name}.weight`), epsilon),
  layer: (weights, name, x, epsilon) => layerNorm(x, weights(`${name}.weight`), weights(`${name}.bias`), epsilon),
}

/** Parameters of a norm, after its name. */
export const normParameters: Record<NormKind, readonly string[]> = { rms: ['weight'], layer: ['weight', 'bias'] }

/** `quick-gelu`: x·σ(1.702·x), an approximation of GELU that CLIP made popular. */
const activations: Record<ActivationKind, (x: Tensor) => Tensor> = {
  silu: (x) => silu(x),
  'quick-gelu': (x) => x.mul(sigmoid(x.mul(1.702))),
  'tanh-gelu': (x) => gelu(x, 'tanh'),
  'erf-gelu': (x) => gelu(x, 'erf'),
}

/** Feed-forward layer `name` of x [N, C]. The product of gate and up is f32, whatever the weights are stored as. */
export function feedForward(weights: Weights, spec: FeedForward, name: string, x: Tensor, bias: boolean): Tensor {
  const up = project(weights, `${name}.${spec.up}`, x, bias)
  if (spec.gate === undefined) {
    return project(weights, `${name}.${spec.down}`, activations[spec.activation](up), bias)
  }
  const gate = project(weights, `${name}.${spec.gate}`, x, bias)
  const product = spec.activation === 'silu' ? swiglu(gate, up) : activations[spec.activation](gate).mul(up)
  return project(weights, `${name}.${spec.down}`, product, bias)
}

/** What a decoder layer is given to mix tokens with: its normalised input [N, H] → heads' outputs [N, heads·headSize]. */
export type Mixing = (normed: Tensor) => Tensor

/**
 * Decoder layers: x [N, H] → [N, H]. How tokens are mixed is the caller's: training attends over a layout, decoding over a
 * cache. `name` is the layer's place, e.g. `model.layers.0`.
 */
export const decoderLayers: Record<
  DecoderLayerKind,
  (weights: Weights, text: TextArchitecture, name: string, x: Tensor, mix: Mixing) => Tensor
> = {
  'pre-norm': (weights, text, name, x, mix) => {
    const norm = norms[text.norm]
    const mixed = mix(norm(weights, `${name}.input_layernorm`, x, text.normEpsilon))
    const attended = x.add(project(weights, `${name}.self_attn.o_proj`, mixed, false))
    const normed = norm(weights, `${name}.post_attention_layernorm`, attended, text.normEpsilon)
    return attended.add(feedForward(weights, text.mlp, `${name}.mlp`, normed, false))
  },
}

/**
 * Queries [N, heads, D] and keys [N, keyValueHeads, D] of a layer as they come before rotation: normalised per head where
 * the family does so.
 */
export function normalizeHeads(
  weights: Weights,
  text: Pick<TextArchitecture, 'queryKeyNorm' | 'normEpsilon'>,
  name: string,
  queries: Tensor,
  keys: Tensor,
): { readonly queries: Tensor; readonly keys: Tensor } {
  if (!text.queryKeyNorm) return { queries, keys }
  const at = `${name}.self_attn`
  return {
    queries: norms.rms(weights, `${at}.q_norm`, queries, text.normEpsilon),
    keys: norms.rms(weights, `${at}.k_norm`, keys, text.normEpsilon),
  }
}

/** The same for queries, keys and values side by side, [N, (heads + 2·keyValueHeads)·D], as one product gives them. */
export function normalizeFusedHeads(weights: Weights, text: TextArchitecture, name: string, fused: Tensor): Tensor {
  if (!text.queryKeyNorm) return fused
  const { heads, keyValueHeads, headSize } = text
  const split = fused.reshape([-1, heads + 2 * keyValueHeads, headSize])
  const { queries, keys } = normalizeHeads(
    weights,
    text,
    name,
    split.slice(1, 0, heads),
    split.slice(1, heads, heads + keyValueHeads),
  )
  const values = split.slice(1, heads + keyValueHeads, heads + 2 * keyValueHeads)
  return concat([queries, keys, values], 1).reshape(fused.shape)
}
