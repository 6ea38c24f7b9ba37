/**
 * Keys and values of all sequences: one buffer a layer, [slots, 2·keyValueHeads, headSize], keys before values. Who owns
 * which slots is decided elsewhere (`block-pool.ts`); buffers grow by doubling as more slots come into use.
 */
import { assign, kernel, noGrad, type Device, type Tensor } from '@revisual/tensor'
import type { TextArchitecture } from '../config/architecture.js'

type CacheShape = Pick<TextArchitecture, 'layers' | 'keyValueHeads' | 'headSize'>

/** Index of no slot: nothing is stored. */
export const noSlot = 0xffffffff

/** Bytes of one token in one layer. */
export function bytesPerSlot({ keyValueHeads, headSize }: CacheShape): number {
  return 4 * 2 * keyValueHeads * headSize
}

export class KeyValueCache {
  #layers: Tensor[] = []
  #slots = 0

  constructor(
    private readonly device: Device,
    private readonly text: CacheShape,
    /** Slots that will never be exceeded. */
    private readonly most: number,
  ) {}

  /** The buffer of a layer, to be read or written in place by a kernel. */
  layer(index: number): Tensor {
    return this.#layers[index] as Tensor
  }

  /** Makes room for the slots below `needed`. Contents stay. */
  async ensure(needed: number): Promise<void> {
    if (needed <= this.#slots) return
    const slots = Math.min(this.most, Math.max(needed, 2 * this.#slots))
    const { layers, keyValueHeads, headSize } = this.text
    const old = this.#layers
    // One layer after the other, so that at most one is there twice.
    for (let layer = 0; layer < layers; layer++) {
      const next = this.device.buffer([slots, 2 * keyValueHeads, headSize])
      const previous = old[layer]
      if (previous) {
        noGrad(() => assign(next.slice(0, 0, this.#slots), previous))
        await this.device.eval([])
        previous.dispose()
      }
      this.#layers[layer] = next
    }
    this.#slots = slots
  }

  /** Stores keys and values [N, keyValueHeads, headSize] of a layer at `slots` u32 [N], with the next evaluation. */
  store(layer: number, keys: Tensor, values: Tensor, slots: Tensor): void {
    const width = this.text.keyValueHeads * this.text.headSize
    const size = slots.size * width
    kernel({
      name: 'store_keys_values',
      inputs: { keys, values, slots },
      outputs: {},
      writes: { cache: this.layer(layer) },
      params: { size: ['u32', size], width: ['u32', width] },
      workgroupSize: [256, 1, 1],
      dispatch: [Math.ceil(size / 256), 1, 1],
      body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let i = wid.x * 256u + lidx;
  if (i >= params.size) { return; }
  let slot = load_slots(i / params.width);
  if (slot == ${noSlot}u) { return; }
  let at = slot * 2u * params.width + i % params.width;
  store_cache(at, load_keys(i));
  store_cache(at + params.width, load_values(i));
}`,
    })
  }

  dispose(): void {
    for (const tensor of this.#layers) tensor.dispose()
    this.#layers = []
    this.#slots = 0
  }
}
