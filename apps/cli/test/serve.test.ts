/** The server with OpenAI's own client, on the loopback interface, over the base model of the quick start. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import { loadModel, type VisionLanguageModel } from '@revisual/model'
import { createDevice, type Device } from '@revisual/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startServer, type RunningServer, type ServerOptions } from '../src/serve/server.js'
import { dataUri, png } from './png.js'

const base = fileURLToPath(new URL('../../../examples/quickstart/base', import.meta.url))
const key = 'a key of the test'
const question = 'the digits are 3 , 5 . what is the sum ?'

let device: Device
let model: VisionLanguageModel
let server: RunningServer
let client: OpenAI
const log: string[] = []

const options: ServerOptions = {
  host: '127.0.0.1',
  port: 0,
  apiKey: key,
  modelName: 'nano',
  version: '0',
  maxSequences: 8,
  maxCacheTokens: null,
  maxContext: 512,
  defaultMaxTokens: 24,
  maxChoices: 4,
  maxRequests: 24,
  maxBodyBytes: 200_000,
  maxImages: 2,
  maxImageBytes: 50_000,
  maxImagePixels: 250_000,
  allowedImageHosts: [],
  imageTimeoutMs: 2000,
  allowedOrigins: ['https://example.org'],
  log: (line) => log.push(line),
}

const clientOf = ({ url }: RunningServer, more = {}) =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey: key, timeout: 60_000, ...more })

beforeAll(async () => {
  device = await createDevice()
  model = await loadModel(base, device)
  server = await startServer(model, options)
  client = clientOf(server)
})
afterAll(async () => {
  await server.close(1000)
  device.destroy()
})

type Body = OpenAI.ChatCompletionCreateParamsNonStreaming
const body = (more: Partial<Body> & { readonly [extension: string]: unknown } = {}): Body => ({
  model: 'nano',
  messages: [{ role: 'user', content: question }],
  seed: 1,
  ...more,
})
const create = (more: Partial<Body> & { readonly [extension: string]: unknown } = {}) =>
  client.chat.completions.create(body(more))

/** Text, log-probs and reasons of a streamed answer, by choice. */
async function streamed(more: Partial<Body> = {}) {
  const stream = await client.chat.completions.create({
    ...body(more),
    stream: true,
    stream_options: { include_usage: true },
  })
  const texts: string[] = []
  const tokens: OpenAI.ChatCompletionTokenLogprob[][] = []
  const reasons: (string | null)[] = []
  let usage: OpenAI.CompletionUsage | null | undefined
  for await (const { choices, ...chunk } of stream) {
    usage = chunk.usage
    for (const { index, delta, logprobs, finish_reason } of choices) {
      texts[index] = (texts[index] ?? '') + (delta.content ?? '')
      tokens[index] = [...(tokens[index] ?? []), ...(logprobs?.content ?? [])]
      reasons[index] ??= finish_reason
    }
  }
  return { texts, tokens, reasons, usage }
}

const statusOf = (url: string, init?: RequestInit) => fetch(`${server.url}${url}`, init).then(({ status }) => status)

describe('models and health', () => {
  it('lists its model', async () => {
    const models = await client.models.list()
    expect(models.data.map(({ id, object, owned_by }) => [id, object, owned_by])).toEqual([
      ['nano', 'model', 'revisual'],
    ])
    expect((await client.models.retrieve('nano')).id).toBe('nano')
    await expect(client.models.retrieve('other')).rejects.toThrow(OpenAI.NotFoundError)
  })

  it('tells its health without a key', async () => {
    const response = await fetch(`${server.url}/health`)
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({ status: 'ok', model: 'nano', requests: 0, running_sequences: 0 })
  })
})

