/**
 * One stretch of parameters: a buffer each for values, the two moments of AdamW and, from the first time gradients are
 * held, for those.
 */
import type { Device } from '../device/device.js'
import type { Tensor } from '../graph/tensor.js'

/** Elements an update workgroup handles; every parameter starts on a multiple of it. */
export const BLOCK = 256

export class Arena {
  readonly value: Tensor
  readonly firstMoment: Tensor
  readonly secondMoment: Tensor
  /** f32 `[blocks, 2]`: learns (0/1), decays (0/1). */
  readonly flags: Tensor
  private held: Tensor | null = null

  /** @param size Elements. */
  constructor(
    private readonly device: Device,
    readonly size: number,
    private readonly index: number,
  ) {
    const moment = (order: string) => device.buffer([size]).named(`${order} moments ${index}`)
    this.value = device.tag('parameters', () => device.buffer([size]).named(`parameters ${index}`))
    this.firstMoment = device.tag('optimizer', () => moment('first'))
    this.secondMoment = device.tag('optimizer', () => moment('second'))
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
    for (const tensor of [this.value, this.held, this.firstMoment, this.secondMoment, this.flags]) tensor?.dispose()
  }
}
