import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { answerOf, newPolicy, rl } from '../../test/sequence-task.js'
import type { MetricRecord } from '../trainer/records.js'
import { train } from '../trainer/train.js'
import { openAiSampler, withSampler, type OpenAiSamplerOptions } from './openai-sampler.js'
import { mapLimited, RemoteError } from './requests.js'

interface Asked {
  readonly path: string
  readonly authorization: string | undefined
  readonly body: { readonly [field: string]: unknown }
}
type Answer = (asked: Asked, response: ServerResponse) => void | Promise<void>

let server: Server | null = null
afterEach(async () => {
  const closing = server
  closing?.closeAllConnections()
  await new Promise<void>((resolve) => (closing ? closing.close(() => resolve()) : resolve()))
  server = null
})

async function read(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request) text += String(chunk)
  return text
}

/** A server on the loopback interface. */
async function serve(answer: Answer): Promise<string> {
  server = createServer((request, response) => {
    const respond = async () => {
      const body = JSON.parse(await read(request)) as Asked['body']
      await answer({ path: request.url ?? '', authorization: request.headers.authorization, body }, response)
    }
    respond().catch((error: unknown) => response.destroy(error as Error))
  })
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
}

const json = (response: ServerResponse, value: unknown, status = 200, headers = {}) =>
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))

const sampling = { maxTokens: 4, temperature: 1 }
const optionsOf = (
  baseUrl: string,
  more: Partial<OpenAiSamplerOptions<number>> = {},
): OpenAiSamplerOptions<number> => ({
  baseUrl,
  model: 'tiny',
  prompt: (prompt) => [prompt],
  stopIds: [0],
  retryDelay: 0.01,
  ...more,
})
const one = [{ prompt: 2, n: 2, seed: 9 }]

/** A server that samples from a policy, as vLLM answers. */
const policyServer =
  (policy = newPolicy(), noise = 0): Answer =>
  async ({ body }, response) => {
    const {
      prompt,
      n,
      seed,
      max_tokens: maxTokens,
      temperature,
    } = body as {
      readonly prompt: readonly number[]
      readonly n: number
      readonly seed: number
      readonly max_tokens: number
      readonly temperature: number
    }
    const completions = await policy.sample([{ prompt: prompt[0] as number, n, seed }], { maxTokens, temperature })
    const choices = completions.map(({ sampleIndex, text, completionIds, logProbs, finishReason }) => ({
      index: sampleIndex,
      text,
      finish_reason: finishReason,
      token_ids: completionIds,
      logprobs: {
        tokens: completionIds.map(String),
        token_logprobs: logProbs.map((value, t) => value + noise * (t % 2 === 0 ? 1 : -1)),
      },
    }))
    // Out of order, as they may be.
    json(response, { choices: choices.reverse() })
  }

