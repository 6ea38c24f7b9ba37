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

class Clock {
  private readonly started = performance.now()

  constructor(private readonly first: number) {}

  describe(done: number, total: number): { rate: string; eta: string; elapsed: string } {
    const elapsed = (performance.now() - this.started) / 1000
    const perSecond = (done - this.first) / elapsed
    return { rate: rate(perSecond), eta: duration((total - done) / perSecond), elapsed: duration(elapsed) }
  }
}

class BarProgress implements Progress {
  private readonly bar: SingleBar
  private readonly clock: Clock

  constructor(
    label: string,
    private readonly total: number,
    first: number,
  ) {
    this.clock = new Clock(first)
    this.bar = new SingleBar({
      format: `${label} {bar} {value}/{total}  {speed}  {left} left  {note}`,
      stream: process.stderr,
      barsize: 24,
      hideCursor: true,
      linewrap: false,
      barCompleteChar: '█',
      barIncompleteChar: '░',
    })
    this.bar.start(total, first, { speed: '–', left: '–', note: '' })
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
    first: number,
  ) {
    this.clock = new Clock(first)
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

/** Progress towards `total`, beginning at `first` when resumed. */
export function startProgress(label: string, total: number, first = 0): Progress {
  return process.stderr.isTTY ? new BarProgress(label, total, first) : new PlainProgress(label, total, first)
}
