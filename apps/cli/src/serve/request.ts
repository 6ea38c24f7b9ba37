/**
 * The body of `POST /v1/chat/completions`. What is known is checked; what would change the answer and is not supported is
 * refused by name; what cannot change it (`user`, `metadata`) is accepted. Nothing is ignored silently.
 * Source: OpenAI's API reference, and the extensions of vLLM (`top_k`, `min_p`, `repetition_penalty`).
 */
import { z } from 'zod'
import { type ApiError, badRequest } from './errors.js'

const text = z.strictObject({ type: z.literal('text'), text: z.string() })

const image = z.strictObject({
  type: z.literal('image_url'),
  image_url: z.strictObject({
    url: z.string().min(1),
    detail: z
      .enum(['auto', 'high'], { error: "allowed: 'auto' or 'high', which both keep the model's own resolution" })
      .nullish(),
  }),
})

const textContent = z.union([z.string(), z.array(text).min(1)])

const message = z.discriminatedUnion(
  'role',
  [
    z.strictObject({ role: z.enum(['system', 'developer']), content: textContent }),
    z.strictObject({
      role: z.literal('user'),
      content: z.union([z.string(), z.array(z.discriminatedUnion('type', [text, image])).min(1)]),
    }),
    z.strictObject({ role: z.literal('assistant'), content: textContent, refusal: z.null().optional() }),
  ],
  { error: (issue) => (issue.code === 'invalid_union' ? 'allowed: system, developer, user, assistant' : undefined) },
)

/** Accepted at the one value that means "off". */
const only = <Value extends string | boolean>(value: Value) =>
  z.literal(value, { error: `only ${JSON.stringify(value)} is supported` })

const schema = z.strictObject({
  model: z.string(),
  messages: z.array(message).min(1),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.int().min(-1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  repetition_penalty: z.number().positive().max(10).nullish(),
  logit_bias: z
    .record(z.string().regex(/^\d{1,9}$/, 'keys must be token ids'), z.number().min(-100).max(100))
    .nullish(),
  n: z.int().min(1).nullish(),
  seed: z.int().nullish(),
  stop: z.union([z.string().min(1), z.array(z.string().min(1)).max(4)]).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.strictObject({ include_usage: z.boolean().nullish() }).nullish(),
  // Without influence on the answer.
  user: z.string().nullish(),
  safety_identifier: z.string().nullish(),
  prompt_cache_key: z.string().nullish(),
  metadata: z.record(z.string(), z.string()).nullish(),
  service_tier: z.enum(['auto', 'default']).nullish(),
  // Supported at their neutral value.
  store: only(false).nullish(),
  tool_choice: only('none').nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  tools: z.array(z.unknown()).max(0, 'are not supported').nullish(),
  modalities: z.array(only('text')).nullish(),
  response_format: z.strictObject({ type: only('text') }).nullish(),
})

export type ChatRequest = z.infer<typeof schema>

/** @throws {ApiError} 400, naming the parameter. */
export function parseChatRequest(body: unknown): ChatRequest {
  const parsed = schema.safeParse(body)
  if (!parsed.success) throw refusal(parsed.error)
  const request = parsed.data
  if (request.top_logprobs != null && request.logprobs !== true) {
    throw badRequest("'top_logprobs' needs 'logprobs': true.", 'top_logprobs')
  }
  if (request.stream_options != null && request.stream !== true) {
    throw badRequest("'stream_options' needs 'stream': true.", 'stream_options')
  }
  const { max_tokens, max_completion_tokens } = request
  if (max_tokens != null && max_completion_tokens != null && max_tokens !== max_completion_tokens) {
    throw badRequest("'max_tokens' and 'max_completion_tokens' differ; give one.", 'max_tokens')
  }
  return request
}

function refusal({ issues }: z.ZodError): ApiError {
  const issue = deepest(issues)
  if (!issue) return badRequest('The request is malformed.')
  if (issue.code === 'unrecognized_keys') {
    const name = [...issue.path, issue.keys[0] ?? ''].join('.')
    return badRequest(
      `Unknown parameter '${name}': this server would not obey it, so it is refused. Leave it out.`,
      name,
      'unknown_parameter',
    )
  }
  const name = issue.path.join('.')
  return badRequest(`Invalid '${name || 'body'}': ${issue.message}.`, name || null, 'invalid_value')
}

/** Of alternatives that all fail, what the one that went furthest says. */
function deepest(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue | undefined {
  const [issue] = issues
  if (issue?.code !== 'invalid_union' || issue.errors.length === 0) return issue
  const inner = issue.errors
    .map((alternative) => deepest(alternative))
    .filter((found) => found !== undefined)
    .sort((a, b) => b.path.length - a.path.length)[0]
  return inner && inner.path.length > 0 ? { ...inner, path: [...issue.path, ...inner.path] } : issue
}
