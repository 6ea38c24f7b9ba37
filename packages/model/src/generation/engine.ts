/**
 * The generation engine: requests come in at any time and share the steps of one loop (continuous batching, Yu et al.,
 * OSDI 2022). Every step feeds one token per running sequence; what finishes frees its place at once and the next in the
 * queue takes it. Order of admission is order of arrival; a request that does not fit yet makes those behind it wait, so
 * none starves.
 *
 * A prompt is prefilled once, when the first of its samples is admitted, and stays in the cache until the last is done.
 * The randomness of a sample is a counter of (seed, sample index, token index), and every kernel of a step works row by
 * row; see `docs/model.md` for what that guarantees.
 */
import { noGrad, sampleTokens, type Tensor } from '@revisual/tensor'
import { layoutOptions } from '../network/batch.js'
import type { Network } from '../network/forward.js'
import type { ModelPrompt } from '../prompt.js'
import type { Tokenizer } from '../text/tokenizer.js'
import { appendRuns, BlockPool, type SlotRun } from './block-pool.js'
import { decodeLogits, prefill, type DecodeRow } from './decode-step.js'
import { DecodeWeights } from './decode-weights.js'
import { bytesPerSlot, KeyValueCache } from './key-value-cache.js'
import { editLogits } from './logit-edits.js'
import { modelLogProbs } from './model-log-probs.js'
import { checkRequest, type EngineRequest } from './request.js'
import {
  Sequence,
  type CachedPrompt,
  type GeneratedSequence,
  type GeneratedToken,
  type GenerationEvent,
  type Job,
} from './sequence.js'

export interface EngineOptions {
  /** Makes text of ids; without one, samples have ids only and stop strings are refused. */
  readonly tokenizer?: Tokenizer | null
  /** [V], added to the logits; see `samplingMask`. */
  readonly mask?: Float32Array
  /** Ids that end a sample, unless the request names its own. Default: none. */
  readonly stopIds?: readonly number[]
  /** Sequences that run at once. Default 64. */
  readonly maxSequences?: number
  /** Tokens whose keys and values may be reserved together. Default, and most: what one binding of the adapter holds. */
  readonly maxCacheTokens?: number
  /** Prompt tokens prefilled between two steps; one longer prompt is still taken whole. Default 4096. */
  readonly maxPrefillTokens?: number
  /**
   * Every step has `maxSequences` rows, every prefill one prompt, so that no kernel is chosen by the size of the batch.
   * Makes the bits of a row independent of its neighbours on adapters where they otherwise are not. Default false.
   */
  readonly fixedBatch?: boolean
}

export interface SubmitOptions {
  /** Called for every token, from the loop: must return quickly and not throw. */
  readonly onEvent?: (event: GenerationEvent) => void
}

/** A submitted request. */
export interface Generation {
  /** Samples in order. Rejects when the engine fails or is closed before the request has begun. */
  readonly result: Promise<GeneratedSequence[]>
  /** Ends all unfinished samples with what they have; `result` resolves. */
  abort(): void
}

/** How busy an engine is. */
export interface EngineStatus {
  readonly runningSequences: number
  readonly waitingSequences: number
  readonly reservedTokens: number
  readonly maxCacheTokens: number
}

/** An engine that was closed, or is closing, takes no requests. */
export class EngineClosedError extends Error {
  override readonly name = 'EngineClosedError'
}

/** A running sequence with the request it belongs to. */
interface Active {
  readonly job: Job
  readonly sequence: Sequence
  readonly prompt: CachedPrompt
}

/** Results of a step on the host. */
interface Sampled {
  readonly ids: ArrayLike<number>
  readonly logProbs: ArrayLike<number>
  readonly model: {
    readonly chosen: ArrayLike<number>
    readonly values: ArrayLike<number>
    readonly indices: ArrayLike<number>
    readonly logSums: ArrayLike<number>
    readonly count: number
  } | null
}

const blockSize = 32

/** Log-probs below this belong to masked tokens and are not told. */
const impossible = -1e20

export class GenerationEngine {
  readonly #tokenizer: Tokenizer | null
  readonly #maxSequences: number
  readonly #maxPrefillTokens: number
  readonly #pool: BlockPool
  readonly #cache: KeyValueCache
  readonly #prompts = new Map<ModelPrompt, CachedPrompt>()
  #queue: { readonly job: Job; readonly sequence: Sequence }[] = []
  #active: Active[] = []
  readonly #weights: DecodeWeights
  #mask: Tensor | null = null
  #loop: Promise<void> | null = null
  #isClosed = false

