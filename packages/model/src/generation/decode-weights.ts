/**
 * Weights in the order the decode loop reads them. A CPU that runs shaders multiplies four times faster by a matrix whose
 * columns lie side by side; the tensor core copies a transposed weight for every product with many rows, and reads it
 * element by element for few. A loop that uses the same weights hundreds of times copies them once. On GPUs the weights are
 * used as they are.
 */
import { contiguous, noGrad, transpose, type Tensor } from '@revisual/tensor'
import type { Network } from '../network/forward.js'
import type { Weights } from '../network/layers.js'

export class DecodeWeights {
  readonly #copies = new Map<string, Tensor>()
  readonly #views = new Map<string, Tensor>()
  #fresh: Tensor[] = []

  constructor(private readonly network: Network) {}

  /** The weights as the decoder asks for them. */
  readonly weights: Weights = (name) => {
    const known = this.#views.get(name)
    if (known) return known
    const weight = this.network.weights(name)
    const view = this.#isMatrix(weight) ? this.#transposedCopy(name, weight) : weight
    this.#views.set(name, view)
    return view
  }

  /** Copies that were asked for since the last call and have to be computed. */
  takeFresh(): Tensor[] {
    const fresh = this.#fresh
    this.#fresh = []
    return fresh
  }

  /** Forgets the copies: the next use reads the weights as they are then. */
  dispose(): void {
    for (const copy of this.#copies.values()) copy.dispose()
    this.#copies.clear()
    this.#views.clear()
  }

  #isMatrix(weight: Tensor): boolean {
    return this.network.device.info.isSoftware && weight.rank === 2 && weight.dtype === 'f32'
  }

  /** The same [out, in] matrix, stored as [in, out]. */
  #transposedCopy(name: string, weight: Tensor): Tensor {
    const copy = noGrad(() => contiguous(transpose(weight.detached())))
    this.#copies.set(name, copy)
    this.#fresh.push(copy)
    return transpose(copy)
  }
}