describe('chat completions', () => {
  it('answers in the shape of OpenAI', async () => {
    const answer = await create({ temperature: 0 })
    const [choice] = answer.choices
    expect(answer).toMatchObject({ object: 'chat.completion', model: 'nano' })
    expect(answer.id).toMatch(/^chatcmpl-/)
    expect(answer._request_id).toMatch(/^req_/)
    expect(choice).toMatchObject({ index: 0, logprobs: null, message: { role: 'assistant', refusal: null } })
    expect(choice?.message.content).toMatch(/\S/)
    const { prompt_tokens = 0, completion_tokens = 0, total_tokens = 0 } = answer.usage ?? {}
    expect(prompt_tokens).toBe(
      (await model.preparePrompt({ messages: [{ role: 'user', content: question }] })).ids.length,
    )
    expect(total_tokens).toBe(prompt_tokens + completion_tokens)
    expect(log.at(-1)).toMatch(/^POST \/v1\/chat\/completions 200 \d+ ms req_/)
  })

  it('streams what it would have answered at once', async () => {
    const more = { n: 3, temperature: 2, max_tokens: 12, logprobs: true, top_logprobs: 2 }
    const whole = await create(more)
    const parts = await streamed(more)
    expect(parts.texts).toEqual(whole.choices.map(({ message }) => message.content))
    expect(parts.reasons).toEqual(whole.choices.map(({ finish_reason }) => finish_reason))
    expect(parts.tokens).toEqual(whole.choices.map(({ logprobs }) => logprobs?.content))
    expect(parts.usage).toEqual(whole.usage)
    expect(new Set(parts.texts).size).toBeGreaterThan(1)
  })

  it('works through the helper of the client', async () => {
    const stream = client.chat.completions.stream({ ...body(), max_tokens: 8, stream: true })
    let text = ''
    stream.on('content', (delta) => (text += delta))
    const final = await stream.finalChatCompletion()
    expect(final.choices[0]?.message.content).toBe(text)
    expect(text).toBe((await create({ max_tokens: 8 })).choices[0]?.message.content)
  })

  it('repeats a seed, and draws another without one', async () => {
    const text = async (more: Partial<Body>) =>
      (await create({ temperature: 1.5, ...more })).choices[0]?.message.content
    expect(await text({ seed: -7 })).toBe(await text({ seed: -7 }))
    // So many, and so hot, that all alike by chance is not to be expected in a million runs.
    const free = await Promise.all(Array.from({ length: 32 }, () => text({ seed: null, temperature: 2 })))
    expect(new Set(free).size).toBeGreaterThan(1)
  })

  it('tells log-probs and alternatives', async () => {
    const { choices } = await create({ temperature: 0, max_tokens: 6, logprobs: true, top_logprobs: 4 })
    const content = choices[0]?.logprobs?.content ?? []
    expect(content.length).toBeGreaterThan(1)
    for (const { token, logprob, bytes, top_logprobs } of content) {
      expect(Buffer.from(bytes ?? []).toString()).toBe(token)
      // Greedy: the token is the likeliest.
      expect(top_logprobs[0]).toEqual({ token, logprob, bytes })
      expect(top_logprobs.length).toBe(4)
      expect(top_logprobs.map((other) => other.logprob)).toEqual(
        top_logprobs.map((other) => other.logprob).sort((a, b) => b - a),
      )
      expect(logprob).toBeLessThanOrEqual(0)
    }
  })

  it('ends at stop strings, streamed or not, and at the limit', async () => {
    const free = (await create({ temperature: 0, max_tokens: 16 })).choices[0]?.message.content ?? ''
    const stop = free.slice(5, 9)
    const expected = free.slice(0, free.indexOf(stop))
    const more = { temperature: 0, max_tokens: 16, stop: [stop, 'never'], logprobs: true }
    const [choice] = (await create(more)).choices
    expect(choice).toMatchObject({ finish_reason: 'stop', message: { content: expected } })
    expect((choice?.logprobs?.content ?? []).length).toBeLessThan(16)
    expect((await streamed(more)).texts).toEqual([expected])
    const [cut] = (await create({ temperature: 0, max_completion_tokens: 3 })).choices
    expect(cut?.finish_reason).toBe('length')
  })

  it('obeys bias and penalties', async () => {
    const seven = model.tokenizer.tokenToId('7') as number
    const biased = await create({ temperature: 0, max_tokens: 4, logit_bias: { [seven]: 100 } })
    expect(biased.choices[0]?.message.content).toBe('7777')
    const spread = await create({
      temperature: 0,
      max_tokens: 4,
      logit_bias: { [seven]: 20 },
      frequency_penalty: 2,
      presence_penalty: 2,
      repetition_penalty: 8,
    })
    expect(spread.choices[0]?.message.content).not.toBe('7777')
    const narrow = await create({ temperature: 2, max_tokens: 8, top_k: 1 })
    expect(narrow.choices[0]?.message.content).toBe(
      (await create({ temperature: 0, max_tokens: 8 })).choices[0]?.message.content,
    )
  })

  it('runs many requests together as it runs each alone', async () => {
    const requests = Array.from({ length: 12 }, (_, seed) => ({
      seed,
      temperature: 1,
      max_tokens: 6 + (seed % 5),
      n: 1 + (seed % 2),
    }))
    const together = await Promise.all(requests.map(create))
    for (const index of [0, 5, 11]) {
      const alone = await create(requests[index])
      expect(together[index]?.choices).toEqual(alone.choices)
    }
  })
})

