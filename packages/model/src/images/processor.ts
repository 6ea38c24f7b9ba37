/**
 * An image into the rows the vision tower reads, and the settings for it: smart resize, rescale and normalise, patches.
 * Source: transformers `models/qwen2_vl/image_processing_qwen2_vl.py`.
 */
import type { Architecture, ModelType, VisionArchitecture } from '../config/architecture.js'
import { isJsonObject, JsonReader, type JsonObject } from '../config/json.js'
import { decodeImage, type AlphaMode, type EncodedImage } from './decode.js'
import { patchify } from './patches.js'
import { resizeBicubic } from './resize.js'
import { smartResize } from './smart-resize.js'
import type { VideoBudget } from './video.js'

export interface ProcessorConfig {
  readonly patchSize: number
  readonly temporalPatchSize: number
  readonly mergeSize: number
  readonly minPixels: number
  readonly maxPixels: number
  /** Per channel, in units of 1 = white. */
  readonly mean: readonly number[]
  readonly std: readonly number[]
  /** Bounds of videos. Default: those of the family. */
  readonly video?: VideoBudget
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

type Defaults = Pick<ProcessorConfig, 'minPixels' | 'maxPixels' | 'mean' | 'std'> & { readonly processorClass: string }

const clip = { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] }
const halves = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }
const classDefaults = { minPixels: 56 * 56, maxPixels: 28 * 28 * 1280, ...clip }

/** For fields a checkpoint's file lacks: the class defaults of Qwen2-VL's processor, the published values of Qwen3-VL. */
const defaults: Record<ModelType, Defaults> = {
  qwen2_vl: { ...classDefaults, processorClass: 'Qwen2VLProcessor' },
  qwen2_5_vl: { ...classDefaults, processorClass: 'Qwen2_5_VLProcessor' },
  qwen3_vl: { minPixels: 65536, maxPixels: 16777216, ...halves, processorClass: 'Qwen3VLProcessor' },
}

type ProcessorArchitecture = Pick<Architecture, 'modelType' | 'vision'>

/** Bounds of areas under either of their names. In this family `size` holds pixel counts under names that say edges. */
function pixelBounds(reader: JsonReader, fallback: { readonly minPixels: number; readonly maxPixels: number }) {
  const size = reader.childOr('size')
  const pixels = (key: string, alias: string, otherwise: number) =>
    reader.has(key) ? reader.positiveInteger(key) : size.has(alias) ? size.positiveInteger(alias) : otherwise
  return {
    minPixels: pixels('min_pixels', 'shortest_edge', fallback.minPixels),
    maxPixels: pixels('max_pixels', 'longest_edge', fallback.maxPixels),
  }
}

/**
 * Reads `preprocessor_config.json` (or the `image_processor` of a `processor_config.json`) and
 * `video_preprocessor_config.json`.
 */
export function parseProcessorConfig(
  json: unknown,
  architecture: ProcessorArchitecture,
  videoJson?: unknown,
): ProcessorConfig {
  const reader = new JsonReader(isJsonObject(json) ? json : {}, 'preprocessor_config.json')
  const { vision, modelType } = architecture
  const same = (key: string, expected: number) => {
    reader.oneOf(key, [expected], expected)
    return expected
  }
  return {
    patchSize: same('patch_size', vision.patchSize),
    temporalPatchSize: same('temporal_patch_size', vision.temporalPatchSize),
    mergeSize: same('merge_size', vision.mergeSize),
    ...pixelBounds(reader, defaults[modelType]),
    mean: reader.has('image_mean') ? reader.numberList('image_mean') : defaults[modelType].mean,
    std: reader.has('image_std') ? reader.numberList('image_std') : defaults[modelType].std,
    ...(isJsonObject(videoJson) ? { video: parseVideoBudget(videoJson, architecture) } : {}),
  }
}

/** Bounds of videos where a checkpoint says nothing. */
export function defaultVideoBudget({ modelType, vision }: ProcessorArchitecture): VideoBudget {
  const cell = (vision.patchSize * vision.mergeSize) ** 2
  if (modelType === 'qwen3_vl') return { kind: 'total', minPixels: 4096, maxPixels: 25165824 }
  return {
    kind: 'per-frame',
    minPixels: 128 * cell,
    maxPixels: 768 * cell,
    totalPixels: Math.trunc(128000 * cell * 0.9),
  }
}

/**
 * Only Qwen3-VL's file bounds the whole video. The older families' bounds an image's pixels; Qwen's own tools bound frames
 * instead, and so does this.
 */
function parseVideoBudget(json: JsonObject, architecture: ProcessorArchitecture): VideoBudget {
  const fallback = defaultVideoBudget(architecture)
  if (fallback.kind === 'per-frame') return fallback
  return { kind: 'total', ...pixelBounds(new JsonReader(json, 'video_preprocessor_config.json'), fallback) }
}

/** `preprocessor_config.json` as transformers reads it. */
export function processorConfigJson(config: ProcessorConfig, modelType: ModelType = 'qwen2_5_vl'): JsonObject {
  return {
    image_processor_type: 'Qwen2VLImageProcessor',
    processor_class: defaults[modelType].processorClass,
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
  return patchify([resizeBicubic(rgb, height, width)], config)
}
