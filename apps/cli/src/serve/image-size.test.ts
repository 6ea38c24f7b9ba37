import { expect, it } from 'vitest'
import { dataUri, png } from '../../test/png.js'
import { imageSize } from './image-size.js'
import { loadImage } from './images.js'

const bytes = (...parts: (string | readonly number[])[]) =>
  Buffer.concat([
    ...parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(part))),
    Buffer.alloc(30),
  ])

it.each([
  ['PNG', png(300, 20, 0), [300, 20]],
  [
    'JPEG with another segment before its frame',
    bytes([0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xff, 0xc2, 0, 17, 8, 1, 44, 2, 88]),
    [600, 300],
  ],
  ['WebP, extended', bytes('RIFF', [0, 0, 0, 0], 'WEBPVP8X', [10, 0, 0, 0, 0, 0, 0, 0, 43, 1, 0, 19, 0, 0]), [300, 20]],
  ['WebP, lossless', bytes('RIFF', [0, 0, 0, 0], 'WEBPVP8L', [10, 0, 0, 0, 0x2f, 43, 193, 4, 0]), [300, 20]],
  [
    'WebP, lossy',
    bytes('RIFF', [0, 0, 0, 0], 'WEBPVP8 ', [10, 0, 0, 0, 0, 0, 0, 0x9d, 1, 0x2a, 44, 1, 20, 0]),
    [300, 20],
  ],
])('reads the size of %s', (_, image, [width, height]) => {
  expect(imageSize(image)).toEqual({ width, height })
})

it.each([
  ['nothing', Buffer.alloc(0)],
  ['text', Buffer.from('GIF89a'.padEnd(40))],
  ['a JPEG without a frame', bytes([0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2])],
])('finds none in %s', (_, image) => {
  expect(imageSize(image)).toBeNull()
})

const limits = { maxImageBytes: 2000, maxImagePixels: 10_000, allowedImageHosts: [], imageTimeoutMs: 1000 }
const load = (url: string) => loadImage(url, 'here', limits, new AbortController().signal)

it('takes data URIs within the limits', async () => {
  const image = png(28, 28, 9)
  expect(Buffer.compare(await load(dataUri(image)), image)).toBe(0)
})

it.each([
  [
    'a large image that lies small in the file',
    dataUri(png(4, 4, 0, { width: 60_000, height: 60_000 })),
    /60000 × 60000 pixels/,
  ],
  ['too many bytes', dataUri(Buffer.alloc(3000)), /larger than 2000 bytes/],
  ['another type', dataUri(png(4, 4, 0), 'gif'), /must begin with data:image/],
  ['no base64', 'data:image/png;base64,@@@@', /not valid base64/],
  ['no image', dataUri(Buffer.alloc(100)), /not PNG, JPEG or WebP/],
  ['a URL', 'http://127.0.0.1/x.png', /must be data URIs; other URLs are not fetched/],
  ['a file', 'file:///etc/passwd', /must be data URIs/],
])('refuses %s', async (_, url, message) => {
  await expect(load(url)).rejects.toThrow(message)
})
