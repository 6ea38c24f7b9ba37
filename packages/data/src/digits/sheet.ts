/**
 * Images of real handwritten digits side by side, white on black, 28 high and 28 wide per digit. The sheet's columns
 * 0–239 are for training and 240–299 for evaluation; nothing here lets one draw from the other's.
 */
import sharp from 'sharp'
import { digitSheetPath } from '../assets.js'
import type { Random } from '../random.js'
import type { ImageRef } from '../types.js'
import type { DigitSplit } from './problems.js'

/** Side of a digit in pixels. */
const digitSize = 28

const columns = 300
const columnsOf: { readonly [split in DigitSplit]: readonly [start: number, end: number] } = {
  train: [0, 240],
  heldout: [240, columns],
}

/** Small seeded changes of each digit's picture. */
export interface DigitAugmentation {
  /** Each digit moves by up to this many pixels along each axis, within its own square. Default 0. */
  readonly shift?: number
  /** Each pixel changes by up to this much of the range 0–255. Default 0. */
  readonly noise?: number
}

/** Grey pixels, row by row. */
export interface GreyImage {
  readonly width: number
  readonly height: number
  readonly pixels: Uint8Array
}

let sheet: Promise<Uint8Array> | undefined

/** The decoded sheet; read once and kept (2.3 MB). */
function loadSheet(): Promise<Uint8Array> {
  sheet ??= decodeSheet()
  return sheet
}

async function decodeSheet(): Promise<Uint8Array> {
  const { data, info } = await sharp(digitSheetPath()).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true })
  if (info.width !== columns * digitSize || info.height !== 10 * digitSize || info.channels !== 1) {
    throw new Error(
      `The digit sheet ${digitSheetPath()} is ${info.width} × ${info.height} × ${info.channels}; ` +
        `allowed: ${columns * digitSize} × ${10 * digitSize} × 1. Reinstall @revisual/data.`,
    )
  }
  return data
}

/** Draws digits side by side from pictures of the split. */
export async function composeDigits(
  digits: readonly number[],
  split: DigitSplit,
  random: Random,
  { shift = 0, noise = 0 }: DigitAugmentation = {},
): Promise<GreyImage> {
  const source = await loadSheet()
  const [start, end] = columnsOf[split]
  const width = digits.length * digitSize
  const pixels = new Uint8Array(width * digitSize)
  for (const [position, digit] of digits.entries()) {
    const column = start + random.below(end - start)
    const dx = random.below(2 * shift + 1) - shift
    const dy = random.below(2 * shift + 1) - shift
    for (let y = Math.max(0, dy); y < Math.min(digitSize, digitSize + dy); y++) {
      for (let x = Math.max(0, dx); x < Math.min(digitSize, digitSize + dx); x++) {
        const from = (digit * digitSize + y - dy) * columns * digitSize + column * digitSize + x - dx
        pixels[y * width + position * digitSize + x] = source[from] as number
      }
    }
  }
  if (noise > 0) {
    for (const [index, value] of pixels.entries()) {
      pixels[index] = Math.min(255, Math.max(0, Math.round(value + (2 * random.uniform() - 1) * noise)))
    }
  }
  return { width, height: digitSize, pixels }
}

/** As a grey PNG. */
export async function encodePng({ width, height, pixels }: GreyImage): Promise<ImageRef> {
  const bytes = await sharp(pixels, { raw: { width, height, channels: 1 } })
    .toColourspace('b-w')
    .png()
    .toBuffer()
  return { kind: 'bytes', bytes: new Uint8Array(bytes), mime: 'image/png' }
}
