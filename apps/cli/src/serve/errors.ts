/**
 * Errors in OpenAI's shape. The official clients choose their error class by the status and retry 408, 409, 429 and 5xx, so
 * a bad request is never a 5xx, and overload is a 429 that says when to come back.
 */
type Status = 400 | 401 | 403 | 404 | 405 | 413 | 415 | 429 | 500 | 503

interface Details {
  /** The parameter at fault, e.g. `messages.0.content`. */
  readonly param?: string | null
  readonly code?: string | null
  readonly headers?: Readonly<Record<string, string>>
}

function typeOf(status: Status): string {
  if (status === 401 || status === 403) return 'authentication_error'
  if (status === 429) return 'rate_limit_error'
  return status >= 500 ? 'server_error' : 'invalid_request_error'
}

/** An error that is the answer to a request. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly headers: Readonly<Record<string, string>>
  readonly body: {
    readonly error: {
      readonly message: string
      readonly type: string
      readonly param: string | null
      readonly code: string | null
    }
  }

  constructor(
    readonly status: Status,
    message: string,
    { param = null, code = null, headers = {} }: Details = {},
  ) {
    super(message)
    this.headers = headers
    this.body = { error: { message, type: typeOf(status), param, code } }
  }
}

/** A request that is wrong and stays so. */
export const badRequest = (message: string, param: string | null = null, code: string | null = null) =>
  new ApiError(400, message, { param, code })
