/**
 * One stretch of parameters: a buffer each for values and, from their first use on, for gradients and the moments of
 * AdamW.
 */
import type { Device } from '../device/device.js'
import type { DType, Shape } from '../graph/shape.js'
import type { Tensor } from '../graph/tensor.js'
import type { Codes } from './eight-bit.js'

/** Elements an update workgroup handles; every parameter starts on a multiple of it. */
export const BLOCK = 256

export class Arena {
  readonly value: Tensor
  /** f32 `[blocks, 2]`: learns (0/1), decays (0/1). */
  readonly flags: Tensor
  private held: Tensor | null = null
  private plain: readonly [Tensor, Tensor] | null = null
  private coded: Codes | null = null

  /** @param size Elements. */
  constructor(
    private readonly device: Device,
    readonly size: number,
    private readonly index: number,
  ) {
    this.value = device.tag('parameters', () => device.buffer([size]).named(`parameters ${index}`))
    this.flags = device.tag('optimizer', () => device.buffer([size / BLOCK, 2]).named(`parameter flags ${index}`))
  }

  /** Whether gradients are held. */
  get hasGradient(): boolean {
    return this.held !== null
  }

  get gradient(): Tensor {
    const { device, size, index } = this
    this.held ??= device.tag('gradients', () =>
      device.outsideScopes(() => device.buffer([size]).named(`gradients ${index}`)),
    )
    return this.held
  }

  /** First and second moments in f32, there from their first use on. */
  get moments(): readonly [Tensor, Tensor] {
    this.plain ??= [this.state([this.size], 'f32', 'first moments'), this.state([this.size], 'f32', 'second moments')]
    return this.plain
  }

  /** First and second moments in eight bits, there from their first use on. */
  get codes(): Codes {
    this.coded ??= {
      first: this.state([this.size / 4], 'u32', 'first moments'),
      second: this.state([this.size / 4], 'u32', 'second moments'),
      scales: this.state([this.size / BLOCK, 2], 'f32', 'scales of moments'),
    }
    return this.coded
  }

  private state(shape: Shape, dtype: DType, what: string): Tensor {
    const { device, index } = this
    return device.tag('optimizer', () =>
      device.outsideScopes(() => device.buffer(shape, dtype).named(`${what} ${index}`)),
    )
  }

  /** Runs of blocks `from`..`to` that one binding holds: all of them, but where one parameter is larger than that. */
  get pieces(): readonly { readonly from: number; readonly to: number }[] {
    const blocks = this.size / BLOCK
    const most = Math.max(1, Math.floor(this.device.limits.maxStorageBufferBindingSize / (4 * BLOCK)))
    return Array.from({ length: Math.ceil(blocks / most) }, (_, index) => ({
      from: index * most,
      to: Math.min(blocks, (index + 1) * most),
    }))
  }

  dispose(): void {
    const codes = this.coded ? [this.coded.first, this.coded.second, this.coded.scales] : []
    for (const tensor of [this.value, this.held, ...(this.plain ?? []), ...codes, this.flags]) tensor?.dispose()
  }
}
