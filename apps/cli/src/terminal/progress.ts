/**
 * Progress of a stage: a bar with rate and time left on a terminal, a plain line now and then anywhere else. Goes to
 * stderr, so that what a command prints as its result can be piped.
 */
import { SingleBar } from 'cli-progress'

/** Seconds between plain lines. */
const PLAIN_INTERVAL = 15

export interface Progress {
  /** `done` of the total, with the numbers worth watching. */
  update(done: number, note?: string): void
  stop(): void
}

export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–'
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')} min`
}

/** Steps per second, or seconds per step when slower. */
export function rate(perSecond: number): string {
  if (!(perSecond > 0)) return '–'
  return perSecond >= 1 ? `${perSecond.toFixed(1)}/s` : `${(1 / perSecond).toFixed(1)} s each`
}

/** Where counting began: how much was done then, and when that was (`performance.now()`). */
export interface ProgressStart {
  readonly first: number
  readonly time: number
}

class Clock {
  constructor(private readonly start: ProgressStart) {}

  describe(done: number, total: number): { rate: string; eta: string; elapsed: string } {
    const elapsed = (performance.now() - this.start.time) / 1000
    const perSecond = (done - this.start.first) / elapsed
    return { rate: rate(perSecond), eta: duration((total - done) / perSecond), elapsed: duration(elapsed) }
  }
}

class BarProgress implements Progress {
  private readonly bar: SingleBar
  private readonly clock: Clock

  constructor(
    label: string,
    private readonly total: number,
    start: ProgressStart,
  ) {
    this.clock = new Clock(start)
    this.bar = new SingleBar({
      format: `${label} {bar} {value}/{total}  {speed}  {left} left  {note}`,
      stream: process.stderr,
      barsize: 24,
      hideCursor: true,
      linewrap: false,
      barCompleteChar: '█',
      barIncompleteChar: '░',
    })
    this.bar.start(total, start.first, { speed: '–', left: '–', note: '' })
  }

  update(done: number, note = ''): void {
    const { rate: speed, eta: left } = this.clock.describe(done, this.total)
    this.bar.update(done, { speed, left, note })
  }

  stop(): void {
    this.bar.stop()
  }
}

class PlainProgress implements Progress {
  private readonly clock: Clock
  private printed = performance.now()

  constructor(
    private readonly label: string,
    private readonly total: number,
    start: ProgressStart,
  ) {
    this.clock = new Clock(start)
  }

  update(done: number, note = ''): void {
    const now = performance.now()
    if (done < this.total && now - this.printed < PLAIN_INTERVAL * 1000) return
    this.printed = now
    const { rate: speed, eta, elapsed } = this.clock.describe(done, this.total)
    const time = done < this.total ? `${eta} left` : `took ${elapsed}`
    process.stderr.write(`${this.label} ${done}/${this.total}  ${speed}  ${time}  ${note}\n`)
  }

  stop(): void {
    // Nothing is held open.
  }
}

/** Progress towards `total`; rate and time left are counted from `start`, by default nothing and now. */
export function startProgress(label: string, total: number, start?: ProgressStart): Progress {
  const from = start ?? { first: 0, time: performance.now() }
  return process.stderr.isTTY ? new BarProgress(label, total, from) : new PlainProgress(label, total, from)
}
