/**
 * Encoded images: their format by magic bytes, and their bytes wherever they are kept.
 */
import { readFile } from 'node:fs/promises'
import type { ImageRef } from './types.js'

const ascii = (bytes: Uint8Array, start: number, end: number) => String.fromCharCode(...bytes.subarray(start, end))

/** Media type by the file's first bytes; `undefined` when it is none of PNG, JPEG, WebP, GIF. */
export function imageMime(bytes: Uint8Array): string | undefined {
  if (ascii(bytes, 0, 8) === '\x89PNG\r\n\x1a\n') return 'image/png'
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return 'image/jpeg'
  if (ascii(bytes, 0, 4) === 'RIFF' && ascii(bytes, 8, 12) === 'WEBP') return 'image/webp'
  if (/^GIF8[79]a$/.test(ascii(bytes, 0, 6))) return 'image/gif'
  return undefined
}

/**
 * The encoded bytes of an image, read from disk where the row holds a path.
 * @throws {Error} naming the path when the file cannot be read.
 */
export async function imageBytes(image: ImageRef): Promise<Uint8Array> {
  if (image.kind === 'bytes') return image.bytes
  try {
    return await readFile(image.path)
  } catch (cause) {
    throw new Error(`Cannot read the image '${image.path}' of a row: ${messageOf(cause)}`, { cause })
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
