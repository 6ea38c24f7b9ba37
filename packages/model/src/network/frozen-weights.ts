/**
 * Weights that do not learn: no gradients, no moments, and matrices stored in fewer bits than they are computed in. Norms,
 * biases and position tables stay f32; every product accumulates in f32. With int8 and int4 the linear layers of the
 * decoder are quantised in groups along their input (QLoRA, arXiv 2305.14314); embedding, head and vision tower, which
 * suffer most from it, are bf16.
 */
import {
  assign,
  cast,
  fromFloat32,
  noGrad,
  QuantizedWeight,
  toFloat32,
  uploadSafetensors,
  type Device,
  type SafetensorsTensor,
  type Tensor,
} from '@revisual/tensor'
import { ConfigError } from '../config/json.js'
import type { Weights } from './layers.js'
import type { ParameterSpec } from './parameters.js'

/**
 * Storage of frozen matrices. `f32` is exact for every checkpoint, `bf16` for those that are bf16; `f16` overflows above
 * 65,504; `int8` and `int4` are quantised while they are loaded.
 */
export type FrozenDType = 'f32' | 'bf16' | 'f16' | 'int8' | 'int4'

/** How one weight is stored. */
type WeightStorage =
  | { readonly kind: 'dense'; readonly dtype: 'f32' | 'bf16' | 'f16' }
  | { readonly kind: 'quantized'; readonly bits: 8 | 4; readonly groupSize: number }

const stored = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const

/** Group sizes in order of preference: larger ones cost less, smaller ones divide more widths. */
const groupSizes = [64, 32, 16]

const isTable = (name: string) => name === 'model.embed_tokens.weight' || name === 'lm_head.weight'

/** Whether a parameter is a matrix: of a linear layer, the embedding or the head. */
const isMatrix = ({ name, shape }: Pick<ParameterSpec, 'name' | 'shape'>) =>
  shape.length === 2 && name.endsWith('.weight') && !name.endsWith('pos_embed.weight')

/** How a parameter is stored under a choice for the matrices. */
function storageOf(spec: ParameterSpec, dtype: FrozenDType): WeightStorage {
  if (!isMatrix(spec)) return { kind: 'dense', dtype: 'f32' }
  if (dtype !== 'int8' && dtype !== 'int4') return { kind: 'dense', dtype }
  const groupSize = groupSizes.find((size) => (spec.shape[1] as number) % size === 0)
  if (spec.group !== 'text' || isTable(spec.name) || groupSize === undefined) return { kind: 'dense', dtype: 'bf16' }
  return { kind: 'quantized', bits: dtype === 'int8' ? 8 : 4, groupSize }
}

/** Bytes of a stored parameter; scales of groups are bf16. */
export function storedBytes(spec: ParameterSpec, dtype: FrozenDType): number {
  const elements = spec.shape.reduce((size, dimension) => size * dimension, 1)
  const storage = storageOf(spec, dtype)
  if (storage.kind === 'dense') return elements * (storage.dtype === 'f32' ? 4 : 2)
  return (elements * (storage.bits + 16 / storage.groupSize)) / 8
}

export class FrozenWeights {
  private readonly tensors = new Map<string, Tensor>()

  constructor(
    private readonly device: Device,
    readonly specs: readonly ParameterSpec[],
    readonly dtype: FrozenDType,
  ) {
    for (const spec of specs) {
      const storage = storageOf(spec, dtype)
      const tensor =
        storage.kind === 'dense'
          ? device.buffer(spec.shape, storage.dtype)
          : QuantizedWeight.create(device, spec.shape as readonly [number, number], storage)
      this.tensors.set(spec.name, tensor.named(spec.name))
    }
  }

  /** As the network asks for them. */
  readonly source: Weights = (name) => this.get(name)

  get(name: string): Tensor {
    const tensor = this.tensors.get(name)
    if (!tensor) throw new ConfigError(`There is no weight '${name}'.`)
    return tensor
  }

  /**
   * Replaces values from element `offset` on: whole rows of a quantised matrix, an even number of 16-bit values unless
   * they end it. Values that are stored as they lie in the file go to the device untouched.
   */
  async write(name: string, offset: number, block: SafetensorsTensor): Promise<void> {
    const tensor = this.get(name)
    if (tensor instanceof QuantizedWeight) {
      const rows = uploadSafetensors(this.device, block)
      tensor.writeRows(offset / (tensor.shape[1] as number), rows)
      await this.device.eval([])
      rows.dispose()
      return
    }
    const dtype = tensor.dtype as keyof typeof stored
    const bytes = block.dtype === stored[dtype] ? block.data : fromFloat32(toFloat32(block), stored[dtype], name)
    this.device.writeBytes(tensor, offset * (dtype === 'f32' ? 4 : 2), bytes)
  }

  /**
   * Replaces a weight by a sum with it; runs with the next evaluation.
   * @throws {ConfigError} the weight is quantised: what it would become has no exact form there.
   */
  add(name: string, delta: Tensor): void {
    const tensor = this.get(name)
    if (tensor instanceof QuantizedWeight) {
      throw new ConfigError(
        `${name} is quantised and cannot be changed in place. Save the merged model, or hold the base in bf16.`,
      )
    }
    noGrad(() => assign(tensor, cast(tensor.add(delta), tensor.dtype)))
  }

  dispose(): void {
    for (const tensor of this.tensors.values()) tensor.dispose()
  }
}
