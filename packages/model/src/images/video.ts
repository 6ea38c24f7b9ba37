/**
 * A video into the rows the vision tower reads. Node has no video decoder, so a video is its frames, already sampled, with
 * their rate or their times. Frames are brought to one size: Qwen2-VL and Qwen2.5-VL bound the pixels of a frame by a budget
 * shared by all frames (QwenLM/Qwen3-VL `qwen-vl-utils/src/qwen_vl_utils/vision_process.py`), Qwen3-VL those of the whole
 * video (transformers `models/qwen3_vl/video_processing_qwen3_vl.py`).
 */
import { decodeImage, type AlphaMode, type EncodedImage } from './decode.js'
import { patchify } from './patches.js'
import type { PreparedImage, ProcessorConfig, VideoTiming } from './processor.js'
import { resizeBicubic } from './resize.js'
import { roundHalfToEven, smartResize, sizeWithin } from './smart-resize.js'

/** Frames of a video in order, with either their rate or the time of each in seconds. Default 2 frames a second. */
export interface VideoFrames {
  readonly frames: readonly EncodedImage[]
  readonly fps?: number
  readonly timestamps?: readonly number[]
}

/** Bounds of a video's size, in pixels. */
export type VideoBudget =
  /** Of one frame, which gets at most its share of `totalPixels` (two frames count as one, being one patch in time). */
  | {
      readonly kind: 'per-frame'
      readonly minPixels: number
      readonly maxPixels: number
      readonly totalPixels: number
    }
  /** Of all frames together. */
  | { readonly kind: 'total'; readonly minPixels: number; readonly maxPixels: number }

export interface FrameSampling {
  /** Frames wanted; rounded to an even number. */
  readonly frames?: number
  /** Frames a second wanted, where their number is not given. Default 2. */
  readonly fps?: number
  /** Default 4 and 768. */
  readonly minFrames?: number
  readonly maxFrames?: number
}

const evenDown = (count: number) => Math.floor(count / 2) * 2

/**
 * Which frames of a video to take, as Qwen's own tools choose: evenly spaced from the first to the last.
 *
 * @param total frames of the video.
 * @param videoFps its rate.
 * @returns their indices, and the rate they were sampled at.
 * @throws {RangeError} fewer than two frames are left.
 */
export function sampleFrames(
  total: number,
  videoFps: number,
  { frames, fps = 2, minFrames = 4, maxFrames = 768 }: FrameSampling = {},
): { readonly indices: readonly number[]; readonly fps: number } {
  const wanted = Math.max((total / videoFps) * fps, Math.ceil(minFrames / 2) * 2)
  const bounded = Math.min(wanted, evenDown(Math.min(maxFrames, total)), total)
  const count = frames === undefined ? evenDown(bounded) : roundHalfToEven(frames / 2) * 2
  if (!(count >= 2 && count <= total)) {
    throw new RangeError(
      `sampleFrames(): ${count} frames of ${total} are wanted; allowed: an even number from 2 to all of them.`,
    )
  }
  const indices = Array.from({ length: count }, (_, k) => roundHalfToEven((k * (total - 1)) / (count - 1)))
  return { indices, fps: (count / total) * videoFps }
}

/** The size frames are brought to. */
export function videoSize(
  frames: number,
  height: number,
  width: number,
  config: Pick<ProcessorConfig, 'patchSize' | 'mergeSize' | 'temporalPatchSize'>,
  budget: VideoBudget,
): [height: number, width: number] {
  const factor = config.patchSize * config.mergeSize
  const { minPixels } = budget
  if (budget.kind === 'per-frame') {
    const share = Math.min(budget.maxPixels, (budget.totalPixels / frames) * config.temporalPatchSize)
    const maxPixels = Math.max(share, Math.trunc(minPixels * 1.05))
    return smartResize(height, width, { factor, minPixels, maxPixels })
  }
  const { temporalPatchSize } = config
  const rounded = roundHalfToEven(frames / temporalPatchSize) * temporalPatchSize
  return sizeWithin(height, width, { factor, minPixels, maxPixels: budget.maxPixels }, { rounded, exact: frames })
}

/** When each temporal patch was: the mean of its first and last frame; a last odd frame counts twice. */
function timingOf({ frames, fps = 2, timestamps }: VideoFrames, temporalPatchSize: number): VideoTiming {
  if (!(fps > 0 && Number.isFinite(fps))) throw new RangeError(`Video: fps is ${fps}; allowed: a number > 0.`)
  if (timestamps && timestamps.length !== frames.length) {
    throw new RangeError(`Video: ${timestamps.length} timestamps for ${frames.length} frames; give one per frame.`)
  }
  const times = timestamps ?? frames.map((_, index) => index / fps)
  const last = frames.length - 1
  const timeOf = (frame: number) => times[Math.min(frame, last)] as number
  const interval = timestamps && last > 0 ? (timeOf(last) - timeOf(0)) / last : 1 / fps
  return {
    secondsPerPatch: interval * temporalPatchSize,
    timestamps: Array.from({ length: Math.ceil(frames.length / temporalPatchSize) }, (_, patch) => {
      const first = patch * temporalPatchSize
      return (timeOf(first) + timeOf(first + temporalPatchSize - 1)) / 2
    }),
  }
}

/**
 * Decodes, resizes, normalises and cuts the frames of a video.
 * @throws {RangeError} there are no frames, they differ in size, or their times make no sense.
 */
export async function prepareVideo(
  video: VideoFrames,
  config: ProcessorConfig,
  budget: VideoBudget,
  alpha: AlphaMode = 'white',
): Promise<PreparedImage & { readonly video: VideoTiming }> {
  if (video.frames.length === 0) throw new RangeError('Video: there are no frames; give at least one.')
  const timing = timingOf(video, config.temporalPatchSize)
  const decoded = await Promise.all(video.frames.map((frame) => decodeImage(frame, alpha)))
  const [{ width, height }] = decoded as [(typeof decoded)[0]]
  const odd = decoded.findIndex((frame) => frame.width !== width || frame.height !== height)
  if (odd >= 0) {
    const { width: w = 0, height: h = 0 } = decoded[odd] ?? {}
    throw new RangeError(`Video: frame ${odd} is ${w}×${h}, the first ${width}×${height}; frames must have one size.`)
  }
  const [targetHeight, targetWidth] = videoSize(decoded.length, height, width, config, budget)
  const frames = decoded.map((frame) => resizeBicubic(frame, targetHeight, targetWidth))
  return { ...patchify(frames, config), video: timing }
}
