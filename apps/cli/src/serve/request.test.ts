import { describe, expect, it } from 'vitest'
import { ApiError } from './errors.js'
import { parseChatRequest } from './request.js'

const base = { model: 'm', messages: [{ role: 'user', content: 'hello' }] }

function refused(body: unknown) {
  try {
    parseChatRequest(body)
  } catch (error) {
    if (error instanceof ApiError) return { status: error.status, ...error.body.error }
    throw error
  }
  return null
}

describe('parseChatRequest', () => {
  it('takes what OpenAI clients send, nulls included', () => {
    const body = {
      ...base,
      messages: [
        { role: 'developer', content: [{ type: 'text', text: 'short' }] },
        { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:', detail: 'auto' } }] },
        { role: 'assistant', content: 'ok', refusal: null },
        { role: 'user', content: 'more' },
      ],
      temperature: null,
      stop: ['a', 'b'],
      logit_bias: { 12: -100 },
      logprobs: true,
      top_logprobs: 5,
      stream: true,
      stream_options: { include_usage: true },
      response_format: { type: 'text' },
      tools: [],
      tool_choice: 'none',
      user: 'me',
      metadata: { a: 'b' },
      store: false,
    }
    expect(parseChatRequest(body)).toEqual(body)
  })

  it.each([
    [{ ...base, messages: [] }, 'messages', 'invalid_value', /messages/],
    [{ ...base, temperature: 3 }, 'temperature', 'invalid_value', /temperature/],
    [{ ...base, best_of: 3 }, 'best_of', 'unknown_parameter', /would not obey it/],
    [{ ...base, reasoning_effort: 'low' }, 'reasoning_effort', 'unknown_parameter', /reasoning_effort/],
    [{ ...base, tools: [{ type: 'function' }] }, 'tools', 'invalid_value', /are not supported/],
    [{ ...base, response_format: { type: 'json_object' } }, 'response_format.type', 'invalid_value', /only "text"/],
    [{ ...base, logit_bias: { x: 1 } }, 'logit_bias.x', 'invalid_value', /token ids|key/i],
    [{ ...base, stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop', 'invalid_value', /stop/],
    [{ ...base, top_logprobs: 3 }, 'top_logprobs', null, /needs 'logprobs'/],
    [{ ...base, stream_options: {} }, 'stream_options', null, /needs 'stream'/],
    [{ ...base, max_tokens: 3, max_completion_tokens: 4 }, 'max_tokens', null, /differ/],
    [{ ...base, messages: [{ role: 'tool', content: 'x' }] }, 'messages.0.role', 'invalid_value', /allowed: system/],
    [
      { ...base, messages: [{ role: 'user', content: 'x', name: 'bob' }] },
      'messages.0.name',
      'unknown_parameter',
      /name/,
    ],
    [
      {
        ...base,
        messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x', detail: 'low' } }] }],
      },
      'messages.0.content.0.image_url.detail',
      'invalid_value',
      /'auto' or 'high'/,
    ],
    ['text', null, 'invalid_value', /body/],
  ])('refuses %j', (body, param, code, message) => {
    expect(refused(body)).toMatchObject({ status: 400, type: 'invalid_request_error', param, code })
    expect(refused(body)?.message).toMatch(message)
  })
})
