/** When a request may start: so many at a time, evenly spaced, and none while the server asked to be left alone. */

/** Resolves after `milliseconds`; rejects with the reason of `signal`. */
export function wait(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const finish = () => {
      signal.removeEventListener('abort', abort)
      resolve()
    }
    const timer = setTimeout(finish, milliseconds)
    const abort = () => {
      clearTimeout(timer)
      reject(signal.reason as Error)
    }
    signal.addEventListener('abort', abort, { once: true })
  })
}

export class Limiter {
  readonly #spacing: number
  #running = 0
  /** Earliest start of the next request, in the time of `performance.now`. */
  #next = 0
  readonly #waiting: (() => void)[] = []

  /**
   * @param concurrency requests at a time
   * @param perMinute most starts in any minute: they are spaced evenly
   */
  constructor(
    readonly concurrency: number,
    perMinute = Infinity,
  ) {
    this.#spacing = 60_000 / perMinute
  }

  /** Nothing starts for so long. */
  pause(milliseconds: number): void {
    this.#next = Math.max(this.#next, performance.now() + milliseconds)
  }

  /** Runs `work` when its turn has come. */
  async run<Result>(work: () => Promise<Result>, signal: AbortSignal): Promise<Result> {
    await this.#enter()
    try {
      await this.#turn(signal)
      return await work()
    } finally {
      this.#running--
      this.#waiting.shift()?.()
    }
  }

  async #enter(): Promise<void> {
    while (this.#running >= this.concurrency) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#running++
  }

  /** Waits for a start time; a pause that came meanwhile is kept as well. */
  async #turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    for (let now = performance.now(); now < this.#next; now = performance.now()) await wait(this.#next - now, signal)
    this.#next = performance.now() + this.#spacing
  }
}
