import { checkReward, type RewardBatch } from '@revisual/rl'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import judge, { type JudgeOptions } from './index.js'

interface Asked {
  readonly path: string | undefined
  readonly authorization: string | undefined
  readonly body: { readonly model: string; readonly messages: readonly { role: string; content: string }[] }
  readonly time: number
}

/** What the server does with a request; by default it says that completions with a 1 in them are right. */
type Behaviour = (response: ServerResponse, asked: Asked, count: number) => void | Promise<void>

const say = (response: ServerResponse, content: string): void =>
  void response.end(JSON.stringify({ choices: [{ message: { role: 'assistant', content } }] }))
const refuse = (response: ServerResponse, status: number, headers: { [name: string]: string } = {}) =>
  response.writeHead(status, headers).end('refused')

const grade: Behaviour = (response, { body }) => {
  const said = /<student>\n([^]*)\n<\/student>/.exec(body.messages.at(-1)?.content ?? '')?.[1] ?? ''
  say(response, `{"score": ${said.includes('1') ? 1 : 0.25}}`)
}

let behaviour: Behaviour = grade
let asked: Asked[] = []

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  const body = JSON.parse(Buffer.concat(chunks).toString()) as Asked['body']
  const { authorization } = request.headers
  const one = { path: request.url, authorization, body, time: performance.now() }
  asked.push(one)
  await behaviour(response, one, asked.length)
}

const server = createServer((request, response) => {
  answer(request, response).catch(() => response.destroy())
})
let url: string
let folder: string
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
  folder = mkdtempSync(join(tmpdir(), 'revisual-judge-'))
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
  rmSync(folder, { recursive: true })
})
beforeEach(() => {
  behaviour = grade
  asked = []
})
afterEach(() => {
  delete process.env['JUDGE_TEST_KEY']
})

const batchOf = (completions: readonly string[]): RewardBatch => ({
  prompts: completions.map(() => 'rendered prompt'),
  completions,
  completionLengths: completions.map(({ length }) => length),
  finishReasons: completions.map(() => 'stop'),
  rows: completions.map(() => ({ question: 'the question', answer: 12 })),
  step: 1,
})

const open = async (options: Partial<JudgeOptions> = {}) => {
  const reward = await judge.create({ url, model: 'grader', retryDelay: 0.001, ...options })
  return async (completions: readonly string[], signal = new AbortController().signal) =>
    await reward(batchOf(completions), { signal })
}

const right = { score: 1, parts: { failed: 0 } }
const wrong = { score: 0.25, parts: { failed: 0 } }

test('scores completions in order; equal ones are asked about once', async () => {
  const score = await open()
  expect(await score(['11', '2', '11', '<think>1</think>3'])).toEqual([right, wrong, right, wrong])
  expect(asked).toHaveLength(3)
  expect(asked[0]).toMatchObject({
    path: '/v1/chat/completions',
    authorization: undefined,
    body: { model: 'grader', temperature: 0, max_tokens: 512 },
  })
  expect(asked[0]?.body.messages).toEqual([
    { role: 'user', content: expect.stringMatching(/the question[^]*12[^]*<student>\n11\n/) as unknown },
  ])
  await score(['2', '11'])
  expect(asked).toHaveLength(3)
})

test('template, system turn, columns and thoughts as configured', async () => {
  behaviour = (response) => say(response, 'Score: 7')
  const template = '{question}|{answer}|{completion}'
  const options = { template, system: 'Be strict.', questionColumn: 'none', answerColumn: 'none', part: 'all' } as const
  const score = await open({ ...options, scale: [0, 10] })
  expect(await score(['<think>a</think>b'])).toEqual([{ score: 0.7, parts: { failed: 0 } }])
  expect(asked[0]?.body.messages).toEqual([
    { role: 'system', content: 'Be strict.' },
    { role: 'user', content: 'rendered prompt||<think>a</think>b' },
  ])
})

