/**
 * Weights in the form the decode loop wants them, prepared once for hundreds of steps: queries, keys and values of a layer
 * joined into one matrix, and, on a CPU that runs shaders, matrices stored with the columns of the product side by side.
 * Such a CPU multiplies several times faster so; the tensor core would copy a transposed weight for every product with many
 * rows, and read it element by element for few. Layers that compute themselves (quantised, with an adapter) are left alone.
 */
import { contiguous, noGrad, transpose, type Tensor } from '@revisual/tensor'
import type { Network } from '../network/forward.js'
import { joinProjections, type JoinedProjection, type Weights } from '../network/layers.js'

export class DecodeWeights {
  readonly #copies: Tensor[] = []
  readonly #views = new Map<string, Tensor>()
  readonly #joined = new Map<number, JoinedProjection>()
  #fresh: Tensor[] = []
  readonly weights: Weights
  readonly #isArranged: boolean

  constructor(private readonly network: Network) {
    this.#isArranged = network.device.info.isSoftware && !network.weights.project
    this.weights = this.#isArranged ? (name) => this.#arrangedWeight(name) : network.weights
  }

  /** Queries, keys and values of a layer, side by side. */
  queryKeyValue(layer: number, normed: Tensor): Tensor {
    let joined = this.#joined.get(layer)
    if (!joined) {
      const { text } = this.network.architecture
      const names = ['q_proj', 'k_proj', 'v_proj'].map((name) => `model.layers.${layer}.self_attn.${name}`)
      joined = joinProjections(this.network.weights, names, text.attentionBias, (weight) =>
        this.#isArranged ? arranged(weight) : weight,
      )
      this.#joined.set(layer, joined)
      this.#add(joined.prepared)
    }
    return joined.project(normed)
  }

  /** What was prepared since the last call: to be computed with the step that asked for it, and kept. */
  takeFresh(): readonly Tensor[] {
    const fresh = this.#fresh
    this.#fresh = []
    return fresh
  }

  /** Forgets what was prepared: the next use reads the weights as they are then. */
  dispose(): void {
    for (const copy of this.#copies) copy.dispose()
    this.#copies.length = 0
    this.#views.clear()
    this.#joined.clear()
  }

  #add(prepared: readonly Tensor[]): void {
    this.#copies.push(...prepared)
    this.#fresh.push(...prepared)
  }

  #arrangedWeight(name: string): Tensor {
    const known = this.#views.get(name)
    if (known) return known
    const weight = this.network.weights(name)
    const isMatrix = weight.rank === 2 && weight.dtype === 'f32'
    const view = isMatrix ? noGrad(() => arranged(weight.detached())) : weight
    if (isMatrix) this.#add([view])
    this.#views.set(name, view)
    return view
  }
}

/** The same [out, in] matrix, stored as [in, out]. */
const arranged = (weight: Tensor): Tensor => transpose(contiguous(transpose(weight)))
