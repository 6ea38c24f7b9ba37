/** Ctrl-C: the first asks the run to stop in good order, the second ends the process at once. */

export interface Interruption {
  readonly signal: AbortSignal
  /** Stops listening. */
  release(): void
}

export function listenForInterruption(): Interruption {
  const controller = new AbortController()
  const stop = (name: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(130)
    process.stderr.write(`\n${name}: stopping after this step and saving a checkpoint; once more to stop at once\n`)
    controller.abort()
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  return {
    signal: controller.signal,
    release() {
      process.off('SIGINT', stop)
      process.off('SIGTERM', stop)
    },
  }
}
