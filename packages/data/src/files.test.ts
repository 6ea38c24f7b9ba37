import fc from 'fast-check'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parquetMetadataAsync, parquetReadObjects, asyncBufferFromFile } from 'hyparquet'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { digitsStream } from './digits/rows.js'
import { imageBytes } from './images.js'
import { readJsonl, writeJsonl } from './jsonl.js'
import { loadRows } from './load.js'
import { readParquet, writeParquet } from './parquet.js'
import type { ImageRef, Row } from './types.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'revisual-data-'))
})
afterAll(() => rm(folder, { recursive: true }))

const magic = {
  'image/png': [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a],
  'image/jpeg': [0xff, 0xd8, 0xff],
  'image/webp': [...Buffer.from('RIFF....WEBP')],
  'image/gif': [...Buffer.from('GIF89a')],
}

const image: fc.Arbitrary<ImageRef> = fc.oneof(
  fc
    .tuple(fc.constantFrom(...(Object.keys(magic) as (keyof typeof magic)[])), fc.uint8Array({ maxLength: 40 }))
    .map(([mime, rest]) => ({ kind: 'bytes' as const, mime, bytes: Uint8Array.from([...magic[mime], ...rest]) })),
  fc
    .constantFrom('a.png', 'deep/er/b ü.jpg', '../c.webp')
    .map((path) => ({ kind: 'file' as const, path: resolve(tmpdir(), 'revisual-data', path) })),
)

const text = fc.string({ unit: 'grapheme', maxLength: 20 })

const row: fc.Arbitrary<Row> = fc.record(
  {
    id: text,
    question: text,
    images: fc.array(image, { maxLength: 3 }),
    answer: text,
    solution: text,
    source: text,
    tags: fc.dictionary(
      fc.string({ minLength: 1, maxLength: 5 }).filter((tag) => tag !== '__proto__'),
      fc.oneof(
        fc.string({ maxLength: 8 }),
        fc.boolean(),
        fc.integer(),
        fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => x || 0),
      ),
      { noNullPrototype: true },
    ),
  },
  { requiredKeys: ['id', 'question', 'images', 'answer', 'source', 'tags'], noNullPrototype: true },
)

async function collect(rows: AsyncIterable<Row>): Promise<Row[]> {
  const all: Row[] = []
  for await (const each of rows) all.push(each)
  return all
}

describe('round trips', () => {
  it('keeps any rows in JSONL', async () => {
    const path = join(folder, 'any.jsonl')
    await fc.assert(
      fc.asyncProperty(fc.array(row, { maxLength: 6 }), async (rows) => {
        await writeJsonl(path, rows)
        expect(await loadRows(path)).toEqual(rows)
      }),
      { numRuns: 50 },
    )
  })

  it('keeps any rows in Parquet, whatever the row groups', async () => {
    const path = join(folder, 'any.parquet')
    await fc.assert(
      fc.asyncProperty(fc.array(row, { maxLength: 6 }), fc.integer({ min: 1, max: 7 }), async (rows, rowGroupSize) => {
        await writeParquet(path, rows, { rowGroupSize })
        expect(await loadRows(path)).toEqual(rows)
      }),
      { numRuns: 50 },
    )
  })

  it('keeps real images, through both formats, and leaves no temporary files', async () => {
    const rows = await digitsStream({ split: 'train', modality: 'image', seed: 1 }).next(5)
    const jsonl = join(folder, 'digits.jsonl')
    const parquet = join(folder, 'digits.parquet')
    await writeJsonl(jsonl, rows)
    await writeParquet(parquet, readJsonl(jsonl), { codec: 'UNCOMPRESSED' })
    expect(await collect(readParquet(parquet))).toEqual(rows)
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })
})

