/** Wall clock of the parts of a step, as `time/<part>` in seconds. */
export class Clock {
  readonly #seconds = new Map<string, number>()
  readonly #start = performance.now()

  async time<Result>(part: string, work: () => Promise<Result>): Promise<Result> {
    const start = performance.now()
    try {
      return await work()
    } finally {
      this.#seconds.set(part, (this.#seconds.get(part) ?? 0) + (performance.now() - start) / 1000)
    }
  }

  /** Seconds since the clock was made. */
  get elapsed(): number {
    return (performance.now() - this.#start) / 1000
  }

  metrics(): { readonly [metric: string]: number } {
    const parts = [...this.#seconds].map(([part, seconds]) => [`time/${part}`, seconds] as const)
    return Object.fromEntries([...parts, ['time/step', this.elapsed]])
  }
}
