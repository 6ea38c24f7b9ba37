/**
 * Waiting for the GPU: every wait ends when the device is lost, and none takes a core that a software GPU needs.
 */
import { DeviceLostError } from './errors.js'

export class Waits {
  private lost: DeviceLostError | null = null
  /** Ends the waits in progress. One promise that all waits race with would remember every one of them for ever. */
  private readonly waiting = new Set<(error: DeviceLostError) => void>()

  constructor(private readonly isSoftware: boolean) {}

  /** Set once the device is gone. */
  get lostError(): DeviceLostError | null {
    return this.lost
  }

  /** Ends every wait, now and later. */
  lose(reason: string): DeviceLostError {
    this.lost ??= new DeviceLostError(reason)
    for (const giveUp of this.waiting) giveUp(this.lost)
    return this.lost
  }

  /** @throws {DeviceLostError} when the device is gone. */
  check(): void {
    if (this.lost) throw this.lost
  }

  /** Waits for the GPU. Rejects with the loss of the device when that comes first. */
  async guard<T>(pending: Promise<T>): Promise<T> {
    this.check()
    let giveUp: (error: DeviceLostError) => void = () => {}
    const lost = new Promise<never>((_, reject) => {
      giveUp = reject
    })
    this.waiting.add(giveUp)
    const first = Promise.race([pending, lost])
    try {
      if (this.isSoftware) await yieldCores(first)
      return await first
    } catch (error) {
      // Mapping is aborted just before the loss is announced.
      if (!(error instanceof DeviceLostError)) await new Promise((resolve) => setTimeout(resolve, 0))
      throw this.lost ?? error
    } finally {
      this.waiting.delete(giveUp)
    }
  }
}

const sleeper = new Int32Array(new SharedArrayBuffer(4))

/**
 * Waits without taking a core. While anything is pending the WebGPU binding polls in every turn of the event loop, which
 * keeps this thread busy; where the GPU is the CPU, that core is one the shaders need. Sleeping between turns gives it
 * to them, at the price of up to half a millisecond of latency.
 */
async function yieldCores(pending: Promise<unknown>): Promise<void> {
  let settled = false
  const settle = () => {
    settled = true
  }
  pending.then(settle, settle)
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve))
    if (settled) return
    Atomics.wait(sleeper, 0, 0, 0.5)
  }
}
