/**
 * Waiting for the GPU: every wait ends when the device is lost, and none takes a core that a software GPU needs. Asking
 * whether the GPU is done is dear (the caches are its own by then), so nobody asks while it surely is not.
 */
import { DeviceLostError } from './errors.js'

export class Waits {
  private lost: DeviceLostError | null = null
  /** Ends the waits in progress. One promise that all waits race with would remember every one of them for ever. */
  private readonly waiting = new Set<(error: DeviceLostError) => void>()
  private readonly durations = new Durations()
  private followed = 0

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

  /**
   * Tells of something the GPU will resolve that nobody waits for here. While there is any, the binding polls in every turn
   * of the event loop, so a timer would let it spin.
   */
  follow<T>(pending: Promise<T>): Promise<T> {
    this.followed++
    const done = () => {
      this.followed--
    }
    pending.then(done, done)
    return pending
  }

  /**
   * Waits for the GPU. Rejects with the loss of the device when that comes first.
   *
   * @param begin Asks the GPU to tell when it is done.
   * @param work What it does until then, as a number that is the same for the same commands; how long it took before
   * tells how long nobody need ask.
   */
  guard<T>(begin: () => Promise<T>, work?: number): Promise<T> {
    return this.orLost(async (lost) => {
      const started = performance.now()
      const nap = work === undefined || this.followed > 0 ? 0 : this.durations.nap(work)
      if (nap > 0) await sleep(nap, lost)
      const woke = performance.now()
      const first = Promise.race([begin(), lost])
      if (this.isSoftware) await yieldCores(first, started)
      const value = await first
      if (work !== undefined) this.durations.note(work, nap > 0 && performance.now() - woke < AT_ONCE, started)
      return value
    })
  }

  /** The same without sleeping, for what measures time itself. */
  promptly<T>(pending: Promise<T>): Promise<T> {
    return this.orLost((lost) => Promise.race([pending, lost]))
  }

  private async orLost<T>(wait: (lost: Promise<never>) => Promise<T>): Promise<T> {
    this.check()
    let giveUp: (error: DeviceLostError) => void = () => {}
    const lost = new Promise<never>((_, reject) => {
      giveUp = reject
    })
    this.waiting.add(giveUp)
    try {
      return await wait(lost)
    } catch (error) {
      // Mapping is aborted just before the loss is announced.
      if (!(error instanceof DeviceLostError)) await new Promise((resolve) => setTimeout(resolve, 0))
      throw this.lost ?? error
    } finally {
      this.waiting.delete(giveUp)
    }
  }
}

/** What was done this soon after a nap may have been done long before, in milliseconds. */
const AT_ONCE = 0.4
/** Waits that are remembered of the same work. */
const REMEMBERED = 3
/** Kinds of work remembered; past that many all are forgotten. */
const MOST_KINDS = 1024
/** Naps shorter than this are not worth a timer, which is exact to a millisecond. */
const SHORTEST_NAP = 2

/**
 * How long the same work took the last times. A training step repeats the work of the last one, so most of the time of a
 * wait is known beforehand, and the event loop is free for it. Being wrong costs time, never results.
 */
class Durations {
  private readonly known = new Map<number, number[]>()

  /** Milliseconds the work will surely take: four fifths of the shortest of the last times, 0 when little is known. */
  nap(work: number): number {
    const times = this.known.get(work)
    if (!times || times.length < REMEMBERED) return 0
    const nap = 0.8 * Math.min(...times) - 1
    return nap < SHORTEST_NAP ? 0 : nap
  }

  /** @param overslept The work may have ended long before the wait did, so that its time is not known. */
  note(work: number, overslept: boolean, started: number): void {
    if (this.known.size >= MOST_KINDS) this.known.clear()
    const times = this.known.get(work) ?? []
    this.known.set(work, times)
    times.push(overslept ? 0 : performance.now() - started)
    if (times.length > REMEMBERED) times.shift()
  }
}

async function sleep(milliseconds: number, lost: Promise<never>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const slept = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds)
  })
  try {
    await Promise.race([slept, lost])
  } finally {
    clearTimeout(timer)
  }
}

const sleeper = new Int32Array(new SharedArrayBuffer(4))

/**
 * Waits without taking a core. While anything is pending the WebGPU binding polls in every turn of the event loop, which
 * keeps this thread busy; where the GPU is the CPU, that core is one the shaders need. Sleeping between turns gives it
 * to them, at the price of up to half a millisecond of latency, in long waits of a hundredth of them.
 */
async function yieldCores(pending: Promise<unknown>, started: number): Promise<void> {
  let settled = false
  const settle = () => {
    settled = true
  }
  pending.then(settle, settle)
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve))
    if (settled) return
    const waited = performance.now() - started
    Atomics.wait(sleeper, 0, 0, Math.min(4, Math.max(0.5, waited / 100)))
  }
}
