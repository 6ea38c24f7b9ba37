/** One worker thread that answers one request at a time and is killed when it takes too long. */
import { Worker } from 'node:worker_threads'
import { messageOf } from './errors.js'
import { workerSource } from './worker-source.js'

/** How a request ended. */
export type ThreadReply =
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'throw'; readonly message: string }
  | {
      readonly kind: 'options'
      readonly issues: readonly { readonly message: string; readonly path: readonly string[] }[]
    }
  | { readonly kind: 'no-options' }
  | { readonly kind: 'export'; readonly exports: readonly string[] }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'exit'; readonly message: string }

/** Replies after which the thread is gone. */
const isFatal = ({ kind }: ThreadReply) => kind === 'timeout' || kind === 'exit'

/** Time a function has to return after its signal was aborted, in milliseconds. */
const GRACE = 100

type Answer = { readonly id: number } & (
  | { readonly problem?: undefined; readonly value: unknown }
  | { readonly problem: 'throw'; readonly message: string }
  | {
      readonly problem: 'options'
      readonly issues: readonly { readonly message: string; readonly path: readonly string[] }[]
    }
  | { readonly problem: 'no-options' }
  | { readonly problem: 'timeout' }
  | { readonly problem: 'export'; readonly exports: readonly string[] }
)

function replyOf(answer: Answer): ThreadReply {
  switch (answer.problem) {
    case undefined:
      return { kind: 'value', value: answer.value }
    case 'throw':
      return { kind: 'throw', message: answer.message }
    case 'options':
      return { kind: 'options', issues: answer.issues }
    case 'no-options':
    case 'timeout':
      return { kind: answer.problem }
    case 'export':
      return { kind: 'export', exports: answer.exports }
  }
}

export class RewardThread {
  readonly #worker = new Worker(workerSource, { eval: true, name: 'revisual-reward' })
  #requests = 0

  constructor() {
    // Without a request in flight the thread does not keep the process alive.
    this.#worker.unref()
  }

  /**
   * Sends a request and waits for its answer. A fatal reply means that the thread is (being) terminated.
   * @param timeout wall clock in milliseconds; a loop that never returns ends with it
   */
  request(request: object, timeout: number): Promise<ThreadReply> {
    const worker = this.#worker
    const id = this.#requests++
    return new Promise((resolve) => {
      const expired = setTimeout(() => finish({ kind: 'timeout' }), timeout + GRACE)
      const onMessage = (answer: Answer) => {
        if (answer.id === id) finish(replyOf(answer))
      }
      const onError = (error: unknown) => finish({ kind: 'exit', message: messageOf(error) })
      const onExit = (code: number) => finish({ kind: 'exit', message: `its thread exited with code ${code}` })
      const finish = (reply: ThreadReply) => {
        clearTimeout(expired)
        worker.off('message', onMessage).off('error', onError).off('exit', onExit).unref()
        if (!isFatal(reply)) return resolve(reply)
        this.terminate().then(
          () => resolve(reply),
          () => resolve(reply),
        )
      }
      worker.on('message', onMessage).on('error', onError).on('exit', onExit).ref()
      try {
        worker.postMessage({ id, ...request })
      } catch (thrown) {
        finish({ kind: 'throw', message: messageOf(thrown) })
      }
    })
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate()
  }
}
