/** Shared by tests: fixtures, a small model with a tokenizer of its own, images made on the spot. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import type { Device } from '@revisual/tensor'
import { nanoConfig } from '../src/config/nano.js'
import { createModel, type VisionLanguageModel } from '../src/model.js'
import { questionPrompt, type ModelPrompt } from '../src/prompt.js'
import { createNanoTokenizer } from '../src/text/nano-tokenizer.js'

export const fixture = (path: string) => fileURLToPath(new URL(`fixtures/${path}`, import.meta.url))

export const readFixture = <T>(path: string): T => JSON.parse(readFileSync(fixture(path), 'utf8')) as T

const words = [...'0123456789', '+', '-', '=', ',', '.', '?', 'the', 'digits', 'are', 'what', 'is', 'sum', 'of', 'and']

/** The nano model with fresh weights. */
export function nanoModel(device: Device, seed = 1): VisionLanguageModel {
  const config = nanoConfig()
  const tokenizer = createNanoTokenizer(words, config.architecture.text.vocabularySize)
  return createModel(device, { config, tokenizer, seed })
}

/** A grey image of 28-pixel digits' height with a bright bar whose place depends on `variant`. */
export async function barImage(width: number, variant: number): Promise<Uint8Array> {
  const pixels = new Uint8Array(28 * width).fill(40)
  for (let y = 4; y < 24; y++) for (let x = 3 * variant; x < 3 * variant + 5; x++) pixels[y * width + x] = 250
  return sharp(pixels, { raw: { width, height: 28, channels: 1 } })
    .png()
    .toBuffer()
}

/** Prompts of different length, two with images of different size, one without. */
export async function samplePrompts(model: VisionLanguageModel): Promise<ModelPrompt[]> {
  const [small, wide] = [await barImage(56, 1), await barImage(84, 4)]
  return Promise.all([
    model.preparePrompt(questionPrompt('what is the sum of the digits ?', [small])),
    model.preparePrompt(questionPrompt('the digits are 3 , 5 .')),
    model.preparePrompt(questionPrompt('the digits ?', [wide])),
  ])
}

/** Largest absolute difference. */
export function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`Lengths differ: ${a.length} and ${b.length}.`)
  let largest = 0
  for (let index = 0; index < a.length; index++) {
    const gap = Math.abs((a[index] as number) - (b[index] as number))
    if (!(gap <= largest)) largest = gap
  }
  return largest
}
