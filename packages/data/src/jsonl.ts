/**
 * Rows as JSON Lines: one object per line, read and written a line at a time, so that a file need not fit in memory.
 *
 * ```json
 * {"id":"1","question":"What is the sum?","images":[{"path":"1.png"}],"answer":"8","source":"mine","tags":{"level":2}}
 * ```
 *
 * An image is `{ "bytes": base64, "mime"?: "image/png" }` or `{ "path": … }`, relative to the folder of the JSONL file.
 */
import { createReadStream } from 'node:fs'
import { basename, dirname, extname, relative, resolve, sep } from 'node:path'
import { createInterface } from 'node:readline'
import { writeAtomically } from './atomic-file.js'
import { imageMime } from './images.js'
import { isRecord, parseRow, RowError, show } from './row.js'
import type { ImageRef, Row } from './types.js'

/**
 * Reads values line by line. Empty lines are skipped.
 * @throws {RowError} naming file and line when a line is not JSON.
 */
export async function* readJsonLines(path: string): AsyncGenerator<{ readonly line: number; readonly value: unknown }> {
  const input = createReadStream(path, 'utf8')
  // Awaited here, so that a missing file is an error of this call and not an event nobody listens to.
  await new Promise((opened, failed) => input.once('ready', opened as () => void).once('error', failed))
  let line = 0
  for await (const text of createInterface({ input, crlfDelay: Infinity })) {
    line++
    if (text.trim() === '') continue
    let value: unknown
    try {
      value = JSON.parse(line === 1 ? text.replace(/^\uFEFF/, '') : text)
    } catch (cause) {
      throw new RowError(
        `${path}:${line}: not JSON (${cause instanceof Error ? cause.message : String(cause)}). Each line must be one JSON object.`,
        { cause },
      )
    }
    yield { line, value }
  }
}

/**
 * Rows of a JSONL file, one at a time. `id` defaults to `<file name>:<line>`, `source` to the file name without extension.
 * @throws {RowError} naming file, line and field.
 */
export async function* readJsonl(path: string): AsyncGenerator<Row> {
  const source = basename(path, extname(path))
  for await (const { line, value } of readJsonLines(path)) {
    yield parseRow(value, `${path}:${line}`, { id: `${source}:${line}`, source }, (image, where) =>
      readImage(image, where, dirname(path)),
    )
  }
}

function readImage(image: unknown, where: string, folder: string): ImageRef {
  if (isRecord(image) && typeof image['path'] === 'string')
    return { kind: 'file', path: resolve(folder, image['path']) }
  if (isRecord(image) && typeof image['bytes'] === 'string') {
    const bytes = new Uint8Array(Buffer.from(image['bytes'], 'base64'))
    const mime = image['mime'] ?? imageMime(bytes)
    if (typeof mime === 'string') return { kind: 'bytes', bytes, mime }
    throw new RowError(`${where}: the bytes are not PNG, JPEG, WebP or GIF; give their media type as 'mime'.`)
  }
  throw new RowError(`${where} must be { "path": … } or { "bytes": base64, "mime"?: … }, not ${show(image)}.`)
}

/** Writes rows as JSONL. Image paths are made relative to the file's folder. An existing file is replaced when all is written. */
export async function writeJsonl(path: string, rows: Iterable<Row> | AsyncIterable<Row>): Promise<void> {
  const folder = resolve(dirname(path))
  await writeAtomically(path, async (file) => {
    for await (const row of rows)
      await file.write(`${JSON.stringify({ ...row, images: row.images.map((image) => writeImage(image, folder)) })}\n`)
  })
}

function writeImage(image: ImageRef, folder: string) {
  if (image.kind === 'file') return { path: relative(folder, image.path).split(sep).join('/') }
  return { bytes: Buffer.from(image.bytes).toString('base64'), mime: image.mime }
}
