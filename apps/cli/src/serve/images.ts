/**
 * Images of a request: data URIs, and URLs of hosts the operator has allowed. Every image is measured before it is decoded.
 */
import { ApiError, badRequest } from './errors.js'
import { imageSize } from './image-size.js'

export interface ImageLimits {
  /** Bytes of one image. */
  readonly maxImageBytes: number
  /** Pixels of one image, as stored. */
  readonly maxImagePixels: number
  /** `host` or `host:port` that images may be fetched from. Empty: none. */
  readonly allowedImageHosts: readonly string[]
  readonly imageTimeoutMs: number
}

const maxRedirects = 3

/** Bytes of the image a part names. @throws {ApiError} 400. */
export async function loadImage(url: string, param: string, limits: ImageLimits, signal: AbortSignal) {
  const bytes = url.startsWith('data:') ? fromDataUri(url, param, limits) : await fetchImage(url, param, limits, signal)
  const size = imageSize(bytes)
  if (!size) throw badRequest('The image is not PNG, JPEG or WebP, or it is cut short.', param, 'invalid_image')
  if (size.width * size.height > limits.maxImagePixels) {
    throw badRequest(
      `The image has ${size.width} × ${size.height} pixels; allowed: ${limits.maxImagePixels} together. Scale it down.`,
      param,
      'image_too_large',
    )
  }
  return bytes
}

function fromDataUri(url: string, param: string, { maxImageBytes }: ImageLimits): Uint8Array {
  const comma = url.indexOf(',')
  const head = url.slice(0, Math.min(comma < 0 ? 0 : comma, 100))
  if (!/^data:image\/(png|jpe?g|webp);base64$/i.test(head)) {
    throw badRequest('A data URI must begin with data:image/{png,jpeg,webp};base64,', param, 'invalid_image')
  }
  const data = url.slice(comma + 1)
  if (data.length * 0.75 > maxImageBytes + 2) throw tooManyBytes(param, maxImageBytes)
  if (!isBase64(data)) throw badRequest('The data URI is not valid base64.', param, 'invalid_image')
  return Buffer.from(data, 'base64')
}

const isBase64 = (data: string) => data.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(data)

const tooManyBytes = (param: string, most: number) =>
  badRequest(`The image is larger than ${most} bytes.`, param, 'image_too_large')

async function fetchImage(url: string, param: string, limits: ImageLimits, signal: AbortSignal): Promise<Uint8Array> {
  const { imageTimeoutMs, maxImageBytes } = limits
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(imageTimeoutMs)])
  let target = allowedUrl(url, param, limits)
  try {
    for (let hop = 0; hop <= maxRedirects; hop++) {
      const response = await fetch(target, { redirect: 'manual', signal: deadline, headers: { accept: 'image/*' } })
      const location = response.headers.get('location')
      if (response.status >= 300 && response.status < 400 && location !== null) {
        await response.body?.cancel()
        target = allowedUrl(new URL(location, target).href, param, limits)
        continue
      }
      if (!response.ok)
        throw badRequest(`The image could not be fetched: status ${response.status}.`, param, 'invalid_image')
      return await readBody(response, maxImageBytes, param)
    }
  } catch (error) {
    if (error instanceof ApiError) throw error
    const reason = deadline.aborted ? `it took more than ${imageTimeoutMs} ms` : 'the host did not answer'
    throw badRequest(`The image could not be fetched: ${reason}.`, param, 'invalid_image')
  }
  throw badRequest(`The image could not be fetched: more than ${maxRedirects} redirects.`, param, 'invalid_image')
}

function allowedUrl(url: string, param: string, { allowedImageHosts }: ImageLimits): URL {
  const parsed = URL.canParse(url) ? new URL(url) : null
  if (
    parsed &&
    /^https?:$/.test(parsed.protocol) &&
    parsed.username === '' &&
    allowedImageHosts.includes(parsed.host)
  ) {
    return parsed
  }
  const allowed = allowedImageHosts.length > 0 ? ` or http(s) URLs of ${allowedImageHosts.join(', ')}` : ''
  throw badRequest(`Images must be data URIs${allowed}; other URLs are not fetched.`, param, 'invalid_image_url')
}

async function readBody(response: Response, most: number, param: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += (chunk as Uint8Array).byteLength
    if (size > most) throw tooManyBytes(param, most)
    chunks.push(chunk as Uint8Array)
  }
  return Buffer.concat(chunks)
}
