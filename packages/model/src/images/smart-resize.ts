/**
 * The size an image is brought to before it is cut into patches: both sides multiples of the factor, the area inside
 * bounds, the aspect ratio roughly kept. Source: transformers `models/qwen2_vl/image_processing_qwen2_vl.py`.
 */

/** Rounds halves to the even neighbour, as Python does; `Math.round(2.5)` is 3. */
function roundHalfToEven(value: number): number {
  const floor = Math.floor(value)
  const fraction = value - floor
  if (fraction !== 0.5) return Math.round(value)
  return floor % 2 === 0 ? floor : floor + 1
}

export interface SizeBounds {
  /** Patch size × merge size: both sides become multiples of it. */
  readonly factor: number
  /** Bounds of the area in pixels. */
  readonly minPixels: number
  readonly maxPixels: number
}

/**
 * @returns the [height, width] to resize to.
 * @throws {RangeError} when one side is more than 200 times the other.
 */
export function smartResize(height: number, width: number, bounds: SizeBounds): [height: number, width: number] {
  const { factor, minPixels, maxPixels } = bounds
  if (Math.max(height, width) / Math.min(height, width) > 200) {
    throw new RangeError(
      `Image of ${width}×${height}: one side is more than 200 times the other. Crop or pad it first.`,
    )
  }
  const rounded = [roundHalfToEven(height / factor) * factor, roundHalfToEven(width / factor) * factor] as const
  const area = rounded[0] * rounded[1]
  if (area > maxPixels) {
    const beta = Math.sqrt((height * width) / maxPixels)
    const shrink = (side: number) => Math.max(factor, Math.floor(side / beta / factor) * factor)
    return [shrink(height), shrink(width)]
  }
  if (area < minPixels) {
    const beta = Math.sqrt(minPixels / (height * width))
    const grow = (side: number) => Math.ceil((side * beta) / factor) * factor
    return [grow(height), grow(width)]
  }
  return [rounded[0], rounded[1]]
}
