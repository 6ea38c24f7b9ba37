/** Options of the judge, checked by a hand-written Standard Schema (https://standardschema.dev). */
import type { OptionsSchema } from '@revisual/rl'

export interface JudgeOptions {
  /** Base address of the server, such as `http://127.0.0.1:8000/v1`; `/chat/completions` is added. */
  readonly url: string
  readonly model: string
  /** Name of the environment variable that holds the key. Absent: no key is sent. */
  readonly apiKeyVariable?: string
  /** Text of the user turn with `{completion}`, and `{question}` and `{answer}` if wanted. */
  readonly template?: string
  readonly system?: string
  /** Column for `{question}`. Default `question`; the rendered prompt where a row has none. */
  readonly questionColumn?: string
  /** Column for `{answer}`. Default `answer`; empty where a row has none. */
  readonly answerColumn?: string
  /** `answer` (default): the judge sees what follows the thoughts; `all`: everything. */
  readonly part?: 'answer' | 'all'
  /** Characters of each of the three texts; the middle of longer ones is left out. Default 20 000. */
  readonly maxCharacters?: number
  /** Lowest and highest score of the judge, mapped to 0 and 1. Default [0, 1]. */
  readonly scale?: readonly [low: number, high: number]
  /** Default 0. */
  readonly temperature?: number
  /** Tokens of a verdict. Default 512. */
  readonly maxTokens?: number
  /** Requests at a time. Default 8. */
  readonly concurrency?: number
  /** Most requests begun in a minute, evenly spaced, repetitions included. Default: no limit. */
  readonly requestsPerMinute?: number
  /** Seconds of one attempt. Default 60. */
  readonly timeout?: number
  /** Further attempts after the first. Default 4. */
  readonly retries?: number
  /** Seconds before the second attempt, doubled before each further one. Default 1; a `retry-after` goes before it. */
  readonly retryDelay?: number
  /** JSONL file in which verdicts are kept between runs, relative to the working directory. */
  readonly cache?: string
  /** Replies kept in memory. Default 10 000. */
  readonly cacheEntries?: number
  /** A file of replies: `record` begins it anew, `replay` takes every reply from it and never asks the server. */
  readonly recording?: { readonly mode: 'record' | 'replay'; readonly file: string }
  /** What a completion gets whose judge fails: `null` (default: no reward), a score, or `raise` to end the call. */
  readonly fallback?: number | null | 'raise'
}

interface Check {
  readonly allowed: string
  readonly test: (value: unknown) => boolean
  /** Whether a wrong value may be a secret and is not shown. */
  readonly isSecret?: boolean
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''
const text = (allowed: string): Check => ({ allowed, test: isText })
const number = (low: number, high: number): Check => ({
  allowed: `a number from ${low} to ${high}`,
  test: (value) => typeof value === 'number' && value >= low && value <= high,
})
const integer = (low: number, high: number): Check => ({
  allowed: `an integer from ${low} to ${high}`,
  test: (value) => Number.isInteger(value) && Number(value) >= low && Number(value) <= high,
})

function isAddress(value: unknown): boolean {
  if (!isText(value) || !URL.canParse(value)) return false
  const { protocol, username, password, search, hash } = new URL(value)
  return /^https?:$/.test(protocol) && username + password + search + hash === ''
}

function isScale(value: unknown): boolean {
  if (!Array.isArray(value) || value.length !== 2) return false
  const [low, high] = value as readonly unknown[]
  return typeof low === 'number' && typeof high === 'number' && low < high && Number.isFinite(high - low)
}

function isRecording(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Object.keys(value).length !== 2) return false
  const { mode, file } = value as { readonly mode?: unknown; readonly file?: unknown }
  return (mode === 'record' || mode === 'replay') && isText(file)
}

const checks: { readonly [name in keyof Required<JudgeOptions>]: Check } = {
  url: { allowed: 'an http or https address without key and query', test: isAddress, isSecret: true },
  model: text('a name'),
  apiKeyVariable: {
    allowed: 'the name of an environment variable (letters, digits and _), never the key itself',
    test: (value) => typeof value === 'string' && /^[A-Za-z_]\w*$/.test(value),
    isSecret: true,
  },
  template: {
    allowed: 'a text with {completion} in it',
    test: (value) => typeof value === 'string' && value.includes('{completion}'),
  },
  system: text('a text'),
  questionColumn: text('a column name'),
  answerColumn: text('a column name'),
  part: { allowed: 'answer, all', test: (value) => value === 'answer' || value === 'all' },
  maxCharacters: integer(100, 1_000_000),
  scale: { allowed: 'two numbers, the first below the second', test: isScale },
  temperature: number(0, 2),
  maxTokens: integer(1, 1_000_000),
  concurrency: integer(1, 1024),
  requestsPerMinute: number(0.1, 1_000_000),
  timeout: number(0.001, 86_400),
  retries: integer(0, 100),
  retryDelay: number(0, 3600),
  cache: text('a path'),
  cacheEntries: integer(1, 10_000_000),
  recording: { allowed: '{ mode: record or replay, file }', test: isRecording },
  fallback: {
    allowed: 'a finite number, null, raise',
    test: (value) => value === null || value === 'raise' || Number.isFinite(value),
  },
}

export const judgeOptions: OptionsSchema<JudgeOptions> = {
  '~standard': {
    version: 1,
    vendor: 'revisual',
    validate(value = {}) {
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        return { issues: [{ message: `is ${JSON.stringify(value)}; allowed: an object` }] }
      const known = new Map<string, Check>(Object.entries(checks))
      const issues = Object.entries(value).flatMap(([name, given]) => {
        const check = known.get(name)
        if (check === undefined)
          return [{ message: `is unknown; allowed: ${[...known.keys()].join(', ')}`, path: [name] }]
        if (given === undefined || check.test(given)) return []
        const seen = check.isSecret === true ? 'not allowed' : (JSON.stringify(given) ?? typeof given)
        return [{ message: `is ${seen}; allowed: ${check.allowed}`, path: [name] }]
      })
      for (const name of ['url', 'model'] as const) {
        const given = (value as Partial<JudgeOptions>)[name]
        if (given === undefined) issues.push({ message: `is missing; allowed: ${checks[name].allowed}`, path: [name] })
      }
      return issues.length > 0 ? { issues } : { value: value as JudgeOptions }
    },
  },
}
