/**
 * Encoded image bytes into 8-bit RGB: orientation from EXIF applied, transparency composited on white with Pillow's
 * rounding (or dropped, as transformers' `convert("RGB")` does). Embedded colour profiles are ignored, as Pillow does.
 */
import sharp from 'sharp'
import type { RgbImage } from './resize.js'

/** PNG, JPEG, WebP, GIF, AVIF or TIFF bytes, or the path of such a file. */
export type EncodedImage = Uint8Array | string

export type AlphaMode = 'white' | 'drop'

/** @throws {Error} naming the file or byte count when the image cannot be decoded. */
export async function decodeImage(image: EncodedImage, alpha: AlphaMode = 'white'): Promise<RgbImage> {
  let decoded
  try {
    decoded = await sharp(image, { ignoreIcc: true })
      .rotate()
      .toColourspace('srgb')
      .ensureAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
  } catch (cause) {
    const what = typeof image === 'string' ? `file '${image}'` : `${image.byteLength} bytes`
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`Cannot decode the image (${what}): ${reason}. Allowed: PNG, JPEG, WebP, GIF, AVIF, TIFF.`, {
      cause,
    })
  }
  const { width, height } = decoded.info
  const rgba = decoded.data
  const data = new Uint8Array(width * height * 3)
  for (let pixel = 0; pixel < width * height; pixel++) {
    const opacity = alpha === 'drop' ? 255 : (rgba[pixel * 4 + 3] as number)
    for (let channel = 0; channel < 3; channel++) {
      const value = rgba[pixel * 4 + channel] as number
      const blended = value * opacity + 255 * (255 - opacity) + 128
      data[pixel * 3 + channel] = ((blended >> 8) + blended) >> 8
    }
  }
  return { width, height, data }
}