describe('images', () => {
  const see = (...urls: string[]) =>
    create({
      temperature: 0,
      max_tokens: 6,
      messages: [
        {
          role: 'user',
          content: [
            ...urls.map((url) => ({ type: 'image_url' as const, image_url: { url } })),
            { type: 'text', text: 'what is the sum ?' },
          ],
        },
      ],
    })

  it('are seen', async () => {
    const none = await see()
    const one = await see(dataUri(png(56, 28, 30)))
    const two = await see(dataUri(png(56, 28, 30)), dataUri(png(28, 28, 240)))
    const tokens = [none, one, two].map(({ usage }) => usage?.prompt_tokens ?? 0)
    expect(tokens[1]).toBeGreaterThan(tokens[0] as number)
    expect(tokens[2]).toBeGreaterThan(tokens[1] as number)
    expect((await see(dataUri(png(1, 1, 9)))).choices.length).toBe(1)
    expect((await see(dataUri(png(28, 28, 9, undefined, 40)))).choices.length).toBe(1)
  })

  it.each([
    ['is no image', () => dataUri(Buffer.alloc(64)), /not PNG, JPEG or WebP/],
    ['is cut short', () => dataUri(png(100, 100, 1).subarray(0, 60)), /Cannot decode/],
    ['is 201 times as wide as high', () => dataUri(png(201 * 28, 28, 1)), /more than 200 times/],
    ['has too many pixels', () => dataUri(png(600, 600, 1)), /600 × 600 pixels; allowed: 250000/],
    ['is a URL', () => 'https://example.org/x.png', /other URLs are not fetched/],
  ])('are refused: one that %s', async (_, url, message) => {
    const failed = await see(url()).then(
      () => null,
      (error: unknown) => error,
    )
    expect(failed).toBeInstanceOf(OpenAI.BadRequestError)
    expect((failed as Error).message).toMatch(message)
  })

  it('come from hosts that are allowed, and from no other', async () => {
    const seen: string[] = []
    const host = createServer((request, response) => {
      seen.push(request.url ?? '')
      if (request.url === '/image.png') response.writeHead(200, { 'content-type': 'image/png' }).end(png(28, 28, 9))
      else if (request.url === '/large.png') response.writeHead(200).end(Buffer.alloc(60_000, 1))
      else if (request.url === '/away') response.writeHead(302, { location: 'http://localhost/x.png' }).end()
      else if (request.url === '/round') response.writeHead(302, { location: '/round' }).end()
      else if (request.url === '/slow') response.writeHead(200).write('x')
      else response.writeHead(302, { location: '/image.png' }).end()
    })
    host.listen(0, '127.0.0.1')
    await once(host, 'listening')
    const address = `127.0.0.1:${(host.address() as AddressInfo).port}`
    const open = await startServer(model, { ...options, allowedImageHosts: [address], imageTimeoutMs: 300 })
    const fetching = clientOf(open)
    const look = (path: string) =>
      fetching.chat.completions.create(
        body({
          max_tokens: 2,
          messages: [
            {
              role: 'user',
              content: [
                { type: 'image_url', image_url: { url: `http://${address}${path}` } },
                { type: 'text', text: 'sum ?' },
              ],
            },
          ],
        }),
      )
    try {
      expect((await look('/image.png')).choices.length).toBe(1)
      expect((await look('/redirected')).choices.length).toBe(1)
      await expect(look('/large.png')).rejects.toThrow(/larger than 50000 bytes/)
      await expect(look('/away')).rejects.toThrow(/or http\(s\) URLs of 127.0.0.1/)
      await expect(look('/round')).rejects.toThrow(/more than 3 redirects/)
      await expect(look('/slow')).rejects.toThrow(/more than 300 ms/)
      const requests = seen.length
      await expect(see(`http://${address}/image.png`)).rejects.toThrow(/not fetched/)
      expect(seen.length).toBe(requests)
    } finally {
      await open.close(1000)
      host.closeAllConnections()
      host.close()
    }
  })
})

