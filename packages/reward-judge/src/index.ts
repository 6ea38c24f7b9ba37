/**
 * `judge`: the score that another language model gives (LLM as a judge, arXiv 2306.05685). Everything that makes such a
 * reward bearable in training is here: equal questions are asked once, failures cost a value and not the run, and a
 * recording stands in for the server in tests.
 */
import type { JsonValue, RewardBatch, RewardPlugin, RewardValue } from '@revisual/rl'
import { askChat, type ChatServer, JudgeError } from './chat.js'
import { Limiter } from './limiter.js'
import { judgeOptions, type JudgeOptions } from './options.js'
import { afterThoughts, DEFAULT_TEMPLATE, fillTemplate, shortened } from './prompt.js'
import { Replies, requestKey } from './replies.js'
import { parseVerdict } from './verdict.js'

export type { JudgeOptions } from './options.js'

/** The key, from the environment. */
function apiKeyOf({ apiKeyVariable, recording }: JudgeOptions): string | undefined {
  if (apiKeyVariable === undefined || recording?.mode === 'replay') return undefined
  const key = process.env[apiKeyVariable]
  if (key) return key
  throw new Error(`judge: the environment variable ${apiKeyVariable} is not set; it must hold the key of the server.`)
}

function serverOf(options: JudgeOptions): ChatServer {
  const { url, concurrency = 8, requestsPerMinute, timeout = 60, retries = 4, retryDelay = 1 } = options
  return {
    url: `${url.endsWith('/') ? url.slice(0, -1) : url}/chat/completions`,
    apiKey: apiKeyOf(options),
    timeout: timeout * 1000,
    retries,
    retryDelay: retryDelay * 1000,
    limiter: new Limiter(concurrency, requestsPerMinute),
  }
}

function repliesOf({ cacheEntries = 10_000, cache, recording }: JudgeOptions): Replies {
  if (recording === undefined) return new Replies(cacheEntries, cache ?? null)
  const isReplay = recording.mode === 'replay'
  return new Replies(isReplay ? Infinity : cacheEntries, recording.file, !isReplay)
}

/** A column as text. */
function columnText(value: JsonValue | undefined): string | undefined {
  return value === undefined || value === null ? undefined : typeof value === 'string' ? value : JSON.stringify(value)
}

/** The request about completion `index`. */
function requestOf(batch: RewardBatch, index: number, options: JudgeOptions): { readonly [field: string]: unknown } {
  const { questionColumn = 'question', answerColumn = 'answer', maxCharacters = 20_000, system } = options
  const row = batch.rows[index] ?? {}
  const completion = batch.completions[index] ?? ''
  const content = fillTemplate(options.template ?? DEFAULT_TEMPLATE, {
    question: shortened(columnText(row[questionColumn]) ?? batch.prompts[index] ?? '', maxCharacters),
    answer: shortened(columnText(row[answerColumn]) ?? '', maxCharacters),
    completion: shortened(options.part === 'all' ? completion : afterThoughts(completion), maxCharacters),
  })
  return {
    model: options.model,
    messages: [...(system === undefined ? [] : [{ role: 'system', content: system }]), { role: 'user', content }],
    temperature: options.temperature ?? 0,
    max_tokens: options.maxTokens ?? 512,
  }
}

/** Asks about equal requests once, also while the first answer is on its way. */
class Judge {
  readonly #asked = new Map<string, Promise<number>>()
  readonly #server: ChatServer
  readonly #replies: Replies

  constructor(readonly options: JudgeOptions) {
    this.#server = serverOf(options)
    this.#replies = repliesOf(options)
  }

  /** @returns a score in [0, 1] @throws {JudgeError} when there is none */
  score(request: unknown, signal: AbortSignal): Promise<number> {
    const key = requestKey(request)
    const asked = this.#asked.get(key)
    if (asked !== undefined) return asked
    const score = this.#ask(key, request, signal).finally(() => this.#asked.delete(key))
    this.#asked.set(key, score)
    return score
  }

  async #ask(key: string, request: unknown, signal: AbortSignal): Promise<number> {
    const { scale = [0, 1], recording } = this.options
    const known = this.#replies.get(key)
    if (known === undefined && recording?.mode === 'replay') {
      throw new JudgeError(`${recording.file} has no reply to request ${key}; record it anew`, false)
    }
    const reply = known ?? (await askChat(this.#server, request, signal))
    const score = parseVerdict(reply, scale)
    if (score === null) {
      const allowed = `{"score": s} or a last line with a number, from ${scale[0]} to ${scale[1]}`
      throw new JudgeError(`the judge said ${JSON.stringify(reply.slice(-200))}; allowed: ${allowed}`, false)
    }
    if (known === undefined) this.#replies.set(key, reply)
    return score
  }
}

/** What a completion gets for a score or a failure. */
function valueOf(outcome: PromiseSettledResult<number>, fallback: JudgeOptions['fallback']): RewardValue {
  if (outcome.status === 'fulfilled') return { score: outcome.value, parts: { failed: 0 } }
  const reason: unknown = outcome.reason
  if (!(reason instanceof JudgeError) || reason.isForAll || fallback === 'raise') throw reason
  return typeof fallback === 'number' ? { score: fallback, parts: { failed: 1 } } : null
}

/**
 * Per completion `{ score, parts }`: `score` in [0, 1] as the judge says, `parts.failed` 1 where `fallback` stands in.
 *
 * @throws {JudgeError} when the server refuses every question (wrong key, address or model), and with `fallback: raise`
 */
const judge: RewardPlugin<JudgeOptions> = {
  name: 'judge',
  options: judgeOptions,
  create(options) {
    const asker = new Judge(options)
    return async (batch, { signal }) => {
      // The first error that concerns all questions, or the end of time, stops the others.
      const stop = new AbortController()
      const either = AbortSignal.any([signal, stop.signal])
      const outcomes = await Promise.allSettled(
        batch.completions.map(async (_, index) => {
          try {
            return await asker.score(requestOf(batch, index, options), either)
          } catch (thrown) {
            if (thrown instanceof JudgeError && thrown.isForAll) stop.abort(thrown)
            throw thrown
          }
        }),
      )
      return outcomes.map((outcome) => valueOf(outcome, options.fallback))
    }
  },
}

export default judge
