/**
 * Rollouts on an OpenAI-compatible server (vLLM, SGLang, `revisual serve`): `POST <baseUrl>/completions`. Tokens in and tokens
 * out wherever the server can: text that is tokenised anew is not always what was sampled, and then the gradient is of
 * something nobody wrote.
 *
 * Ids are taken from the first of: `token_ids` of a choice (vLLM ≥ 0.10.2 with `return_token_ids`), `logprobs.tokens` of the
 * form `token_id:42` (vLLM `return_tokens_as_token_ids`), `encode(text)`.
 *
 * Log-probs must be those of the whole distribution at the sampling temperature. vLLM reports those before the temperature
 * unless started with `--logprobs-mode processed_logprobs`, and those have top-k and top-p in them; so sample at temperature 1
 * with the default mode, or without top-k and top-p with the other. What remains is what a stage's `correction` is for.
 */
import type { Completion, FinishReason, Policy, PolicyElsewhere, SampleOptions, SampleRequest } from '../types.js'
import { mapLimited, postJson, RemoteError, type RequestOptions } from './requests.js'

export interface OpenAiSamplerOptions<Prompt> extends RequestOptions {
  /** Such as `http://127.0.0.1:8000/v1`. */
  readonly baseUrl: string
  /** Model name the server knows. */
  readonly model: string
  readonly apiKey?: string
  /** The rendered prompt: its ids where the server takes ids (vLLM and SGLang do), or its text. */
  readonly prompt: (prompt: Prompt) => readonly number[] | string
  /** Ids of a completion's text, for servers that return no ids. Absent: such an answer is an error. */
  readonly encode?: (text: string) => readonly number[]
  /** Ids that end a completion. The first is appended where a server leaves the end out of its ids. */
  readonly stopIds: readonly number[]
  /** Further fields of every request. */
  readonly extraBody?: { readonly [field: string]: unknown }
}

/** Completions ordered by (requestIndex, sampleIndex), as `Policy.sample` returns them. */
export type Sampler<Prompt> = (
  requests: readonly SampleRequest<Prompt>[],
  options: SampleOptions,
) => Promise<Completion[]>

interface Choice {
  readonly index: number
  readonly text: string
  readonly finish_reason: string | null
  readonly token_ids?: readonly number[] | null
  readonly logprobs?: {
    readonly tokens?: readonly string[]
    readonly token_logprobs?: readonly (number | null)[]
  } | null
}

const TOKEN_ID = /^token_id:(\d+)$/

const isRecord = (value: unknown): value is { readonly [key: string]: unknown } =>
  typeof value === 'object' && value !== null

function choicesOf(answer: unknown, url: string, n: number): Choice[] {
  const choices = isRecord(answer) && Array.isArray(answer['choices']) ? (answer['choices'] as unknown[]) : []
  const fits = choices.every(
    (choice) => isRecord(choice) && typeof choice['text'] === 'string' && typeof choice['index'] === 'number',
  )
  if (choices.length !== n || !fits) {
    throw new RemoteError(
      `${url} answered with ${choices.length} choices for n = ${n}${fits ? '' : ', not all with index and text'}; expected { choices: [{ index, text, … }] }.`,
      200,
    )
  }
  return (choices as Choice[]).sort((a, b) => a.index - b.index)
}

/** The ids of a choice, by the best way there is. */
function idsOf({ token_ids, logprobs, text }: Choice, encode: ((text: string) => readonly number[]) | undefined) {
  if (token_ids) return token_ids
  const named = logprobs?.tokens?.map((token) => TOKEN_ID.exec(token)?.[1])
  if (named && named.length > 0 && named.every((id) => id !== undefined)) return named.map(Number)
  return encode ? encode(text) : null
}

function finishReasonOf(reason: string | null): FinishReason {
  return reason === 'stop' ? 'stop' : reason === 'length' ? 'length' : 'aborted'
}