  constructor(
    private readonly network: Network,
    private readonly options: EngineOptions = {},
  ) {
    const { device, architecture } = network
    const { text } = architecture
    this.#tokenizer = options.tokenizer ?? null
    this.#maxSequences = atLeastOne('maxSequences', options.maxSequences ?? 64)
    this.#maxPrefillTokens = atLeastOne('maxPrefillTokens', options.maxPrefillTokens ?? 4096)
    const binding = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize)
    const most = Math.floor(binding / bytesPerSlot(text) / blockSize) - 1
    const wanted = Math.ceil(atLeastOne('maxCacheTokens', options.maxCacheTokens ?? Infinity) / blockSize)
    this.#weights = new DecodeWeights(network)
    // Block 0 takes what rows without a sequence write.
    this.#pool = new BlockPool(blockSize, Math.min(most, wanted), 1)
    this.#cache = new KeyValueCache(device, text, (this.#pool.budget + 1) * blockSize)
  }

  get status(): EngineStatus {
    return {
      runningSequences: this.#active.length,
      waitingSequences: this.#queue.length,
      reservedTokens: this.#pool.reserved * blockSize,
      maxCacheTokens: this.#pool.budget * blockSize,
    }
  }

  /**
   * Queues a request.
   * @throws {RangeError} it is malformed, or larger than the cache can ever hold.
   * @throws {EngineClosedError} after {@link close}.
   */
  submit(request: EngineRequest, { onEvent }: SubmitOptions = {}): Generation {
    if (this.#isClosed) throw new EngineClosedError('The generation engine is closed and takes no requests.')
    this.#check(request)
    const { promise, resolve, reject } = withResolvers<GeneratedSequence[]>()
    const sequences = Array.from(
      { length: request.n },
      (_, index) => new Sequence(index, request, this.#tokenizer, onEvent !== undefined),
    )
    const stopIds = new Set(request.stopIds ?? this.options.stopIds)
    const job: Job = { request, stopIds, sequences, onEvent, resolve, reject, unfinished: request.n, isAborted: false }
    this.#queue.push(...sequences.map((sequence) => ({ job, sequence })))
    this.#start()
    return {
      result: promise,
      abort: () => {
        job.isAborted = true
      },
    }
  }

  /** Submits a request and gives its events as they come. Leaving the loop early aborts the request. */
  async *stream(request: EngineRequest): AsyncGenerator<GenerationEvent, void, undefined> {
    const events: GenerationEvent[] = []
    let wake: () => void = () => {}
    const generation = this.submit(request, {
      onEvent: (event) => {
        events.push(event)
        wake()
      },
    })
    let isDone = false
    const done = generation.result.then(() => {
      isDone = true
      wake()
    })
    try {
      for (;;) {
        const event = events.shift()
        if (event) yield event
        else if (isDone) return
        else await Promise.race([done, new Promise<void>((resolve) => (wake = resolve))])
      }
    } finally {
      generation.abort()
      // A failure has been thrown above, or nobody waits for it any more.
      done.catch(() => {})
    }
  }

  /**
   * Takes no more requests, ends (or with `drain` finishes) those it has, and frees the cache.
   */
  async close({ drain = false }: { readonly drain?: boolean } = {}): Promise<void> {
    this.#isClosed = true
    if (!drain) for (const { job } of [...this.#active, ...this.#queue]) job.isAborted = true
    await this.#loop
    this.#cache.dispose()
    this.#mask?.dispose()
    this.#mask = null
  }

  #check(request: EngineRequest): void {
    const { architecture } = this.network
    const { visualTokenIds } = layoutOptions(architecture)
    checkRequest(request, { vocabularySize: architecture.text.vocabularySize, visualTokenIds })
    if ((request.stopStrings?.length ?? 0) > 0 && !this.#tokenizer) {
      throw new RangeError('Generation: stop strings need a tokenizer; give the engine one, or use stopIds.')
    }
    const blocks = this.#promptBlocks(request.prompt) + this.#pool.blocksFor(request.maxTokens)
    if (blocks > this.#pool.budget) {
      throw new RangeError(
        `Generation: a prompt of ${request.prompt.ids.length} tokens and maxTokens ${request.maxTokens} need ${blocks * blockSize} ` +
          `cache tokens; ${this.#pool.budget * blockSize} are there. Ask for fewer tokens or raise maxCacheTokens.`,
      )
    }
  }

  /** Blocks of a prompt; its last token is counted with the sample. */
  #promptBlocks(prompt: ModelPrompt): number {
    return this.#pool.blocksFor(prompt.ids.length - 1)
  }

  // ------------------------------------------------------------------------------------------ the loop

  #start(): void {
    this.#loop ??= this.#run()
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        this.#loop = null
        this.#weights.dispose()
        // A request may have come while the loop was ending.
        if (this.#queue.length > 0) this.#start()
      })
  }

  async #run(): Promise<void> {
    // What is submitted in the same turn starts together.
    await Promise.resolve()
    for (;;) {
      this.#dropAborted()
      await this.#admit()
      if (this.#active.length === 0) return
      const sampled = await this.#step()
      this.#settle(sampled)
    }
  }

  /** After an error the state of the GPU is not known: everything under way fails. */
  #fail(error: unknown): void {
    const jobs = new Set([...this.#active, ...this.#queue].map(({ job }) => job))
    for (const { sequence, prompt } of this.#active) this.#free(sequence, prompt)
    this.#active = []
    this.#queue = []
    for (const job of jobs) job.reject(error)
  }

  #dropAborted(): void {
    for (const { job } of [...this.#active, ...this.#queue]) if (job.request.signal?.aborted) job.isAborted = true
    for (const { job, sequence, prompt } of this.#active) {
      if (!job.isAborted) continue
      const event = sequence.abort()
      this.#free(sequence, prompt)
      this.#finish(job, event)
    }
    this.#active = this.#active.filter(({ job }) => !job.isAborted)
    for (const { job, sequence } of this.#queue) if (job.isAborted) this.#finish(job, sequence.abort())
    this.#queue = this.#queue.filter(({ job }) => !job.isAborted)
  }

  /** Moves sequences from the queue into the batch while there is room, and prefills their prompts. */
  async #admit(): Promise<void> {
    const fresh: CachedPrompt[] = []
    let tokens = 0
    for (;;) {
      const next = this.#queue[0]
      if (!next || this.#active.length >= this.#maxSequences) break
      const isNew = !this.#prompts.has(next.job.request.prompt)
      const size = next.job.request.prompt.ids.length - 1
      if (isNew && fresh.length > 0 && tokens + size > this.#maxPrefillTokens) break
      const prompt = this.#reserve(next.job.request, next.sequence)
      if (!prompt) break
      if (isNew) {
        fresh.push(prompt)
        tokens += size
      }
      this.#queue.shift()
      this.#active.push({ ...next, prompt })
    }
    await this.#cache.ensure(this.#extent())
    const long = fresh.filter(({ prompt }) => prompt.ids.length > 1)
    const parts = this.options.fixedBatch ? long.map((one) => [one]) : long.length > 0 ? [long] : []
    for (const part of parts) {
      await prefill(
        this.network,
        this.#cache,
        part.map(({ prompt, blocks }) => ({ prompt, slots: slotsOf(blocks, prompt.ids.length - 1) })),
      )
    }
  }

  /** Reserves the cache of a sequence, with that of its prompt if need be. */
  #reserve({ prompt, maxTokens }: EngineRequest, sequence: Sequence): CachedPrompt | null {
    const known = this.#prompts.get(prompt)
    const promptBlocks = known ? 0 : this.#promptBlocks(prompt)
    const own = this.#pool.blocksFor(maxTokens)
    if (!this.#pool.reserve(promptBlocks + own)) return null
    const cached = known ?? {
      prompt,
      distinctIds: new Set(prompt.ids),
      blocks: Array.from({ length: promptBlocks }, () => this.#pool.take()),
      reserved: promptBlocks,
      users: 0,
    }
    this.#prompts.set(prompt, cached)
    cached.users++
    sequence.reserved = own
    sequence.prompt = cached
    return cached
  }

  #free(sequence: Sequence, prompt: CachedPrompt): void {
    this.#pool.giveBack(sequence.blocks)
    this.#pool.release(sequence.reserved)
    sequence.blocks.length = 0
    sequence.reserved = 0
    prompt.users--
    if (prompt.users > 0) return
    this.#prompts.delete(prompt.prompt)
    this.#pool.giveBack(prompt.blocks)
    this.#pool.release(prompt.reserved)
  }

  #extent(): number {
    return this.#pool.extent * blockSize
  }

  /** Feeds every running sequence its newest token and draws the next. */
  async #step(): Promise<Sampled> {
    const { device } = this.network
    const rows = this.#active.map((active) => this.#decodeRow(active))
    await this.#cache.ensure(this.#extent())
    if (this.options.fixedBatch) while (rows.length < this.#maxSequences) rows.push(idleRow)
    this.#mask ??= this.options.mask ? device.tensor(this.options.mask) : null
    using scope = device.scope()
    const wanted = Math.max(-1, ...this.#active.map(({ job }) => job.request.topLogProbs ?? -1))
    const tensors = noGrad(() => {
      const raw = decodeLogits(this.network, this.#weights, this.#cache, rows)
      const logits = this.#mask ? raw.add(this.#mask) : raw
      const edited = editLogits(
        logits,
        this.#active.map(({ sequence }) => sequence.edits),
      )
      const { ids, logProbs } = sampleTokens(edited, this.#samplingOptions(rows.length))
      const model = wanted < 0 ? null : modelLogProbs(logits, ids, Math.max(1, wanted))
      return [ids, logProbs, ...(model ? [model.chosen, model.values, model.indices, model.logSums] : [])]
    })
    const copies = this.#weights.takeFresh()
    if (copies.length > 0) await device.eval([...copies, ...tensors])
    for (const copy of copies) scope.keep(copy)
    const [ids = [], logProbs = [], chosen, values, indices, logSums] = await device.read(tensors)
    const count = (values?.length ?? 0) / rows.length
    const model = chosen && values && indices && logSums ? { chosen, values, indices, logSums, count } : null
    return { ids, logProbs, model }
  }

  #samplingOptions(rows: number) {
    const pick = (value: (active: Active) => number, idle: number) =>
      Array.from({ length: rows }, (_, row) => {
        const active = this.#active[row]
        return active ? value(active) : idle
      })
    const seeds = Array.from({ length: rows }, (_, row) => {
      const active = this.#active[row]
      return active ? seedWords(active.job.request.seed, active.sequence.sampleIndex) : [0, 0]
    })
    return {
      temperature: pick(({ job }) => job.request.temperature, 0),
      topK: pick(({ job }) => job.request.topK ?? 0, 0),
      topP: pick(({ job }) => job.request.topP ?? 1, 1),
      minP: pick(({ job }) => job.request.minP ?? 0, 0),
      step: pick(({ sequence }) => sequence.ids.length, 0),
      seeds: this.network.device.tensor(Uint32Array.from(seeds.flat()), [rows, 2]),
    }
  }

  #decodeRow({ sequence, prompt: { prompt, blocks } }: Active): DecodeRow {
    const fed = sequence.ids.length
    if (fed % blockSize === 0) sequence.blocks.push(this.#pool.take())
    const runs: SlotRun[] = []
    appendRuns(runs, blocks, prompt.ids.length - 1, blockSize)
    appendRuns(runs, sequence.blocks, fed + 1, blockSize)
    const last = runs.at(-1) as SlotRun
    return {
      id: sequence.ids.at(-1) ?? (prompt.ids.at(-1) as number),
      position: prompt.nextPosition - 1 + fed,
      newSlot: last.start + last.length - 1,
      runs,
    }
  }

  /** Hands the drawn tokens to their sequences and lets finished ones go. */
  #settle(sampled: Sampled): void {
    this.#active.forEach(({ job, sequence, prompt }, row) => {
      const event = sequence.push(tokenOf(sampled, row, job.request.topLogProbs), job.stopIds)
      if (event.finishReason !== null) {
        this.#free(sequence, prompt)
        this.#finish(job, event)
      } else if (event.tokens.length > 0 || event.text !== '') job.onEvent?.(event)
    })
    this.#active = this.#active.filter(({ sequence }) => sequence.finishReason === null)
  }

  #finish(job: Job, event: GenerationEvent): void {
    job.onEvent?.(event)
    job.unfinished--
    if (job.unfinished === 0) job.resolve(job.sequences.map((sequence) => sequence.result()))
  }
}

/** A row of no sequence: it attends to itself in the spare block. */
const idleRow: DecodeRow = { id: 0, position: 0, newSlot: 0, runs: [{ start: 0, length: 1 }] }

function slotsOf(blocks: readonly number[], tokens: number): number[] {
  return Array.from(
    { length: tokens },
    (_, token) => (blocks[Math.floor(token / blockSize)] as number) * blockSize + (token % blockSize),
  )
}

function tokenOf({ ids, logProbs, model }: Sampled, row: number, wanted: number | undefined): GeneratedToken {
  const token = { id: ids[row] as number, logProb: logProbs[row] as number }
  if (!model || wanted === undefined) return token
  const top = Array.from({ length: Math.min(wanted, model.count) }, (_, rank) => ({
    id: model.indices[row * model.count + rank] as number,
    logProb: (model.values[row * model.count + rank] as number) - (model.logSums[row] as number),
  })).filter(({ logProb }) => logProb > impossible)
  return { ...token, modelLogProb: model.chosen[row] as number, top }
}

/** The two words the sampler counts from. Seeds above 32 bits mix their upper bits into the second. */
function seedWords(seed: number, sampleIndex: number): [number, number] {
  return [seed >>> 0, (sampleIndex ^ Math.imul(Math.floor(seed / 2 ** 32), 0x9e3779b1)) >>> 0]
}

function atLeastOne(name: string, value: number): number {
  if (value === Infinity || (Number.isInteger(value) && value >= 1)) return value
  throw new RangeError(`Generation engine: ${name} is ${value}; allowed: an integer of at least 1.`)
}

function withResolvers<T>() {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
