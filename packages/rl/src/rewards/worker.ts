/**
 * Rewards in a thread of their own. Reward code is other people's regular expressions on a model's output: sooner or later
 * some call does not return, and from the same thread nothing can stop it. Here every call has a wall clock, and a call that
 * overruns it costs one terminated thread; the next one starts a fresh thread and loads the functions again.
 */
import type { RewardBatch } from '../types.js'
import { RewardError } from './errors.js'
import {
  exportError,
  loadReward,
  locateReward,
  noOptionsError,
  optionsError,
  type RewardLookup,
  type RewardSpec,
} from './load.js'
import {
  callHere,
  checkJudges,
  DEFAULT_TIMEOUT,
  scoreWith,
  type Judge,
  type RewardScorer,
  type ScorerOptions,
} from './scorer.js'
import type { CombinedRewards } from './scores.js'
import { RewardThread, type ThreadReply } from './thread.js'

export interface RewardWorkerOptions extends ScorerOptions {
  /** Wall clock of importing and creating one reward in milliseconds. Default 60 000. */
  readonly loadTimeout?: number
}

/** A reward the thread holds, in the order it was loaded. */
interface ThreadReward {
  readonly spec: RewardSpec
  readonly url: string
  readonly exportName: string
}

/** The error a reply stands for; null when it carries a value. */
function replyError(name: string, reply: ThreadReply, exportName: string, timeout: number): RewardError | null {
  switch (reply.kind) {
    case 'value':
      return null
    case 'throw':
      return new RewardError(name, 'throw', `threw: ${reply.message}`)
    case 'options':
      return optionsError(name, reply.issues)
    case 'no-options':
      return noOptionsError(name)
    case 'export':
      return exportError(name, exportName, reply.exports)
    case 'timeout':
      return new RewardError(name, 'timeout', `took longer than ${timeout} ms and was stopped.`)
    case 'exit':
      return new RewardError(name, 'exit', `ended its thread: ${reply.message}.`)
  }
}

/** The thread with its functions loaded; started when first needed, and again after it was terminated. */
class LoadedThread {
  #thread: RewardThread | null = null
  /** Requests wait for each other: the thread does one thing at a time, and its wall clock is that of one call. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(
    readonly rewards: readonly ThreadReward[],
    readonly loadTimeout: number,
  ) {}

  /** Loads the functions. @returns their names, null for plain functions */
  start(): Promise<(string | null)[]> {
    return this.#inTurn(() => this.#start())
  }

  call(index: number, name: string, batch: RewardBatch, timeout: number): Promise<unknown> {
    return this.#inTurn(async () => {
      if (!this.#thread) await this.#start()
      const reply = await (this.#thread as unknown as RewardThread).request(
        { score: { index, batch, timeout } },
        timeout,
      )
      return this.#value(name, reply, '', timeout)
    })
  }

  close(): Promise<void> {
    const thread = this.#thread
    this.#thread = null
    return thread ? thread.terminate() : Promise.resolve()
  }

  async #start(): Promise<(string | null)[]> {
    const thread = new RewardThread()
    this.#thread = thread
    try {
      const names: (string | null)[] = []
      for (const { spec, url, exportName } of this.rewards) {
        const reply = await thread.request({ load: { url, exportName, options: spec.options } }, this.loadTimeout)
        if (reply.kind === 'throw') throw new RewardError(spec.use, 'load', `cannot be loaded: ${reply.message}`)
        names.push(this.#value(spec.use, reply, exportName, this.loadTimeout) as string | null)
      }
      return names
    } catch (thrown) {
      await this.close()
      throw thrown
    }
  }

  #value(name: string, reply: ThreadReply, exportName: string, timeout: number): unknown {
    if (reply.kind === 'timeout' || reply.kind === 'exit') this.#thread = null
    const error = replyError(name, reply, exportName, timeout)
    if (error) throw error
    return reply.kind === 'value' ? reply.value : undefined
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(work, work)
    this.#last = result
    return result
  }
}

export class RewardWorker implements RewardScorer {
  readonly #judges: readonly Judge[]
  readonly #onError: NonNullable<ScorerOptions['onError']>
  readonly #thread: LoadedThread

  private constructor(judges: readonly Judge[], thread: LoadedThread, options: ScorerOptions) {
    this.#judges = judges
    this.#thread = thread
    this.#onError = options.onError ?? 'raise'
  }

  /**
   * Finds, imports and creates all rewards, and checks their options. Built-ins given as plugin objects run in the calling
   * thread; everything else runs in the worker.
   *
   * @throws {RewardError} naming the first reward that cannot be used
   */
  static async create(
    specs: readonly RewardSpec[],
    lookup: RewardLookup,
    options: RewardWorkerOptions = {},
  ): Promise<RewardWorker> {
    const { timeout = DEFAULT_TIMEOUT, loadTimeout = DEFAULT_TIMEOUT } = options
    const located = await Promise.all(specs.map(async (spec) => ({ spec, found: await locateReward(spec, lookup) })))
    const inThread = located.flatMap(({ spec, found }) => (found.kind === 'module' ? [{ spec, ...found }] : []))
    const thread = new LoadedThread(inThread, loadTimeout)
    const names = inThread.length > 0 ? await thread.start() : []
    try {
      const judges = await Promise.all(
        located.map(async ({ spec, found }): Promise<Judge> => {
          const weight = spec.weight ?? 1
          if (found.kind === 'plugin') {
            const { name, reward } = await loadReward(spec, lookup)
            return { name, weight, call: (batch) => callHere(name, reward, batch, timeout) }
          }
          const index = inThread.findIndex((entry) => entry.spec === spec)
          const own = found.exportName === 'default' ? spec.use : found.exportName
          const name = spec.name ?? names[index] ?? own
          return { name, weight, call: (batch) => thread.call(index, name, batch, timeout) }
        }),
      )
      checkJudges(judges, options)
      return new RewardWorker(judges, thread, options)
    } catch (thrown) {
      await thread.close()
      throw thrown
    }
  }

  /** Names of the functions, as metrics carry them. */
  get names(): readonly string[] {
    return this.#judges.map(({ name }) => name)
  }

  /** @throws {RewardError} when a function fails and `onError` is `raise` */
  score(batch: RewardBatch): Promise<CombinedRewards> {
    return scoreWith(this.#judges, batch, this.#onError)
  }

  /** Ends the thread. */
  close(): Promise<void> {
    return this.#thread.close()
  }
}
