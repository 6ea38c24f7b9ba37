/**
 * An image into the rows the vision tower reads: smart resize, rescale and normalise, cut into patches in merge-block
 * order. Source: transformers `models/qwen2_vl/image_processing_qwen2_vl.py`.
 */
import type { VisionArchitecture } from '../config/architecture.js'
import { isJsonObject, JsonReader, type JsonObject } from '../config/json.js'
import { decodeImage, type AlphaMode, type EncodedImage } from './decode.js'
import { resizeBicubic, type RgbImage } from './resize.js'
import { smartResize } from './smart-resize.js'

export interface ProcessorConfig {
  readonly patchSize: number
  readonly temporalPatchSize: number
  readonly mergeSize: number
  readonly minPixels: number
  readonly maxPixels: number
  /** Per channel, in units of 1 = white. */
  readonly mean: readonly number[]
  readonly std: readonly number[]
}

/** Frames, rows and columns of an image in patches. */
export type GridThw = readonly [t: number, h: number, w: number]

/** When the frames of a video were taken. */
export interface VideoTiming {
  /** Seconds from one temporal patch to the next. */
  readonly secondsPerPatch: number
  /** Time of each temporal patch: the mean of its first and last frame, in seconds. */
  readonly timestamps: readonly number[]
}

/** An image or a video ready for the vision tower. Two prompts that hold the same object share one run of the tower. */
export interface PreparedImage {
  readonly grid: GridThw
  /** [t·h·w, channels·temporalPatch·patch·patch], rows in merge-block order. */
  readonly pixelValues: Float32Array
  /** Present for a video. */
  readonly video?: VideoTiming
}

/** Reads `preprocessor_config.json`; fields it lacks take the class defaults of Qwen2-VL's processor. */
export function parseProcessorConfig(json: unknown, vision: VisionArchitecture): ProcessorConfig {
  const reader = new JsonReader(isJsonObject(json) ? json : {}, 'preprocessor_config.json')
  // In this family `size` holds pixel counts under names that say edges.
  const size = reader.childOr('size')
  const pixels = (key: string, alias: string, fallback: number) =>
    reader.has(key) ? reader.positiveInteger(key) : size.has(alias) ? size.positiveInteger(alias) : fallback
  const same = (key: string, expected: number) => {
    reader.oneOf(key, [expected], expected)
    return expected
  }
  return {
    patchSize: same('patch_size', vision.patchSize),
    temporalPatchSize: same('temporal_patch_size', vision.temporalPatchSize),
    mergeSize: same('merge_size', vision.mergeSize),
    minPixels: pixels('min_pixels', 'shortest_edge', 56 * 56),
    maxPixels: pixels('max_pixels', 'longest_edge', 28 * 28 * 1280),
    mean: reader.has('image_mean') ? reader.numberList('image_mean') : [0.48145466, 0.4578275, 0.40821073],
    std: reader.has('image_std') ? reader.numberList('image_std') : [0.26862954, 0.26130258, 0.27577711],
  }
}

/** `preprocessor_config.json` as transformers reads it. */
export function processorConfigJson(config: ProcessorConfig): JsonObject {
  return {
    image_processor_type: 'Qwen2VLImageProcessor',
    processor_class: 'Qwen2_5_VLProcessor',
    patch_size: config.patchSize,
    temporal_patch_size: config.temporalPatchSize,
    merge_size: config.mergeSize,
    min_pixels: config.minPixels,
    max_pixels: config.maxPixels,
    image_mean: config.mean,
    image_std: config.std,
  }
}

/** Processor of the nano preset: 28 × 28 stays 28 × 28, at most 64 visual tokens, values in [−1, 1]. */
export function nanoProcessorConfig(vision: VisionArchitecture): ProcessorConfig {
  const cell = (vision.patchSize * vision.mergeSize) ** 2
  return {
    patchSize: vision.patchSize,
    temporalPatchSize: vision.temporalPatchSize,
    mergeSize: vision.mergeSize,
    minPixels: 4 * cell,
    maxPixels: 64 * cell,
    mean: [0.5, 0.5, 0.5],
    std: [0.5, 0.5, 0.5],
  }
}

/** Patch rows of an RGB image whose sides are multiples of patch·merge. */
export function patchify(image: RgbImage, config: ProcessorConfig): PreparedImage {
  const { patchSize, temporalPatchSize, mergeSize, mean, std } = config
  const h = image.height / patchSize
  const w = image.width / patchSize
  const area = patchSize * patchSize
  const rowSize = 3 * temporalPatchSize * area
  const normalised = mean.map((channelMean, channel) =>
    Float32Array.from({ length: 256 }, (_, value) => (value / 255 - channelMean) / (std[channel] ?? 1)),
  )
  const pixelValues = new Float32Array(h * w * rowSize)
  let row = 0
  for (let blockRow = 0; blockRow < h; blockRow += mergeSize) {
    for (let blockColumn = 0; blockColumn < w; blockColumn += mergeSize) {
      for (let cell = 0; cell < mergeSize * mergeSize; cell++, row++) {
        const top = (blockRow + Math.floor(cell / mergeSize)) * patchSize
        const left = (blockColumn + (cell % mergeSize)) * patchSize
        for (let channel = 0; channel < 3; channel++) {
          const table = normalised[channel] as Float32Array
          const start = row * rowSize + channel * temporalPatchSize * area
          for (let y = 0; y < patchSize; y++) {
            for (let x = 0; x < patchSize; x++) {
              const byte = image.data[((top + y) * image.width + left + x) * 3 + channel] as number
              pixelValues[start + y * patchSize + x] = table[byte] as number
            }
          }
          // A still image is repeated over the temporal patch.
          for (let frame = 1; frame < temporalPatchSize; frame++) {
            pixelValues.copyWithin(start + frame * area, start, start + area)
          }
        }
      }
    }
  }
  return { grid: [1, h, w], pixelValues }
}

/** Decodes, resizes, normalises and cuts an image. */
export async function prepareImage(
  image: EncodedImage,
  config: ProcessorConfig,
  alpha: AlphaMode = 'white',
): Promise<PreparedImage> {
  const rgb = await decodeImage(image, alpha)
  const { minPixels, maxPixels } = config
  const factor = config.patchSize * config.mergeSize
  const [height, width] = smartResize(rgb.height, rgb.width, { factor, minPixels, maxPixels })
  return patchify(resizeBicubic(rgb, height, width), config)
}
