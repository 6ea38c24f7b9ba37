/** Many requests to one server: so many at a time, each with a time limit, repeated when the server is busy or gone. */

export interface RequestOptions {
  /** Sent with every request, such as `authorization`. */
  readonly headers?: { readonly [name: string]: string }
  /** Requests at a time. Default 64. */
  readonly concurrency?: number
  /** Seconds one attempt may take. Default 600. */
  readonly timeout?: number
  /** Further attempts after the first. Default 5. */
  readonly retries?: number
  /** Seconds before the second attempt; doubled before each further one, up to 60. Default 1. A `retry-after` goes before it. */
  readonly retryDelay?: number
}

/** A server could not be reached, refused, or answered with something else than expected. */
export class RemoteError extends Error {
  override readonly name = 'RemoteError'

  constructor(
    message: string,
    /** HTTP status; null where there was no answer. */
    readonly status: number | null,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

const MOST_SECONDS = 60
const isBusy = (status: number) => status === 408 || status === 429 || status >= 500

function wait(seconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = () => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }
    const timer = setTimeout(finish, seconds * 1000)
    const abort = () => {
      clearTimeout(timer)
      reject(signal?.reason as Error)
    }
    signal?.addEventListener('abort', abort, { once: true })
  })
}

/** Seconds a busy server asks to be left alone; null where it does not say. */
function retryAfter(response: Response): number | null {
  const seconds = Number(response.headers.get('retry-after') ?? NaN)
  return Number.isFinite(seconds) && seconds >= 0 ? Math.min(MOST_SECONDS, seconds) : null
}

interface Attempt {
  /** Set when the answer was good. */
  readonly value?: unknown
  readonly error?: RemoteError
  /** Whether another attempt makes sense, and after how long. */
  readonly again: boolean
  readonly after: number | null
}

async function attempt(
  url: string,
  body: string,
  { headers, timeout = 600 }: RequestOptions,
  signal?: AbortSignal,
): Promise<Attempt> {
  const limit = AbortSignal.timeout(timeout * 1000)
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
      signal: signal ? AbortSignal.any([limit, signal]) : limit,
    })
    const text = await response.text()
    if (response.ok) return { value: JSON.parse(text) as unknown, again: false, after: null }
    const error = new RemoteError(
      `${url} answered ${response.status} ${response.statusText}: ${text.slice(0, 300)}`,
      response.status,
    )
    return { error, again: isBusy(response.status), after: retryAfter(response) }
  } catch (thrown) {
    signal?.throwIfAborted()
    if (thrown instanceof SyntaxError) {
      return {
        error: new RemoteError(`${url} answered with no JSON: ${thrown.message}`, 200),
        again: false,
        after: null,
      }
    }
    const what = limit.aborted ? `did not answer within ${timeout} s` : `cannot be reached (${reasonOf(thrown)})`
    return { error: new RemoteError(`${url} ${what}.`, null, { cause: thrown }), again: true, after: null }
  }
}

/** fetch hides the reason in the cause of a TypeError. */
function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  return thrown.cause instanceof Error ? thrown.cause.message : thrown.message
}

/**
 * Posts JSON and returns the JSON answered.
 * @throws {RemoteError} after the last attempt, or at once for an answer that no repetition would change
 */
export async function postJson(
  url: string,
  body: unknown,
  options: RequestOptions = {},
  signal?: AbortSignal,
): Promise<unknown> {
  const { retries = 5, retryDelay = 1 } = options
  const text = JSON.stringify(body)
  for (let attempts = 0; ; attempts++) {
    signal?.throwIfAborted()
    const { value, error, again, after } = await attempt(url, text, options, signal)
    if (!error) return value
    if (!again || attempts >= retries) throw error
    await wait(after ?? Math.min(MOST_SECONDS, retryDelay * 2 ** attempts), signal)
  }
}

/** Applies `work` to every item, at most `limit` at a time, and keeps their order. The first failure is thrown, and nothing new begun. */
export async function mapLimited<Item, Result>(
  items: readonly Item[],
  limit: number,
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  let next = 0
  let failed = false
  const lane = async () => {
    while (!failed && next < items.length) {
      const index = next++
      try {
        results[index] = await work(items[index] as Item, index)
      } catch (thrown) {
        failed = true
        throw thrown
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(Math.max(1, limit), items.length) }, lane))
  return results
}
