/**
 * The HTTP side: routes, key, limits, errors. OpenAI-compatible: `POST /v1/chat/completions`, `GET /v1/models`,
 * `GET /v1/models/{id}`; and `GET /health`.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { cors } from 'hono/cors'
import { EngineClosedError } from '@revisual/model'
import { messageOf } from '../errors.js'
import { ChatCompletion, type ChatContext } from './chat.js'
import { ApiError, badRequest } from './errors.js'
import { parseChatRequest } from './request.js'

export interface AppOptions {
  /** Bearer key clients must send. `null`: none. */
  readonly apiKey: string | null
  /** Name of the model in requests and answers. */
  readonly modelName: string
  /** Bytes of a request body. */
  readonly maxBodyBytes: number
  /** Requests in work or waiting; more get 429. */
  readonly maxRequests: number
  /** Origins browsers may call from. Empty: none. */
  readonly allowedOrigins: readonly string[]
  /** Tells a change of the answers to the same seed: build, adapter, model. */
  readonly fingerprint: string
  /** One line for every answered request. */
  readonly log: (line: string) => void
}

/** What the server counts, and whether it still takes requests. */
export class ServerState {
  /** Requests in work. */
  inFlight = 0
  isDraining = false
  /** Why nothing works any more. */
  failure: string | null = null
  readonly startedAt = Math.floor(Date.now() / 1000)
}

const retryAfter = { 'retry-after': '1' }

export function createApp(context: ChatContext, options: AppOptions, state: ServerState): Hono {
  const app = new Hono()
  app.use(async (c, next) => {
    const started = performance.now()
    const id = `req_${randomBytes(12).toString('hex')}`
    await next()
    c.header('x-request-id', id)
    options.log(`${c.req.method} ${c.req.path} ${c.res.status} ${Math.round(performance.now() - started)} ms ${id}`)
  })
  if (options.allowedOrigins.length > 0) app.use(cors({ origin: [...options.allowedOrigins] }))
  app.onError((error, c) => {
    const known = asApiError(error, state)
    return c.json(known.body, known.status, known.headers)
  })
  app.notFound((c) => {
    const error = new ApiError(404, `There is no ${c.req.method} ${c.req.path} here.`, { code: 'not_found' })
    return c.json(error.body, 404)
  })

  app.get('/health', (c) => {
    const status = state.failure !== null ? 'failed' : state.isDraining ? 'draining' : 'ok'
    const { runningSequences, waitingSequences, reservedTokens, maxCacheTokens } = context.engine.status
    const body = {
      status,
      model: options.modelName,
      requests: state.inFlight,
      running_sequences: runningSequences,
      waiting_sequences: waitingSequences,
      cache_tokens: { reserved: reservedTokens, total: maxCacheTokens },
    }
    return c.json(body, status === 'ok' ? 200 : 503)
  })

  app.use('/v1/*', async (c, next) => {
    if (options.apiKey !== null && !isKey(c.req.header('authorization'), options.apiKey)) {
      throw new ApiError(401, 'Incorrect API key provided. Send it as: Authorization: Bearer KEY.', {
        code: 'invalid_api_key',
      })
    }
    await next()
  })
  const model = { id: options.modelName, object: 'model', created: state.startedAt, owned_by: 'revisual' }
  app.get('/v1/models', (c) => c.json({ object: 'list', data: [model] }))
  app.get('/v1/models/:id{.+}', (c) => {
    checkModel(c.req.param('id'), options.modelName)
    return c.json(model)
  })

  const limitBody = bodyLimit({
    maxSize: options.maxBodyBytes,
    onError: () => {
      throw new ApiError(413, `The request body is larger than ${options.maxBodyBytes} bytes.`)
    },
  })
  app.post('/v1/chat/completions', limitBody, async (c) => {
    if (!/^application\/json\b/i.test(c.req.header('content-type') ?? '')) {
      throw new ApiError(415, 'The content type must be application/json.')
    }
    const release = enter(state, options.maxRequests)
    try {
      const request = parseChatRequest(await readJson(c.req.raw))
      checkModel(request.model, options.modelName)
      const completion = await ChatCompletion.begin(
        context,
        request,
        {
          id: `chatcmpl-${randomBytes(12).toString('hex')}`,
          created: Math.floor(Date.now() / 1000),
          model: options.modelName,
          system_fingerprint: options.fingerprint,
        },
        c.req.raw.signal,
      )
      const abort = () => completion.abort()
      c.req.raw.signal.addEventListener('abort', abort)
      if (c.req.raw.signal.aborted) abort()
      if (request.stream !== true) return c.json(await completion.reply(), 200)
      return eventStream(completion.stream(), release.hold())
    } finally {
      release.unlessHeld()
    }
  })
  return app
}

/** Counts a request in. The count goes down once: at the end of the handler, or of the stream that holds it. */
function enter(state: ServerState, most: number) {
  if (state.failure !== null) throw new ApiError(503, `The model is not available: ${state.failure}`)
  if (state.isDraining) throw new ApiError(503, 'The server is shutting down.', { headers: retryAfter })
  if (state.inFlight >= most) {
    throw new ApiError(429, `The server has ${most} requests in work already. Try again later.`, {
      code: 'rate_limit_exceeded',
      headers: retryAfter,
    })
  }
  state.inFlight++
  let isHeld = false
  const leave = () => {
    state.inFlight--
  }
  return {
    hold: () => {
      isHeld = true
      return leave
    },
    unlessHeld: () => {
      if (!isHeld) leave()
    },
  }
}

/** Server-sent events. A client that stops reading ends the source. */
function eventStream(source: AsyncGenerator<string, void, undefined>, onEnd: () => void): Response {
  const encoder = new TextEncoder()
  let hasEnded = false
  const end = () => {
    if (!hasEnded) onEnd()
    hasEnded = true
  }
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await source.next()
      if (done === true) {
        end()
        controller.close()
      } else controller.enqueue(encoder.encode(`data: ${value}\n\n`))
    },
    async cancel() {
      end()
      await source.return()
    },
  })
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      // Asks proxies not to collect the stream.
      'x-accel-buffering': 'no',
    },
  })
}

async function readJson(request: Request): Promise<unknown> {
  const body = await request.text()
  try {
    return JSON.parse(body)
  } catch {
    throw badRequest('The request body is not JSON.')
  }
}

function checkModel(asked: string, name: string): void {
  if (asked === name) return
  throw new ApiError(404, `The model '${asked.slice(0, 200)}' does not exist here; allowed: '${name}'.`, {
    param: 'model',
    code: 'model_not_found',
  })
}

/** Compares digests, so that the time tells nothing of the key, not even its length. */
function isKey(header: string | undefined, key: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const sent = /^Bearer (.*)$/i.exec(header ?? '')?.[1] ?? ''
  return timingSafeEqual(digest(sent), digest(key))
}

function asApiError(error: unknown, state: ServerState): ApiError {
  if (error instanceof ApiError) return error
  if (error instanceof EngineClosedError)
    return new ApiError(503, 'The server is shutting down.', { headers: retryAfter })
  if (error instanceof Error && error.name === 'DeviceLostError') state.failure = error.message
  return new ApiError(500, `The server failed: ${messageOf(error)}`)
}
