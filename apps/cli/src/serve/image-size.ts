/**
 * Width and height of an image from its header, before anything decodes it: a few kilobytes can stand for gigabytes of
 * pixels. PNG (ISO/IEC 15948), JPEG (ITU-T T.81, SOF segments), WebP (RFC 9649).
 */
export interface ImageSize {
  readonly width: number
  readonly height: number
}

const ascii = (bytes: Uint8Array, start: number, end: number) => String.fromCharCode(...bytes.subarray(start, end))

/** `null`: not an image of these formats, or cut short. */
export function imageSize(bytes: Uint8Array): ImageSize | null {
  if (bytes.length < 30) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (ascii(bytes, 1, 4) === 'PNG' && ascii(bytes, 12, 16) === 'IHDR') {
    return { width: view.getUint32(16), height: view.getUint32(20) }
  }
  if (view.getUint16(0) === 0xffd8) return jpegSize(view)
  if (ascii(bytes, 0, 4) === 'RIFF' && ascii(bytes, 8, 12) === 'WEBP') return webpSize(view, ascii(bytes, 12, 16))
  return null
}

function jpegSize(view: DataView): ImageSize | null {
  for (let at = 2; at + 9 <= view.byteLength;) {
    if (view.getUint8(at) !== 0xff) return null
    const marker = view.getUint8(at + 1)
    if (marker === 0xff) {
      at++
      continue
    }
    // Start of frame, all processes; C4, C8 and CC are other things.
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc
    if (isFrame) return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) }
    at += 2 + Math.max(2, view.getUint16(at + 2))
  }
  return null
}

function webpSize(view: DataView, chunk: string): ImageSize | null {
  if (chunk === 'VP8X') {
    const uint24 = (at: number) => view.getUint16(at, true) + 65_536 * view.getUint8(at + 2)
    return { width: uint24(24) + 1, height: uint24(27) + 1 }
  }
  if (chunk === 'VP8L') {
    const bits = view.getUint32(21, true)
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 }
  }
  if (chunk === 'VP8 ') return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff }
  return null
}