function completionOf<Prompt>(
  choice: Choice,
  requestIndex: number,
  sampleIndex: number,
  url: string,
  { encode, stopIds }: OpenAiSamplerOptions<Prompt>,
): Completion {
  const found = idsOf(choice, encode)
  if (!found) {
    throw new RemoteError(
      `${url} returned no token ids. Ask for them with extraBody (vLLM: { return_token_ids: true }), or give encode, which tokenises the text anew.`,
      200,
    )
  }
  const logProbs = (choice.logprobs?.token_logprobs ?? []).map((value) => value ?? NaN)
  const finishReason = finishReasonOf(choice.finish_reason)
  const ids = [...found]
  // Servers differ in whether the end is one of the ids; its log-prob, where there is one, tells that it was sampled.
  const last = ids.at(-1)
  const lacksEnd = finishReason === 'stop' && (last === undefined || !stopIds.includes(last))
  const [end] = stopIds
  if (lacksEnd && logProbs.length === ids.length + 1 && end !== undefined) ids.push(end)
  const wrong = logProbs.findIndex((value) => !Number.isFinite(value))
  if (logProbs.length !== ids.length || wrong >= 0) {
    throw new RemoteError(
      `${url} returned ${logProbs.length} log-probs for ${ids.length} tokens${wrong >= 0 ? `, number ${wrong} no number` : ''}. ` +
        `Every token needs one; the server must support logprobs, and encode must give the tokens it sampled.`,
      200,
    )
  }
  return { requestIndex, sampleIndex, completionIds: ids, text: choice.text, logProbs, finishReason }
}

/**
 * Samples on a server.
 * @throws {RemoteError} when the server cannot be reached after all attempts, refuses, or leaves out ids or log-probs
 */
export function openAiSampler<Prompt>(options: OpenAiSamplerOptions<Prompt>): Sampler<Prompt> {
  const { baseUrl, model, apiKey, prompt, extraBody, concurrency = 64 } = options
  const url = `${baseUrl.replace(/\/+$/, '')}/completions`
  const headers = { ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }), ...options.headers }
  return async (requests, { maxTokens, temperature, topP = 1, topK = 0, signal }) => {
    const answers = await mapLimited(requests, concurrency, async (request) => {
      const body = {
        model,
        prompt: prompt(request.prompt),
        n: request.n,
        max_tokens: maxTokens,
        temperature,
        top_p: topP,
        ...(topK > 0 ? { top_k: topK } : {}),
        seed: request.seed,
        logprobs: 1,
        return_token_ids: true,
        ...extraBody,
      }
      return choicesOf(await postJson(url, body, { ...options, headers }, signal), url, request.n)
    })
    return answers.flatMap((choices, requestIndex) =>
      choices.map((choice, sampleIndex) => completionOf(choice, requestIndex, sampleIndex, url, options)),
    )
  }
}

/**
 * A policy that samples elsewhere and learns here. Stages correct for the mismatch unless they say otherwise.
 * @param publish called before sampling when the weights have changed since: brings the server up to date
 */
export function withSampler<Prompt>(
  policy: Policy<Prompt>,
  sampler: Sampler<Prompt>,
  publish?: (policy: Policy<Prompt>) => Promise<void>,
): PolicyElsewhere<Prompt> {
  let changed = true
  const scoreReference = policy.scoreReference?.bind(policy)
  const snapshotReference = policy.snapshotReference?.bind(policy)
  const discardGradients = policy.discardGradients?.bind(policy)
  return {
    samplesElsewhere: true,
    async sample(requests, options) {
      if (changed && publish) await publish(policy)
      changed = false
      return sampler(requests, options)
    },
    score: (batch) => policy.score(batch),
    ...(scoreReference ? { scoreReference } : {}),
    ...(snapshotReference ? { snapshotReference } : {}),
    ...(discardGradients ? { discardGradients } : {}),
    accumulate: (batch, loss) => policy.accumulate(batch, loss),
    async step(options) {
      changed = true
      return policy.step(options)
    },
    setTrainable: (groups) => policy.setTrainable(groups),
    resetOptimizer: () => policy.resetOptimizer(),
    save: (directory) => policy.save(directory),
    async load(directory) {
      changed = true
      await policy.load(directory)
    },
    promptLength: (prompt) => policy.promptLength(prompt),
  }
}
