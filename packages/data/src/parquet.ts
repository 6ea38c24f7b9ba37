/**
 * Rows as Parquet, through hyparquet and hyparquet-writer (pure JavaScript). Images are a list of
 * `struct<bytes: binary, path: string>`, as Hugging Face `datasets` stores them; `tags` is a JSON column.
 *
 * The schema is always given: left to itself the writer would store nested lists as JSON strings.
 */
import {
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetReadObjects,
  type CompressionCodec,
  type SchemaElement,
} from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { ByteWriter, parquetWriteRows } from 'hyparquet-writer'
import { basename, dirname, extname, relative, resolve, sep } from 'node:path'
import { writeAtomically } from './atomic-file.js'
import { imageMime } from './images.js'
import { isRecord, parseRow, RowError, show } from './row.js'
import type { ImageRef, Row } from './types.js'

const string = { type: 'BYTE_ARRAY', converted_type: 'UTF8' } as const
const required = { repetition_type: 'REQUIRED' } as const
const optional = { repetition_type: 'OPTIONAL' } as const

const schema: SchemaElement[] = [
  { name: 'root', num_children: 7 },
  { name: 'id', ...string, ...required },
  { name: 'question', ...string, ...required },
  { name: 'images', converted_type: 'LIST', num_children: 1, ...optional },
  { name: 'list', num_children: 1, repetition_type: 'REPEATED' },
  { name: 'element', num_children: 2, ...optional },
  { name: 'bytes', type: 'BYTE_ARRAY', ...optional },
  { name: 'path', ...string, ...optional },
  { name: 'answer', ...string, ...required },
  { name: 'solution', ...string, ...optional },
  { name: 'source', ...string, ...required },
  { name: 'tags', type: 'BYTE_ARRAY', converted_type: 'JSON', ...required },
]

const columns = ['id', 'question', 'images', 'answer', 'solution', 'source', 'tags']

export interface ParquetOptions {
  /** Rows per row group: what is held in memory at once, writing and reading. Default 1000. */
  readonly rowGroupSize?: number
  /** Default `SNAPPY`. Reading knows every codec of the format but LZO. */
  readonly codec?: Extract<CompressionCodec, 'SNAPPY' | 'UNCOMPRESSED'>
}

/**
 * Writes rows as Parquet, a row group at a time. Image paths are made relative to the file's folder. An existing file is
 * replaced when all is written.
 * @throws {RowError} for image bytes whose format cannot be told from their first bytes: the file would not keep it.
 */
export async function writeParquet(
  path: string,
  rows: Iterable<Row> | AsyncIterable<Row>,
  { rowGroupSize = 1000, codec = 'SNAPPY' }: ParquetOptions = {},
): Promise<void> {
  const folder = resolve(dirname(path))
  async function* records() {
    for await (const row of rows) yield { ...row, images: row.images.map((image) => writeImage(image, folder, row.id)) }
  }
  await writeAtomically(path, async (file) => {
    const writer = new ByteWriter()
    // The writer's own file sink is synchronous; this one hands each finished row group on.
    const flush = async () => {
      const bytes = writer.getBytes().slice()
      writer.index = 0
      await file.write(bytes)
    }
    Object.assign(writer, { flush, finish: flush })
    await parquetWriteRows({
      writer,
      rows: records(),
      columns: columns.map((name) => ({ name, ...(name === 'images' ? { statistics: false } : {}) })),
      schema,
      codec,
      rowGroupSize,
      createdBy: '@revisual/data',
    })
  })
}

function writeImage(image: ImageRef, folder: string, id: string) {
  if (image.kind === 'file') return { bytes: null, path: relative(folder, image.path).split(sep).join('/') }
  const mime = imageMime(image.bytes)
  if (mime !== image.mime) {
    throw new RowError(
      `Row '${id}': image bytes said to be ${image.mime} are ${mime ?? 'of no known format'}; allowed: PNG, JPEG, WebP, GIF with their own media type.`,
    )
  }
  return { bytes: image.bytes, path: null }
}

/**
 * Rows of a Parquet file, one row group in memory at a time. `id` and `source` default as for JSONL, with the row's number in
 * place of the line.
 * @throws {RowError} naming file, row and field.
 */
export async function* readParquet(path: string): AsyncGenerator<Row> {
  const file = await asyncBufferFromFile(path)
  const metadata = await parquetMetadataAsync(file)
  const source = basename(path, extname(path))
  let rowStart = 0
  for (const group of metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows)
    // utf8 off: plain byte columns stay bytes; columns declared as strings are decoded all the same.
    const rows = await parquetReadObjects({ file, metadata, compressors, rowStart, rowEnd, utf8: false })
    for (const [offset, row] of rows.entries()) {
      const number = rowStart + offset + 1
      yield parseRow(
        withParsedTags(row),
        `${path}: row ${number}`,
        { id: `${source}:${number}`, source },
        (image, where) => readImage(image, where, dirname(path)),
      )
    }
    rowStart = rowEnd
  }
}

/** Writers without a JSON column type store the tags as a plain string. */
function withParsedTags(row: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return typeof row['tags'] === 'string' ? { ...row, tags: JSON.parse(row['tags']) as unknown } : row
}

function readImage(image: unknown, where: string, folder: string): ImageRef {
  if (isRecord(image) && image['bytes'] instanceof Uint8Array) {
    const bytes = image['bytes'].slice()
    const mime = imageMime(bytes)
    if (mime === undefined)
      throw new RowError(`${where}: the bytes are of no known format; allowed: PNG, JPEG, WebP, GIF.`)
    return { kind: 'bytes', bytes, mime }
  }
  if (isRecord(image) && typeof image['path'] === 'string')
    return { kind: 'file', path: resolve(folder, image['path']) }
  throw new RowError(`${where} must be a struct with 'bytes' or 'path', not ${show(image)}.`)
}
