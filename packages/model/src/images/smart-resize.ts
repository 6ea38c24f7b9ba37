/**
 * The size an image is brought to before it is cut into patches: both sides multiples of the factor, the area inside
 * bounds, the aspect ratio roughly kept. Source: transformers `models/qwen2_vl/image_processing_qwen2_vl.py`.
 */

/** Rounds halves to the even neighbour, as Python does; `Math.round(2.5)` is 3. */
export function roundHalfToEven(value: number): number {
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
  return sizeWithin(height, width, bounds, { rounded: 1, exact: 1 })
}

/**
 * The same for several frames, whose pixels count together.
 * @param frames their number as it is, and rounded to whole temporal patches.
 */
export function sizeWithin(
  height: number,
  width: number,
  { factor, minPixels, maxPixels }: SizeBounds,
  frames: { readonly rounded: number; readonly exact: number },
): [height: number, width: number] {
  if (Math.max(height, width) / Math.min(height, width) > 200) {
    throw new RangeError(
      `Image of ${width}×${height}: one side is more than 200 times the other. Crop or pad it first.`,
    )
  }
  const nearest = [roundHalfToEven(height / factor) * factor, roundHalfToEven(width / factor) * factor] as const
  const area = frames.rounded * nearest[0] * nearest[1]
  if (area > maxPixels) {
    const beta = Math.sqrt((frames.exact * height * width) / maxPixels)
    const shrink = (side: number) => Math.max(factor, Math.floor(side / beta / factor) * factor)
    return [shrink(height), shrink(width)]
  }
  if (area < minPixels) {
    const beta = Math.sqrt(minPixels / (frames.exact * height * width))
    const grow = (side: number) => Math.ceil((side * beta) / factor) * factor
    return [grow(height), grow(width)]
  }
  return [nearest[0], nearest[1]]
}
