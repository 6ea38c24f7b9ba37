/**
 * Bicubic resize with antialiasing, bit-exact with Pillow's `Image.resize(…, BICUBIC)` on 8-bit images, which the
 * reference models were trained with: horizontal pass first, then vertical, each rounding to 8 bits, with 22-bit fixed
 * point weights. Source: Pillow `src/libImaging/Resample.c`.
 */

export interface RgbImage {
  readonly width: number
  readonly height: number
  /** Interleaved RGB, row by row. */
  readonly data: Uint8Array
}

const precisionBits = 22
const channels = 3

/** Catmull-Rom-like cubic with a = −0.5. */
function cubic(x: number): number {
  const a = -0.5
  const distance = Math.abs(x)
  if (distance < 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1
  if (distance < 2) return (((distance - 5) * distance + 8) * distance - 4) * a
  return 0
}

interface Taps {
  readonly start: number
  readonly weights: Int32Array
}

/** For every output position the first input position and the fixed-point weights from there on. */
function tapsOf(inputSize: number, outputSize: number): Taps[] {
  const scale = inputSize / outputSize
  const filterScale = Math.max(scale, 1)
  const support = 2 * filterScale
  return Array.from({ length: outputSize }, (_, output) => {
    const centre = (output + 0.5) * scale
    const start = Math.max(0, Math.trunc(centre - support + 0.5))
    const end = Math.min(inputSize, Math.trunc(centre + support + 0.5))
    const weights = Array.from({ length: end - start }, (_, k) => cubic((k + start - centre + 0.5) / filterScale))
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    return {
      start,
      weights: Int32Array.from(weights, (weight) => {
        const scaled = (weight / total) * 2 ** precisionBits
        return Math.trunc(scaled + (scaled < 0 ? -0.5 : 0.5))
      }),
    }
  })
}

/** Resizes along one axis. `lines` are independent rows or columns, `stride` the distance between neighbours on a line. */
function resample(
  source: Uint8Array,
  target: Uint8Array,
  taps: readonly Taps[],
  lines: number,
  sourceLine: number,
  targetLine: number,
  stride: number,
): void {
  for (let line = 0; line < lines; line++) {
    for (let output = 0; output < taps.length; output++) {
      const { start, weights } = taps[output] as Taps
      for (let channel = 0; channel < channels; channel++) {
        let sum = 1 << (precisionBits - 1)
        let position = line * sourceLine + start * stride + channel
        for (let k = 0; k < weights.length; k++) {
          sum += Math.imul(weights[k] as number, source[position] as number)
          position += stride
        }
        // The sum fits 32 bits: that is why Pillow uses 22.
        const value = sum >> precisionBits
        target[line * targetLine + output * stride + channel] = value < 0 ? 0 : value > 255 ? 255 : value
      }
    }
  }
}

/** Resizes to `height` × `width`; an axis that keeps its size is not touched. */
export function resizeBicubic(image: RgbImage, height: number, width: number): RgbImage {
  let current = image
  if (width !== current.width) {
    const data = new Uint8Array(current.height * width * channels)
    const taps = tapsOf(current.width, width)
    resample(current.data, data, taps, current.height, current.width * channels, width * channels, channels)
    current = { width, height: current.height, data }
  }
  if (height !== current.height) {
    const data = new Uint8Array(height * width * channels)
    resample(current.data, data, tapsOf(current.height, height), width, channels, channels, width * channels)
    current = { width, height, data }
  }
  return current
}
