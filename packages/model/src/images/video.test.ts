import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import type { ProcessorConfig } from './processor.js'
import { smartResize } from './smart-resize.js'
import { prepareVideo, sampleFrames, videoSize, type VideoBudget } from './video.js'

const config: ProcessorConfig = {
  patchSize: 4,
  temporalPatchSize: 2,
  mergeSize: 2,
  minPixels: 64,
  maxPixels: 4096,
  mean: [0, 0, 0],
  std: [1, 1, 1],
}
const total: VideoBudget = { kind: 'total', minPixels: 64, maxPixels: 1e6 }
const grey = (value: number, width = 16, height = 8) =>
  sharp({ create: { width, height, channels: 3, background: { r: value, g: value, b: value } } })
    .png()
    .toBuffer()

describe('prepareVideo', () => {
  it('puts two frames into one patch in time, channel by channel', async () => {
    const frames = await Promise.all([0, 51, 102, 153].map((value) => grey(value)))
    const { grid, pixelValues, video } = await prepareVideo({ frames, fps: 2 }, config, total)
    expect(grid).toEqual([2, 2, 4])
    // Rows of 3 channels × 2 frames × 16 pixels; 8 rows a patch in time.
    const rowSize = 96
    const levels = (row: number) => [0, 16, 32, 48, 64, 80].map((at) => pixelValues[row * rowSize + at])
    const close = (values: (number | undefined)[], expected: number[]) =>
      values.forEach((value, index) => expect(value).toBeCloseTo(expected[index] as number, 6))
    close(levels(0), [0, 0.2, 0, 0.2, 0, 0.2])
    close(levels(8), [0.4, 0.6, 0.4, 0.6, 0.4, 0.6])
    expect(video).toEqual({ secondsPerPatch: 1, timestamps: [0.25, 1.25] })
  })

  it('repeats the last frame of an odd number', async () => {
    const frames = await Promise.all([0, 51, 102].map((value) => grey(value)))
    const odd = await prepareVideo({ frames, fps: 1 }, config, total)
    const even = await prepareVideo({ frames: [...frames, frames[2] as Buffer], fps: 1 }, config, total)
    expect(odd.pixelValues).toEqual(even.pixelValues)
    expect(odd.video.timestamps).toEqual([0.5, 2])
    expect(even.video.timestamps).toEqual([0.5, 2.5])
  })

  it('takes times of frames that were not sampled evenly', async () => {
    const frames = await Promise.all([0, 1, 2, 3].map((value) => grey(value)))
    const { video } = await prepareVideo({ frames, timestamps: [0, 1, 5, 9] }, config, total)
    expect(video).toEqual({ secondsPerPatch: 6, timestamps: [0.5, 7] })
  })

  it('is an image twice when it has one frame', async () => {
    const { grid, pixelValues } = await prepareVideo({ frames: [await grey(51)] }, config, total)
    expect(grid).toEqual([1, 2, 4])
    expect(pixelValues.every((value) => Math.abs(value - 0.2) < 1e-6)).toBe(true)
  })

  it.each([
    ['no frames', { frames: [] }, /no frames/],
    ['a rate of 0', { frames: ['x.png'], fps: 0 }, /fps is 0/],
    ['too few times', { frames: ['x.png', 'y.png'], timestamps: [1] }, /1 timestamps for 2 frames/],
  ])('refuses %s', async (_, video, message) => {
    await expect(prepareVideo(video, config, total)).rejects.toThrow(message)
  })

  it('refuses frames of several sizes', async () => {
    const frames = [await grey(0), await grey(0, 16, 12)]
    await expect(prepareVideo({ frames }, config, total)).rejects.toThrow(/frame 1 is 16×12, the first 16×8/)
  })
})

describe('sampleFrames', () => {
  it('spreads an even number of frames from the first to the last', () => {
    expect(sampleFrames(300, 30)).toEqual({
      indices: [0, 16, 31, 47, 63, 79, 94, 110, 126, 142, 157, 173, 189, 205, 220, 236, 252, 268, 283, 299],
      fps: 2,
    })
    expect(sampleFrames(10, 30)).toEqual({ indices: [0, 3, 6, 9], fps: 12 })
    expect(sampleFrames(1e6, 25).indices.length).toBe(768)
    expect(sampleFrames(100, 25, { frames: 7 }).indices.length).toBe(8)
    // Halves go to the even index, as torch rounds them.
    expect(sampleFrames(4, 2, { frames: 2 }).indices).toEqual([0, 3])
    expect(sampleFrames(10, 10, { frames: 3 }).indices).toEqual([0, 3, 6, 9])
  })

  it('refuses more frames than there are', () => {
    expect(() => sampleFrames(1, 30)).toThrow(/0 frames of 1/)
    expect(() => sampleFrames(4, 30, { frames: 6 })).toThrow(/6 frames of 4/)
  })
})

describe('videoSize', () => {
  const qwen25 = { patchSize: 14, mergeSize: 2, temporalPatchSize: 2 }
  const perFrame: VideoBudget = {
    kind: 'per-frame',
    minPixels: 128 * 784,
    maxPixels: 768 * 784,
    totalPixels: 90316800,
  }

  it('bounds a frame, and its share of all frames', () => {
    expect(videoSize(4, 1080, 1920, qwen25, perFrame)).toEqual(
      smartResize(1080, 1920, { factor: 28, minPixels: 128 * 784, maxPixels: 768 * 784 }),
    )
    const [h, w] = videoSize(768, 1080, 1920, qwen25, perFrame)
    expect(h * w).toBeLessThanOrEqual((90316800 / 768) * 2)
    // Never below 1.05 times the least.
    expect(videoSize(1e5, 1080, 1920, qwen25, perFrame)).toEqual(
      smartResize(1080, 1920, { factor: 28, minPixels: 128 * 784, maxPixels: Math.trunc(128 * 784 * 1.05) }),
    )
  })

  it('bounds all frames together', () => {
    const qwen3 = { patchSize: 16, mergeSize: 2, temporalPatchSize: 2 }
    const budget: VideoBudget = { kind: 'total', minPixels: 4096, maxPixels: 25165824 }
    expect(videoSize(4, 1080, 1920, qwen3, budget)).toEqual([1088, 1920])
    const [h, w] = videoSize(64, 1080, 1920, qwen3, budget)
    expect(64 * h * w).toBeLessThanOrEqual(25165824)
    expect(64 * (h + 32) * (w + 32)).toBeGreaterThan(25165824)
    expect(videoSize(2, 20, 20, qwen3, budget)).toEqual([64, 64])
  })
})
