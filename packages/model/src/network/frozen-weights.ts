/**
 * Weights that do not learn: no gradients, no moments, and matrices stored in fewer bits than they are computed in. Norms,
 * biases and position tables stay f32; every product accumulates in f32.
 */
import { fromFloat32, type Device, type Tensor } from '@revisual/tensor'
import { ConfigError } from '../config/json.js'
import type { Weights } from './layers.js'
import type { ParameterSpec } from './parameters.js'

/** Storage of matrices. `f32` is exact for every checkpoint, `bf16` for those that are bf16; `f16` overflows above 65,504. */
export type FrozenDType = 'f32' | 'bf16' | 'f16'

const stored = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const

/** Whether a parameter is a matrix of a linear layer, the embedding or the head. */
export const isMatrix = ({ name, shape }: Pick<ParameterSpec, 'name' | 'shape'>) =>
  shape.length === 2 && name.endsWith('.weight') && !name.endsWith('pos_embed.weight')

export class FrozenWeights {
  /** As the network asks for them. */
  readonly source: Weights
  private readonly tensors = new Map<string, Tensor>()

  constructor(
    private readonly device: Device,
    readonly specs: readonly ParameterSpec[],
    readonly dtype: FrozenDType,
  ) {
    for (const spec of specs) {
      const tensor = device.buffer(spec.shape, isMatrix(spec) ? dtype : 'f32').named(spec.name)
      this.tensors.set(spec.name, tensor)
    }
    this.source = (name) => this.get(name)
  }

  get(name: string): Tensor {
    const tensor = this.tensors.get(name)
    if (!tensor) throw new ConfigError(`There is no weight '${name}'.`)
    return tensor
  }

  /** Replaces values from element `offset` on. Of a 16-bit matrix, an even number of them unless they end it. */
  write(name: string, offset: number, values: Float32Array): void {
    const tensor = this.get(name)
    const dtype = tensor.dtype as FrozenDType
    this.device.writeBytes(tensor, offset * (dtype === 'f32' ? 4 : 2), fromFloat32(values, stored[dtype], name))
  }

  dispose(): void {
    for (const tensor of this.tensors.values()) tensor.dispose()
  }
}