describe('openAiSampler', () => {
  it('sends tokens and takes tokens', async () => {
    const asked: Asked[] = []
    const url = await serve((request, response) => {
      asked.push(request)
      return policyServer()(request, response)
    })
    const own = await newPolicy().sample(one, sampling)
    const sample = openAiSampler(optionsOf(`${url}/`, { apiKey: 'secret', extraBody: { min_p: 0.1 } }))
    expect(await sample(one, { ...sampling, topK: 3 })).toEqual(own)
    expect(asked).toEqual([
      {
        path: '/v1/completions',
        authorization: 'Bearer secret',
        body: expect.objectContaining({
          model: 'tiny',
          prompt: [2],
          n: 2,
          seed: 9,
          max_tokens: 4,
          temperature: 1,
          top_p: 1,
          top_k: 3,
          logprobs: 1,
          return_token_ids: true,
          min_p: 0.1,
        }) as unknown,
      },
    ])
  })

  const answerWith =
    (choice: object): Answer =>
    (_, response) =>
      void json(response, { choices: [{ index: 0, text: 'x', finish_reason: 'stop', ...choice }] })
  const single = [{ prompt: 1, n: 1, seed: 1 }]

  it('reads ids from named tokens, or encodes the text, and adds an end that was sampled', async () => {
    const named = { logprobs: { tokens: ['token_id:7', 'token_id:0'], token_logprobs: [-1, -2] } }
    const [first] = await openAiSampler(optionsOf(await serve(answerWith(named))))(single, sampling)
    expect(first).toMatchObject({ completionIds: [7, 0], logProbs: [-1, -2], finishReason: 'stop' })
    server?.close()
    const texts = { logprobs: { tokens: ['x', '<end>'], token_logprobs: [-1, -2] } }
    const options = optionsOf(await serve(answerWith(texts)), { encode: (text) => [text.length] })
    expect((await openAiSampler(options)(single, sampling))[0]?.completionIds).toEqual([1, 0])
  })

  it.each([
    ['no ids', { logprobs: { token_logprobs: [-1] } }, 'returned no token ids'],
    ['no log-probs', { token_ids: [1, 0] }, '0 log-probs for 2 tokens'],
    ['a log-prob that is none', { token_ids: [1, 0], logprobs: { token_logprobs: [null, -1] } }, 'number 0 no number'],
    ['another number of choices', { index: 'a' }, 'answered with 1 choices for n = 1, not all with index and text'],
  ])('refuses %s', async (_, choice, message) => {
    const sample = openAiSampler(optionsOf(await serve(answerWith(choice))))
    await expect(sample(single, sampling)).rejects.toThrow(message)
  })

  it('tries again when the server is busy, and not when it refuses', async () => {
    let calls = 0
    const flaky = await serve((request, response) => {
      calls++
      if (calls === 1) return void response.socket?.destroy()
      if (calls === 2) return void json(response, { error: 'slow down' }, 429, { 'retry-after': '0' })
      if (calls === 3) return void json(response, {}, 503)
      return policyServer()(request, response)
    })
    expect(await openAiSampler(optionsOf(flaky))(one, sampling)).toHaveLength(2)
    expect(calls).toBe(4)
    server?.close()

    calls = 0
    const refusing = await serve((_, response) => {
      calls++
      json(response, { error: 'no such model' }, 404)
    })
    const failure = openAiSampler(optionsOf(refusing))(one, sampling)
    await expect(failure).rejects.toThrow(/\/v1\/completions answered 404 Not Found: \{"error":"no such model"\}/)
    await expect(failure).rejects.toBeInstanceOf(RemoteError)
    expect(calls).toBe(1)
  })

  it('gives up after its retries, in its time, and when aborted', async () => {
    const hanging = await serve(() => undefined)
    const late = openAiSampler(optionsOf(hanging, { timeout: 0.05, retries: 1 }))
    await expect(late(one, sampling)).rejects.toThrow('did not answer within 0.05 s')
    const controller = new AbortController()
    const pending = openAiSampler(optionsOf(hanging))(one, { ...sampling, signal: controller.signal })
    controller.abort(new Error('enough'))
    await expect(pending).rejects.toThrow('enough')
    const nobody = openAiSampler(optionsOf('http://127.0.0.1:9/v1', { retries: 1 }))
    await expect(nobody(one, sampling)).rejects.toThrow('cannot be reached')
  })

  it('keeps to its limit of requests at a time', async () => {
    let now = 0
    let most = 0
    // Answers wait for one another in threes, so that three are under way however slow the machine is.
    let arrived: (() => void)[] = []
    const url = await serve(async (request, response) => {
      most = Math.max(most, ++now)
      await new Promise<void>((resolve) => {
        arrived.push(resolve)
        if (arrived.length < 3) return
        for (const go of arrived) go()
        arrived = []
      })
      now--
      await policyServer()(request, response)
    })
    const requests = Array.from({ length: 9 }, (_, seed) => ({ prompt: seed % 3, n: 1, seed }))
    const completions = await openAiSampler(optionsOf(url, { concurrency: 3 }))(requests, sampling)
    expect(completions.map(({ requestIndex }) => requestIndex)).toEqual([...requests.keys()])
    expect(most).toBe(3)
  })
})

it('mapLimited begins nothing after a failure', async () => {
  const begun: number[] = []
  const failing = mapLimited([0, 1, 2, 3, 4, 5], 2, async (item) => {
    begun.push(item)
    await Promise.resolve()
    if (item === 1) throw new Error('one')
    await new Promise((resolve) => setTimeout(resolve, 5))
  })
  await expect(failing).rejects.toThrow('one')
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(begun).toEqual([0, 1])
})

describe('training with a sampler elsewhere', () => {
  it('learns, with the correction on, and publishes weights that changed', async () => {
    // The server samples from the policy that is trained, and reports log-probs that are off by 0.1.
    const policy = newPolicy()
    const url = await serve(policyServer(policy, 0.1))
    let published = 0
    const remote = withSampler(policy, openAiSampler(optionsOf(url)), async () => void published++)
    const records: MetricRecord[] = []
    const stage = rl({ steps: 40, learningRate: 0.15, groupSize: 12 })
    await train({ policy: remote, stages: [stage], hooks: { onMetrics: (record) => void records.push(record) } })
    expect(policy.probability(1, answerOf(1).slice(0, 2))).toBeGreaterThan(0.7)
    expect(published).toBe(40)
    expect(records[0]?.['sampling/sampling_logp_difference/mean']).toBeCloseTo(0.1, 5)
    expect(records[0]?.['sampling/importance_sampling_ratio/mean']).toBeGreaterThan(0.9)
    const off: MetricRecord[] = []
    const uncorrected = rl({ steps: 1, correction: null })
    await train({ policy: remote, stages: [uncorrected], hooks: { onMetrics: (record) => void off.push(record) } })
    expect(off[0]).not.toHaveProperty(['sampling/importance_sampling_ratio/mean'])
  })
})
