/**
 * One question to an OpenAI-compatible `/chat/completions`, repeated while the server is busy or gone
 * (https://platform.openai.com/docs/api-reference/chat/create). Every attempt has a time limit and takes its turn.
 */
import { type Limiter, wait } from './limiter.js'

/** The judge gave no answer to one question. */
export class JudgeError extends Error {
  override readonly name = 'JudgeError'

  constructor(
    message: string,
    /** Whether every other question would fail alike: a wrong key, path or model. */
    readonly isForAll: boolean,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

export interface ChatServer {
  /** Whole address of the endpoint. */
  readonly url: string
  readonly apiKey: string | undefined
  /** Milliseconds of one attempt. */
  readonly timeout: number
  /** Further attempts after the first. */
  readonly retries: number
  /** Milliseconds before the second attempt; doubled before each further one, at most a minute. */
  readonly retryDelay: number
  readonly limiter: Limiter
}

const MOST_BYTES = 2 ** 20
const MOST_DELAY = 60_000

type Attempt =
  | { readonly reply: string }
  | { readonly error: JudgeError; readonly again: boolean; readonly after?: number | undefined }

/** Milliseconds that `retry-after` asks for: seconds or a date. */
function retryAfter(headers: Headers): number | undefined {
  const value = headers.get('retry-after')
  if (value === null || value.trim() === '') return undefined
  const asked = Number.isFinite(Number(value)) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isFinite(asked) ? Math.min(MOST_DELAY, Math.max(0, asked)) : undefined
}

/** The body, of which no more than a bound is kept in memory. */
async function readBody(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > MOST_BYTES) throw new RangeError(`sent more than ${MOST_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** `choices[0].message.content` */
function contentOf(body: string): string | null {
  try {
    const { choices } = JSON.parse(body) as { choices?: readonly { message?: { content?: unknown } }[] }
    const content = choices?.[0]?.message?.content
    return typeof content === 'string' ? content : null
  } catch {
    return null
  }
}

/** fetch hides the reason in the cause of a TypeError. */
function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  return thrown.cause instanceof Error ? thrown.cause.message : thrown.message
}

/** Statuses that say something about the server or the key, not about this question. */
const FOR_ALL: ReadonlySet<number> = new Set([401, 403, 404, 405])
const isBusy = (status: number) => status === 408 || status === 409 || status === 429 || status >= 500

async function attempt(server: ChatServer, body: string, signal: AbortSignal): Promise<Attempt> {
  const limit = AbortSignal.timeout(server.timeout)
  const { url, apiKey } = server
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
      },
      body,
      // A server that sends the question elsewhere is misconfigured.
      redirect: 'error',
      signal: AbortSignal.any([limit, signal]),
    })
    const { status } = response
    const text = await readBody(response)
    if (response.ok) {
      const reply = contentOf(text)
      if (reply !== null) return { reply }
      return { error: new JudgeError(`${url} answered without choices[0].message.content`, false), again: false }
    }
    const error = new JudgeError(`${url} answered ${status}: ${text.slice(0, 300)}`, FOR_ALL.has(status))
    return { error, again: isBusy(status), after: retryAfter(response.headers) }
  } catch (thrown) {
    signal.throwIfAborted()
    const what = limit.aborted ? `did not answer within ${server.timeout} ms` : `failed: ${reasonOf(thrown)}`
    return { error: new JudgeError(`${url} ${what}`, false, { cause: thrown }), again: true }
  }
}

/**
 * The content of the first choice.
 * @throws {JudgeError} after the last attempt, or at once for an answer that no repetition would change
 * @throws the reason of `signal` once that is aborted
 */
export async function askChat(server: ChatServer, request: unknown, signal: AbortSignal): Promise<string> {
  const body = JSON.stringify(request)
  for (let attempts = 0; ; attempts++) {
    const result = await server.limiter.run(() => attempt(server, body, signal), signal)
    if ('reply' in result) return result.reply
    if (!result.again || attempts >= server.retries) throw result.error
    // What one request was told holds for all of them.
    if (result.after !== undefined) server.limiter.pause(result.after)
    await wait(result.after ?? Math.min(MOST_DELAY, server.retryDelay * 2 ** attempts), signal)
  }
}