test('keeps the contract of rewards', async () => {
  const spec = { use: 'judge', options: { url, model: 'grader' } }
  const cases = ['11', '2', '3'].map((completion) => ({ completion, row: { answer: '11' } }))
  const checks = await checkReward(spec, { baseDir: folder, builtIns: { judge } }, cases)
  expect(checks.filter(({ outcome }) => outcome !== 'passed')).toEqual([])
})

describe('the key', () => {
  test('comes from the environment by name', async () => {
    process.env['JUDGE_TEST_KEY'] = 'sesame'
    await (
      await open({ apiKeyVariable: 'JUDGE_TEST_KEY' })
    )(['1'])
    expect(asked[0]?.authorization).toBe('Bearer sesame')
  })

  test('that is not there is said before anything runs', async () => {
    await expect(open({ apiKeyVariable: 'JUDGE_TEST_KEY' })).rejects.toThrow(/JUDGE_TEST_KEY is not set/)
  })
})

describe('failures', () => {
  test('a busy server is asked again', async () => {
    behaviour = (response, one, count) => (count < 3 ? void refuse(response, 503) : grade(response, one, count))
    expect(await (await open())(['1'])).toEqual([right])
    expect(asked).toHaveLength(3)
  })

  test('retry-after holds all requests back', async () => {
    behaviour = (response, one, count) =>
      count === 1 ? void refuse(response, 429, { 'retry-after': '0.3' }) : grade(response, one, count)
    const score = await open({ concurrency: 1, retryDelay: 60 })
    expect(await score(['1', '2'])).toEqual([right, wrong])
    const [first = asked[0], second] = asked
    expect((second?.time ?? 0) - (first?.time ?? 0)).toBeGreaterThanOrEqual(290)
  })

  test.each([
    [null, null],
    [0.5, { score: 0.5, parts: { failed: 1 } }],
  ])('fallback %j stands in once retries are used up', async (fallback, value) => {
    behaviour = (response, one, count) =>
      one.body.messages[0]?.content.includes('\n2\n') ? void refuse(response, 500) : grade(response, one, count)
    expect(await (await open({ retries: 1, fallback }))(['1', '2'])).toEqual([right, value])
    expect(asked).toHaveLength(3)
  })

  test.each<readonly [string, Behaviour, RegExp]>([
    ['no verdict', (response) => say(response, 'I cannot say'), /the judge said "I cannot say"/],
    ['no JSON', (response) => void response.end('<html>'), /without choices/],
    ['no content', (response) => void response.end('{"choices":[]}'), /without choices/],
    ['too much', (response) => say(response, 'x'.repeat(2 ** 20)), /more than 1048576 bytes/],
    ['another place', (response) => void refuse(response, 302, { location: `${url}/other` }), /failed/],
    ['a refused question', (response) => void refuse(response, 400), /answered 400: refused/],
    ['silence', () => undefined, /did not answer within 50 ms/],
    ['a closed connection', (response) => void response.destroy(), /failed/],
  ])('%s is no score', async (name, what, message) => {
    behaviour = what
    const options = { retries: 0, timeout: name === 'silence' ? 0.05 : 30 }
    expect(await (await open(options))(['1'])).toEqual([null])
    await expect((await open({ ...options, fallback: 'raise' }))(['1'])).rejects.toThrow(message)
  })

  test('failures are not remembered', async () => {
    behaviour = (response, one, count) => (count === 1 ? say(response, 'hm') : grade(response, one, count))
    const score = await open()
    expect([await score(['1']), await score(['1'])]).toEqual([[null], [right]])
  })

  test.each([401, 403, 404])('status %d concerns every question and ends the call', async (status) => {
    behaviour = (response) => void refuse(response, status)
    const score = await open({ concurrency: 1, fallback: 0 })
    await expect(score(['1', '2', '3'])).rejects.toThrow(`answered ${status}`)
    expect(asked).toHaveLength(1)
  })

  test('the end of time ends the call, and nothing is asked any more', async () => {
    behaviour = () => undefined
    const clock = new AbortController()
    const scores = (await open({ concurrency: 1 }))(['1', '2'], clock.signal)
    setTimeout(() => clock.abort(new Error('time is up')), 30)
    await expect(scores).rejects.toThrow('time is up')
    expect(asked.length).toBeLessThanOrEqual(1)
  })
})

