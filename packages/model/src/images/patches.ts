/**
 * Frames into the rows the vision tower reads: normalised and cut into patches in merge-block order, so that the rows of one
 * visual token are neighbours. Row: (t, block row, block column, row in block, column in block). Within a row: (channel,
 * frame of the temporal patch, y, x). Source: transformers `models/qwen2_vl/image_processing_qwen2_vl.py`.
 */
import type { GridThw, PreparedImage, ProcessorConfig } from './processor.js'
import type { RgbImage } from './resize.js'

/** (v / 255 − mean) / std of every byte, per channel. */
function normalisation({ mean, std }: ProcessorConfig): Float32Array[] {
  return mean.map((channelMean, channel) =>
    Float32Array.from({ length: 256 }, (_, value) => (value / 255 - channelMean) / (std[channel] ?? 1)),
  )
}

/**
 * Patch rows of RGB frames of one size, both sides multiples of patch·merge. The last frame is repeated until the temporal
 * patches are full; so a still image is one patch in time, all of whose frames are the same.
 */
export function patchify(frames: readonly RgbImage[], config: ProcessorConfig): PreparedImage {
  const { patchSize, temporalPatchSize, mergeSize } = config
  const { width, height } = frames[0] as RgbImage
  const grid: GridThw = [Math.ceil(frames.length / temporalPatchSize), height / patchSize, width / patchSize]
  const [t, h, w] = grid
  const area = patchSize * patchSize
  const rowSize = 3 * temporalPatchSize * area
  const tables = normalisation(config)
  const pixelValues = new Float32Array(t * h * w * rowSize)
  let row = 0
  for (let time = 0; time < t; time++) {
    for (let blockRow = 0; blockRow < h; blockRow += mergeSize) {
      for (let blockColumn = 0; blockColumn < w; blockColumn += mergeSize) {
        for (let cell = 0; cell < mergeSize * mergeSize; cell++, row++) {
          const top = (blockRow + Math.floor(cell / mergeSize)) * patchSize
          const left = (blockColumn + (cell % mergeSize)) * patchSize
          for (let part = 0; part < temporalPatchSize; part++) {
            const frame = frames[Math.min(time * temporalPatchSize + part, frames.length - 1)] as RgbImage
            for (let channel = 0; channel < 3; channel++) {
              const start = row * rowSize + (channel * temporalPatchSize + part) * area
              const place = (top * width + left) * 3 + channel
              writePatch(frame.data, place, width * 3, tables[channel] as Float32Array, pixelValues, start, patchSize)
            }
          }
        }
      }
    }
  }
  return { grid, pixelValues }
}

/** One channel of one patch. `place` is its first byte, `stride` the bytes of a line. */
function writePatch(
  bytes: Uint8Array,
  place: number,
  stride: number,
  table: Float32Array,
  target: Float32Array,
  start: number,
  size: number,
): void {
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      target[start + y * size + x] = table[bytes[place + y * stride + x * 3] as number] as number
    }
  }
}
