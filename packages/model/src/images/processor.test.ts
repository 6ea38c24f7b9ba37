import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { nanoConfig } from '../config/nano.js'
import { decodeImage } from './decode.js'
import {
  nanoProcessorConfig,
  parseProcessorConfig,
  prepareImage,
  processorConfigJson,
  type ProcessorConfig,
} from './processor.js'
import { patchify } from './patches.js'
import { resizeBicubic } from './resize.js'
import { smartResize } from './smart-resize.js'

interface Golden {
  readonly smart_resize: readonly [number, number, number, number, number, number, number][]
  readonly images: readonly {
    readonly file: string
    readonly min_pixels: number
    readonly max_pixels: number
    readonly resized: readonly [number, number]
    readonly grid_thw: readonly [number, number, number]
    readonly rows: number
    readonly mean: number
    readonly l2: number
    readonly sample_index: readonly number[]
    readonly sample_value: readonly number[]
  }[]
}

const folder = fileURLToPath(new URL('../../test/fixtures/image-processing/', import.meta.url))
const golden = JSON.parse(readFileSync(`${folder}image-processing.json`, 'utf8')) as Golden

const qwen: ProcessorConfig = {
  patchSize: 14,
  temporalPatchSize: 2,
  mergeSize: 2,
  minPixels: 3136,
  maxPixels: 12845056,
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
}

describe('smartResize', () => {
  it('equals the reference on every row of the table', () => {
    for (const [height, width, factor, minPixels, maxPixels, ...expected] of golden.smart_resize) {
      expect(smartResize(height, width, { factor, minPixels, maxPixels })).toEqual(expected)
    }
  })

  it('rounds halves to even and refuses extreme shapes', () => {
    const bounds = { factor: 28, minPixels: 3136, maxPixels: 12845056 }
    expect(smartResize(70, 70, bounds)).toEqual([56, 56])
    expect(smartResize(10, 300, bounds)).toEqual([28, 308])
    expect(() => smartResize(10, 2001, bounds)).toThrow(/more than 200 times/)
  })
})

describe('prepareImage', () => {
  it.each(golden.images)('equals Pillow and the reference patch order on $file', async (expected) => {
    const config = { ...qwen, minPixels: expected.min_pixels, maxPixels: expected.max_pixels }
    const { grid, pixelValues } = await prepareImage(`${folder}${expected.file}`, config)
    expect(grid).toEqual(expected.grid_thw)
    expect(pixelValues.length).toBe(expected.rows * 1176)
    expected.sample_index.forEach((index, k) => {
      expect(Math.abs((pixelValues[index] as number) - (expected.sample_value[k] as number))).toBeLessThan(1e-5)
    })
    let sum = 0
    let squares = 0
    for (const value of pixelValues) {
      sum += value
      squares += value * value
    }
    expect(sum / pixelValues.length).toBeCloseTo(expected.mean, 5)
    expect(Math.sqrt(squares)).toBeCloseTo(expected.l2, 3)
  })

  it('gives the known mean of a white image', () => {
    const white = { width: 224, height: 224, data: new Uint8Array(224 * 224 * 3).fill(255) }
    const { grid, pixelValues } = patchify([white], qwen)
    expect(grid).toEqual([1, 16, 16])
    expect(pixelValues.reduce((sum, value) => sum + value, 0) / pixelValues.length).toBeCloseTo(2.0503724, 5)
  })

  it('keeps a 28 × 28 digit at 28 × 28 in the nano preset', async () => {
    const config = nanoProcessorConfig(nanoConfig().architecture.vision)
    const png = await sharp({ create: { width: 28, height: 28, channels: 3, background: '#000' } })
      .png()
      .toBuffer()
    const { grid, pixelValues } = await prepareImage(png, config)
    expect(grid).toEqual([1, 4, 4])
    expect(pixelValues.length).toBe(16 * 294)
    expect(pixelValues.every((value) => value === -1)).toBe(true)
  })
})

describe('decodeImage', () => {
  const rgba = (pixels: number[]) =>
    sharp(Buffer.from(pixels), { raw: { width: pixels.length / 4, height: 1, channels: 4 } })
      .png()
      .toBuffer()

  it('composites transparency on white, or drops it', async () => {
    const png = await rgba([10, 20, 30, 0, 10, 20, 30, 128, 10, 20, 30, 255])
    expect([...(await decodeImage(png)).data]).toEqual([255, 255, 255, 132, 137, 142, 10, 20, 30])
    expect([...(await decodeImage(png, 'drop')).data]).toEqual([10, 20, 30, 10, 20, 30, 10, 20, 30])
  })

  it('applies the EXIF orientation', async () => {
    const jpeg = await sharp({ create: { width: 8, height: 4, channels: 3, background: '#fff' } })
      .jpeg()
      .withMetadata({ orientation: 6 })
      .toBuffer()
    expect(await decodeImage(jpeg)).toMatchObject({ width: 4, height: 8 })
  })

  it('reads greyscale as RGB', async () => {
    const png = await sharp(Buffer.from([0, 128, 255]), { raw: { width: 3, height: 1, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toBuffer()
    expect([...(await decodeImage(png)).data]).toEqual([0, 0, 0, 128, 128, 128, 255, 255, 255])
  })

  it('names what could not be decoded', async () => {
    await expect(decodeImage(new Uint8Array(10))).rejects.toThrow(/10 bytes/)
  })
})

describe('resizeBicubic', () => {
  it('leaves an image of the wanted size alone', () => {
    const image = { width: 2, height: 1, data: Uint8Array.of(1, 2, 3, 4, 5, 6) }
    expect(resizeBicubic(image, 1, 2)).toBe(image)
  })
})

describe('processor config', () => {
  const { architecture } = nanoConfig()

  it('round-trips', () => {
    const config = nanoProcessorConfig(architecture.vision)
    expect(parseProcessorConfig(processorConfigJson(config), architecture)).toEqual(config)
  })

  it('reads pixel counts under size, and refuses another patch size than the model has', () => {
    const config = parseProcessorConfig({ size: { shortest_edge: 784, longest_edge: 9000 } }, architecture)
    expect(config).toMatchObject({ minPixels: 784, maxPixels: 9000 })
    expect(() => parseProcessorConfig({ patch_size: 14 }, architecture)).toThrow(/patch_size/)
  })
})
