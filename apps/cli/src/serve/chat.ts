/**
 * One chat completion, whole or streamed. A client that goes away takes its sequences with it.
 */
import type {
  GeneratedToken,
  Generation,
  GenerationEngine,
  GenerationEvent,
  ModelPrompt,
  VisionLanguageModel,
} from '@revisual/model'
import { messageOf } from '../errors.js'
import { engineRequest, promptOf, type CompletionLimits } from './completion.js'
import { ApiError, badRequest } from './errors.js'
import { chunkOf, finishReasonOf, logProbsOf, usageOf, type ReplyHead } from './reply.js'
import type { ChatRequest } from './request.js'
import type { TokenTexts } from './token-text.js'

export interface ChatContext {
  readonly model: VisionLanguageModel
  readonly engine: GenerationEngine
  readonly texts: TokenTexts
  readonly limits: CompletionLimits
}

/** An admitted request. Its events wait here until someone takes them. */
export class ChatCompletion {
  readonly #events: GenerationEvent[] = []
  #wake: () => void = () => {}
  readonly #generation: Generation

  private constructor(
    private readonly context: ChatContext,
    private readonly request: ChatRequest,
    private readonly head: ReplyHead,
    private readonly prompt: ModelPrompt,
  ) {
    const { model, engine, limits } = context
    const wanted = engineRequest(model, prompt, request, limits)
    const onEvent = (event: GenerationEvent) => {
      this.#events.push(event)
      this.#wake()
    }
    try {
      this.#generation = engine.submit(wanted, { onEvent })
    } catch (error) {
      if (error instanceof RangeError) throw badRequest(error.message)
      throw error
    }
    this.#generation.result.catch(() => {
      // Told by whoever waits for the result.
    })
  }

  /** Prepares the prompt and hands the request to the engine. */
  static async begin(
    context: ChatContext,
    request: ChatRequest,
    head: ReplyHead,
    signal: AbortSignal,
  ): Promise<ChatCompletion> {
    const prompt = await promptOf(context.model, request, context.limits, signal)
    return new ChatCompletion(context, request, head, prompt)
  }

  abort(): void {
    this.#generation.abort()
  }

  /** The whole answer. */
  async reply() {
    const sequences = await this.#generation.result
    const tokens: GeneratedToken[][] = sequences.map(() => [])
    for (const event of this.#events) tokens[event.sampleIndex]?.push(...event.tokens)
    const choices = sequences.map(({ sampleIndex, text, finishReason }) => ({
      index: sampleIndex,
      message: { role: 'assistant', content: text, refusal: null },
      logprobs: this.#logProbs(tokens[sampleIndex] ?? []),
      finish_reason: finishReasonOf(finishReason),
    }))
    return { ...this.head, object: 'chat.completion', choices, usage: this.#usage(sequences) }
  }

  /** The answer as it comes: the data of one server-sent event after another. Ends the request when left early. */
  async *stream(): AsyncGenerator<string, void, undefined> {
    // With usage asked for, all other chunks say null.
    const withUsage = this.request.stream_options?.include_usage === true
    const chunk = (choice: object) => JSON.stringify(chunkOf(this.head, [choice], withUsage ? null : undefined))
    try {
      for (let index = 0; index < (this.request.n ?? 1); index++) {
        const delta = { role: 'assistant', content: '', refusal: null }
        yield chunk({ index, delta, logprobs: null, finish_reason: null })
      }
      for await (const { sampleIndex: index, text, tokens, finishReason } of this.#takeEvents()) {
        if (text !== '' || tokens.length > 0) {
          yield chunk({ index, delta: { content: text }, logprobs: this.#logProbs(tokens), finish_reason: null })
        }
        if (finishReason === null) continue
        yield chunk({ index, delta: {}, logprobs: null, finish_reason: finishReasonOf(finishReason) })
      }
      const sequences = await this.#generation.result
      if (withUsage) yield JSON.stringify(chunkOf(this.head, [], this.#usage(sequences)))
      yield '[DONE]'
    } catch (error) {
      // The status is out; clients throw on an error object in the stream.
      yield JSON.stringify(new ApiError(500, messageOf(error)).body)
    } finally {
      this.abort()
    }
  }

  async *#takeEvents(): AsyncGenerator<GenerationEvent, void, undefined> {
    let isDone = false
    const done = this.#generation.result.finally(() => {
      isDone = true
      this.#wake()
    })
    done.catch(() => {
      // Thrown below, unless nobody reads on.
    })
    for (;;) {
      const event = this.#events.shift()
      if (event) yield event
      else if (isDone) break
      else await Promise.race([done, new Promise<void>((resolve) => (this.#wake = resolve))])
    }
    await done
  }

  #logProbs(tokens: readonly GeneratedToken[]) {
    return this.request.logprobs === true ? logProbsOf(tokens, this.context.texts) : null
  }

  #usage(sequences: readonly { readonly ids: readonly number[] }[]) {
    return usageOf(
      this.prompt.ids.length,
      sequences.reduce((sum, { ids }) => sum + ids.length, 0),
    )
  }
}