describe('limits', () => {
  test('so many requests at a time', async () => {
    let [running, most] = [0, 0]
    behaviour = async (response, one, count) => {
      most = Math.max(most, ++running)
      await new Promise((resolve) => setTimeout(resolve, 5))
      running--
      await grade(response, one, count)
    }
    await (
      await open({ concurrency: 3 })
    )(Array.from({ length: 12 }, (_, index) => `x${index}`))
    expect([most, asked.length]).toEqual([3, 12])
  })
})

describe('files', () => {
  test('a cache outlives the reward, and a half line in it', async () => {
    const cache = join(folder, 'deep', 'cache.jsonl')
    expect(await (await open({ cache }))(['1', '2'])).toEqual([right, wrong])
    writeFileSync(cache, '{"key":"half', { flag: 'a' })
    expect(await (await open({ cache }))(['2', '1', '4'])).toEqual([wrong, right, wrong])
    expect(await (await open({ cache }))(['4'])).toEqual([wrong])
    expect(asked).toHaveLength(3)
    await (
      await open({ cache, model: 'another' })
    )(['1'])
    expect(asked).toHaveLength(4)
  })

  test('what was used longest ago leaves memory first', async () => {
    const score = await open({ cacheEntries: 2, concurrency: 1 })
    for (const completion of ['1', '2', '1', '3', '1', '2']) await score([completion])
    expect(asked).toHaveLength(4)
  })

  test('a recording stands in for the server', async () => {
    process.env['JUDGE_TEST_KEY'] = 'sesame'
    const file = join(folder, 'recording.jsonl')
    const apiKeyVariable = 'JUDGE_TEST_KEY'
    await (
      await open({ apiKeyVariable, recording: { mode: 'record', file } })
    )(['1', '2'])
    expect(readFileSync(file, 'utf8')).not.toContain('sesame')
    delete process.env['JUDGE_TEST_KEY']
    const replay = { url: 'http://127.0.0.1:9/none', apiKeyVariable, recording: { mode: 'replay', file } } as const
    expect(await (await open(replay))(['2', '1', '7'])).toEqual([wrong, right, null])
    await expect((await open({ ...replay, fallback: 'raise' }))(['7'])).rejects.toThrow(
      /no reply to request .*record it/,
    )
    expect(asked).toHaveLength(2)
    await (
      await open({ recording: { mode: 'record', file } })
    )(['1'])
    expect(readFileSync(file, 'utf8').trim().split('\n')).toHaveLength(1)
  })
})

describe('options', () => {
  const validate = async (value: unknown) => await judge.options?.['~standard'].validate(value)
  const needed = { url: 'http://127.0.0.1:8000/v1', model: 'grader' }

  test('the needed ones are enough', async () => {
    expect(await validate(needed)).toEqual({ value: needed })
  })

  test.each<readonly [unknown, RegExp]>([
    [5, /an object/],
    [{}, /is missing; allowed: an http.*is missing; allowed: a name/],
    [{ ...needed, modle: 'x' }, /is unknown; allowed: url, model/],
    [{ ...needed, url: 'ftp://host' }, /http or https/],
    [{ ...needed, url: 'http://user:pass@host/v1' }, /without key/],
    [{ ...needed, apiKeyVariable: 'sk-1234' }, /is not allowed; allowed: the name of an environment variable/],
    [{ ...needed, template: '{question}' }, /\{completion\}/],
    [{ ...needed, scale: [1, 1] }, /the first below the second/],
    [{ ...needed, concurrency: 0 }, /from 1 to 1024/],
    [{ ...needed, requestsPerMinute: 0 }, /is 0; allowed/],
    [{ ...needed, recording: { mode: 'play', file: 'x' } }, /record or replay/],
    [{ ...needed, fallback: 'zero' }, /a finite number, null, raise/],
  ])('%j is refused', async (value, message) => {
    const result = await validate(value)
    const text = result?.issues?.map((issue) => issue.message).join()
    expect(text).toMatch(message)
    expect(text).not.toMatch(/sk-1234|pass@/)
  })
})