describe('JSONL', () => {
  const write = async (content: string) => {
    const path = join(folder, 'hand.jsonl')
    await writeFile(path, content)
    return path
  }

  it('reads what a person writes: question and answer are enough', async () => {
    const path = await write(
      '\uFEFF{"question":"2+2?","answer":"4"}\r\n\r\n{"question":"q","answer":"a","images":[{"path":"img/1.png"}],"tags":{"level":2}}',
    )
    expect(await loadRows(path)).toEqual([
      { id: 'hand:1', question: '2+2?', images: [], answer: '4', source: 'hand', tags: {} },
      {
        id: 'hand:3',
        question: 'q',
        images: [{ kind: 'file', path: join(folder, 'img/1.png') }],
        answer: 'a',
        source: 'hand',
        tags: { level: 2 },
      },
    ])
  })

  it.each([
    ['{"question":"q","answer":"a"}\n{oops', /hand\.jsonl:2: not JSON/],
    ['[1]', /hand\.jsonl:1: a row must be an object, not \[1\]/],
    ['{"question":"q"}', /'answer' must be a string, not nothing/],
    ['{"question":1,"answer":"a"}', /'question' must be a string, not 1/],
    ['{"question":"q","answer":"a","solutoin":"s"}', /unknown field 'solutoin'; allowed: id, question/],
    ['{"question":"q","answer":"a","images":{}}', /'images' must be a list/],
    ['{"question":"q","answer":"a","images":["x.png"]}', /images\[0\] must be \{ "path"/],
    ['{"question":"q","answer":"a","images":[{"bytes":"AAAA"}]}', /images\[0\]: the bytes are not PNG/],
    [
      '{"question":"q","answer":"a","tags":{"t":[1]}}',
      /tag 't' must be a string, a finite number or a boolean, not \[1\]/,
    ],
  ])('refuses %s', async (content, message) => {
    await expect(loadRows(await write(content))).rejects.toThrow(message)
  })

  it('says which file is missing', async () => {
    await expect(loadRows(join(folder, 'none.jsonl'))).rejects.toThrow(/none\.jsonl/)
    await expect(imageBytes({ kind: 'file', path: join(folder, 'none.png') })).rejects.toThrow(
      /Cannot read the image '.*none\.png'/,
    )
    await expect(loadRows('rows.csv')).rejects.toThrow(/'rows\.csv'; allowed: \.jsonl, \.parquet/)
  })

  it('leaves an existing file alone when writing fails', async () => {
    const path = await write('{"question":"q","answer":"a"}')
    async function* broken(): AsyncGenerator<Row> {
      yield* await loadRows(path)
      throw new Error('source failed')
    }
    await expect(writeJsonl(path, broken())).rejects.toThrow('source failed')
    expect(await readFile(path, 'utf8')).toBe('{"question":"q","answer":"a"}')
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })
})

describe('Parquet', () => {
  it('reads a file of DuckDB with zstd', async () => {
    const path = fileURLToPath(new URL('../test/fixtures/duckdb-zstd.parquet', import.meta.url))
    const rows = await loadRows(path)
    const bytes = await imageBytes(rows[0]!.images[0]!)
    expect([...(await sharp(bytes).toColourspace('b-w').raw().toBuffer())]).toEqual([0, 255, 255, 0])
    expect(rows).toEqual([
      {
        id: 'a',
        question: 'What is the sum?',
        images: [{ kind: 'bytes', bytes, mime: 'image/png' }],
        answer: '8',
        solution: '<think>3 + 5 = 8</think>\\boxed{8}',
        source: 'fixture',
        tags: { task: 'add', level: 1 },
      },
      {
        id: 'b',
        question: 'ΔABC: area?',
        images: [{ kind: 'file', path: fileURLToPath(new URL('../test/fixtures/images/b.png', import.meta.url)) }],
        answer: '½',
        source: 'fixture',
        tags: {},
      },
      { id: 'c', question: 'No image.', images: [], answer: '3', source: 'fixture', tags: { easy: true } },
    ])
  })

  it('writes images as list<struct<bytes, path>>, strings as strings, in the row groups asked for', async () => {
    const path = join(folder, 'layout.parquet')
    const rows = await digitsStream({ split: 'train', modality: 'image', seed: 2 }).next(5)
    await writeParquet(path, rows, { rowGroupSize: 2 })
    const file = await asyncBufferFromFile(path)
    const metadata = await parquetMetadataAsync(file)
    expect(metadata.row_groups.map((group) => Number(group.num_rows))).toEqual([2, 2, 1])
    const plain = await parquetReadObjects({ file, utf8: false })
    expect(plain[4]).toMatchObject({ id: rows[4]!.id, tags: rows[4]!.tags })
    expect(plain[4]!['images']).toEqual([{ bytes: await imageBytes(rows[4]!.images[0]!), path: null }])
  })

  it('refuses image bytes it could not give back, and names row and field on reading', async () => {
    const path = join(folder, 'bad.parquet')
    const base: Row = { id: 'x', question: 'q', images: [], answer: 'a', source: 's', tags: {} }
    const odd: Row = { ...base, images: [{ kind: 'bytes', bytes: new Uint8Array([1, 2]), mime: 'image/png' }] }
    await expect(writeParquet(path, [odd])).rejects.toThrow(
      /Row 'x': image bytes said to be image\/png are of no known format/,
    )
    await writeParquet(path, [base, { ...base, tags: { t: [1] as never } }])
    await expect(loadRows(path)).rejects.toThrow(/bad\.parquet: row 2: tag 't'/)
  })
})
