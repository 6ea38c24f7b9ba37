/**
 * What the engine knows of a request, of its prompt, and of each of its samples: plain state on the host.
 */
import type { ModelPrompt } from '../prompt.js'
import type { Tokenizer } from '../text/tokenizer.js'

import { editsOf, type LogitEdit } from './logit-edits.js'
import type { EngineRequest, FinishReason } from './request.js'
import { TextStream } from './text-stream.js'

/** A token with its log-probs. */
export interface GeneratedToken {
  readonly id: number
  /** Under the distribution it was drawn from, before top-k, top-p and min-p. */
  readonly logProb: number
  /** Under the model at temperature 1, before bias and penalties. Present when `topLogProbs` was asked for. */
  readonly modelLogProb?: number
  /** The likeliest tokens under the model, best first. */
  readonly top?: readonly { readonly id: number; readonly logProb: number }[]
}

/** What a step has made known of a sample. */
export interface GenerationEvent {
  readonly sampleIndex: number
  /** Tokens whose text is out (all tokens, where no text is made). Without the stop id and what a stop string cut off. */
  readonly tokens: readonly GeneratedToken[]
  /** Text since the last event. */
  readonly text: string
  /** Set in the last event of the sample. */
  readonly finishReason: FinishReason | null
}

/** A finished sample. */
export interface GeneratedSequence {
  readonly sampleIndex: number
  /** All generated ids; the stop id is the last element when one ended the sample. */
  readonly ids: readonly number[]
  /** One for each id; see {@link GeneratedToken.logProb}. */
  readonly logProbs: readonly number[]
  readonly finishReason: FinishReason
  /** Without what ended it. Empty where the engine has no tokenizer. */
  readonly text: string
  /** What ended it, when `finishReason` is `stop`: an id or a string. */
  readonly stop: number | string | null
}

/** A prompt whose keys and values are, or will be, in the cache; shared by samples and by requests with the same object. */
export interface CachedPrompt {
  readonly prompt: ModelPrompt
  readonly distinctIds: ReadonlySet<number>
  readonly blocks: number[]
  readonly reserved: number
  users: number
}

/** A request under way. */
export interface Job {
  readonly request: EngineRequest
  readonly stopIds: ReadonlySet<number>
  readonly sequences: readonly Sequence[]
  readonly onEvent: ((event: GenerationEvent) => void) | undefined
  readonly resolve: (sequences: GeneratedSequence[]) => void
  readonly reject: (error: unknown) => void
  unfinished: number
  isAborted: boolean
}

/** A sample under way. */
export class Sequence {
  readonly ids: number[] = []
  readonly logProbs: number[] = []
  readonly blocks: number[] = []
  /** Blocks reserved for it; 0 until it is admitted. */
  reserved = 0
  /** Set when admitted. */
  prompt: CachedPrompt | null = null
  finishReason: FinishReason | null = null
  #stop: number | string | null = null
  readonly #counts = new Map<number, number>()
  readonly #stream: TextStream | null
  /** Tokens whose text is not out yet, with the place in the text where theirs begins. */
  #pending: { readonly token: GeneratedToken; readonly start: number }[] = []
  #released = 0
  #text = ''

  constructor(
    readonly sampleIndex: number,
    private readonly request: EngineRequest,
    private readonly tokenizer: Tokenizer | null,
    /** Events are wanted, so text is made as tokens come. */
    isStreaming: boolean,
  ) {
    const { stopStrings = [] } = request
    this.#stream = tokenizer && (isStreaming || stopStrings.length > 0) ? new TextStream(tokenizer, stopStrings) : null
  }

  get edits(): LogitEdit[] {
    return editsOf(this.request, this.prompt?.distinctIds ?? new Set(), this.#counts)
  }

  /** Takes the next token. */
  push(token: GeneratedToken, stopIds: ReadonlySet<number>): GenerationEvent {
    const { id, logProb } = token
    this.ids.push(id)
    this.logProbs.push(logProb)
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1)
    if (stopIds.has(id)) return this.#finish('stop', id)
    if (this.#stream) this.#pending.push({ token, start: this.#stream.length })
    const piece = this.#stream?.push(id) ?? { text: '', stop: null }
    this.#take(piece.text)
    if (piece.stop !== null) return this.#finish('stop', piece.stop, piece.text)
    if (this.ids.length >= this.request.maxTokens) return this.#finish('length', null, piece.text, [token])
    return { ...this.#event(piece.text), ...(this.#stream ? {} : { tokens: [token] }) }
  }

  /** Ends the sample before its time. */
  abort(): GenerationEvent {
    return this.#finish('aborted', null)
  }

  result(): GeneratedSequence {
    const { sampleIndex, ids, logProbs } = this
    const finishReason = this.finishReason ?? 'aborted'
    const spoken = typeof this.#stop === 'number' ? ids.slice(0, -1) : ids
    const text = this.#stream ? this.#text : (this.tokenizer?.decode(spoken) ?? '')
    return { sampleIndex, ids, logProbs, finishReason, text, stop: this.#stop }
  }

  #take(text: string): void {
    this.#text += text
    this.#released += text.length
  }

  #finish(
    reason: FinishReason,
    stop: number | string | null,
    text = '',
    last: readonly GeneratedToken[] = [],
  ): GenerationEvent {
    // What was held back may still hold a stop string, or be cut by none.
    const end = typeof stop === 'string' ? { text: '', stop: null } : (this.#stream?.end() ?? { text: '', stop: null })
    this.#take(end.text)
    this.#stop = stop ?? end.stop
    this.finishReason = end.stop === null ? reason : 'stop'
    // Without a stop string all pending tokens count, those of no text as well.
    if (typeof this.#stop !== 'string') this.#released = Infinity
    const event = { ...this.#event(text + end.text), finishReason: this.finishReason }
    return this.#stream ? event : { ...event, tokens: last }
  }

  #event(text: string): GenerationEvent {
    const out = this.#pending.findIndex(({ start }) => start >= this.#released)
    const count = out < 0 ? this.#pending.length : out
    const tokens = this.#pending.slice(0, count).map(({ token }) => token)
    this.#pending = this.#pending.slice(count)
    return { sampleIndex: this.sampleIndex, tokens, text, finishReason: null }
  }
}