describe('errors', () => {
  it.each([
    [{ temperature: 9 }, OpenAI.BadRequestError, { param: 'temperature' }],
    [{ best_of: 2 }, OpenAI.BadRequestError, { param: 'best_of', code: 'unknown_parameter' }],
    [{ n: 5 }, OpenAI.BadRequestError, { param: 'n' }],
    [{ max_tokens: 600 }, OpenAI.BadRequestError, { code: 'context_length_exceeded' }],
    [{ logit_bias: { 64: 1 } }, OpenAI.BadRequestError, {}],
    [{ model: 'gpt' }, OpenAI.NotFoundError, { code: 'model_not_found', param: 'model' }],
  ] as const)('of a request with %j has its class, and is not tried again', async (more, type, fields) => {
    const before = log.length
    const error: unknown = await create(more as Partial<Body>).catch((failed: unknown) => failed)
    expect(error).toBeInstanceOf(type)
    expect(error).toMatchObject({ type: 'invalid_request_error', ...fields })
    expect(log.length).toBe(before + 1)
  })

  it('of a wrong key', async () => {
    const wrong = clientOf(server, { apiKey: `${key}.` })
    await expect(wrong.models.list()).rejects.toThrow(OpenAI.AuthenticationError)
    expect(await statusOf('/v1/models')).toBe(401)
  })

  it('of HTTP', async () => {
    const authorization = `Bearer ${key}`
    const post = (text: string, type = 'application/json') =>
      statusOf('/v1/chat/completions', { method: 'POST', body: text, headers: { authorization, 'content-type': type } })
    expect(await post('{')).toBe(400)
    expect(await post('{}', 'text/plain')).toBe(415)
    expect(await post(JSON.stringify(body({ user: 'x'.repeat(200_001) })))).toBe(413)
    expect(await statusOf('/v1/completions', { headers: { authorization } })).toBe(404)
    const preflight = (origin: string) =>
      fetch(`${server.url}/v1/models`, {
        method: 'OPTIONS',
        headers: { origin, 'access-control-request-method': 'GET' },
      }).then(({ headers }) => headers.get('access-control-allow-origin'))
    expect(await preflight('https://example.org')).toBe('https://example.org')
    expect(await preflight('https://example.com')).toBeNull()
  })

  it('of overload says when to come back, and the client does', async () => {
    const narrow = await startServer(model, { ...options, maxRequests: 1 })
    const busy = clientOf(narrow)
    const long = busy.chat.completions.create(body({ max_tokens: 150, logit_bias: { 2: -100 } }))
    await waitFor(() => narrow.engine.status.runningSequences > 0)
    const hasty = await busy.chat.completions.create(body(), { maxRetries: 0 }).catch((error: unknown) => error)
    expect(hasty).toBeInstanceOf(OpenAI.RateLimitError)
    expect((hasty as InstanceType<typeof OpenAI.RateLimitError>).headers?.get('retry-after')).toBe('1')
    const patient = busy.chat.completions.create(body({ max_tokens: 2 }), { maxRetries: 30 })
    expect((await long).choices[0]?.finish_reason).toBe('length')
    expect((await patient).choices.length).toBe(1)
    await narrow.close(1000)
  })
})

async function waitFor(condition: () => boolean, limitMs = 20_000): Promise<void> {
  const end = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > end) throw new Error('The condition did not come true in time.')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

describe('clients that go away', () => {
  const endless = { max_tokens: 400, logit_bias: { 2: -100 } }

  it('free their place in the middle of a stream', async () => {
    const stream = await client.chat.completions.create({ ...body(endless), stream: true })
    let chunks = 0
    for await (const _ of stream) if (++chunks === 3) stream.controller.abort()
    expect(chunks).toBe(3)
    await waitFor(() => server.engine.status.runningSequences === 0)
    expect(server.engine.status.reservedTokens).toBe(0)
  })

  it('free their place while they wait for the whole', async () => {
    const controller = new AbortController()
    const answer = client.chat.completions.create(body(endless), { signal: controller.signal })
    await waitFor(() => server.engine.status.runningSequences > 0)
    controller.abort()
    await expect(answer).rejects.toThrow(OpenAI.APIUserAbortError)
    await waitFor(() => server.engine.status.runningSequences === 0)
    expect((await create({ max_tokens: 2 })).choices.length).toBe(1)
  })
})

describe('closing', () => {
  it('finishes what runs and takes nothing more', async () => {
    const ending = await startServer(model, options)
    const own = clientOf(ending, { maxRetries: 0 })
    const expected = own.chat.completions.create(body({ max_tokens: 20, logit_bias: { 2: -100 } }))
    await waitFor(() => ending.engine.status.runningSequences > 0)
    const closing = ending.close(30_000)
    await expect(own.models.list()).rejects.toThrow(OpenAI.APIConnectionError)
    expect((await expected).usage?.completion_tokens).toBe(20)
    expect(await closing).toBe(true)
  })

  it('ends what takes too long with what there is', async () => {
    const ending = await startServer(model, options)
    const answer = clientOf(ending).chat.completions.create(body({ max_tokens: 400, logit_bias: { 2: -100 } }))
    await waitFor(() => ending.engine.status.runningSequences > 0)
    expect(await ending.close(0)).toBe(false)
    expect((await answer).usage?.completion_tokens).toBeLessThan(400)
  })
})
