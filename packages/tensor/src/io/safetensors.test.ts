import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toFloat32 } from './dtypes.js'
import { SafetensorsError } from './errors.js'
import { readSafetensors, SafetensorsFile, writeSafetensors, type SafetensorsInput } from './safetensors.js'
import { SafetensorsFolder } from './sharded.js'

const fixture = new URL('../../test/fixtures/mixed.safetensors', import.meta.url).pathname

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'safetensors-'))
})
afterAll(() => rm(folder, { recursive: true }))

function file(
  header: string,
  data: Uint8Array = new Uint8Array(),
  length = new TextEncoder().encode(header).byteLength,
) {
  const text = new TextEncoder().encode(header)
  const bytes = new Uint8Array(8 + text.byteLength + data.byteLength)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true)
  bytes.set(text, 8)
  bytes.set(data, 8 + text.byteLength)
  return bytes
}

describe('reading', () => {
  const expected: Record<string, { shape: number[]; values: number[] }> = {
    weight: { shape: [2, 3], values: [0.5, -1.25, Math.fround(3e-5), Math.fround(1e30), -0, 7] },
    half: { shape: [5], values: [1, -2.5, 65504, 2 ** -24, 0.0999755859375] },
    brain: { shape: [2, 2], values: [1, -3, 0.15625, 2 ** 100] },
    double: { shape: [2], values: [Math.fround(0.1), -Infinity] },
    ids: { shape: [3], values: [-1, 151935, 2 ** 40] },
    mask: { shape: [3], values: [1, 0, 1] },
    tiny: { shape: [2], values: [-128, 127] },
    scalar: { shape: [], values: [42] },
    empty: { shape: [0, 4], values: [] },
    'emb/é': { shape: [1], values: [65535] },
  }

  test.each([
    ['a path', () => Promise.resolve(fixture)],
    ['bytes', () => readFile(fixture)],
  ])('reads what the reference library wrote, from %s', async (_, source) => {
    const { tensors, metadata } = await readSafetensors(await source())
    expect(metadata).toEqual({ format: 'pt', note: 'a "quoted" note' })
    expect([...tensors.keys()].sort()).toEqual(Object.keys(expected).sort())
    for (const [name, tensor] of tensors) {
      expect(tensor.shape, name).toEqual(expected[name]?.shape)
      expect([...toFloat32(tensor)], name).toEqual(expected[name]?.values)
    }
  })

  test('loads single tensors by name and names those it has when one is missing', async () => {
    await using open = await SafetensorsFile.open(fixture)
    expect([...(await open.loadFloat32('scalar'))]).toEqual([42])
    const row = await open.loadRows('weight', 1, 2)
    expect([row.shape, ...toFloat32(row)]).toEqual([[1, 3], Math.fround(1e30), -0, 7])
    await expect(open.loadRows('weight', 1, 3)).rejects.toThrow(/'weight' has 2 rows; 1 to 3/)
    await expect(open.load('wieght')).rejects.toThrow(/no tensor 'wieght' among 10/)
  })

  test('converts unaligned data', () => {
    const data = new Uint8Array([9, 0, 0, 128, 63]).subarray(1)
    expect([...toFloat32({ dtype: 'F32', shape: [1], data })]).toEqual([1])
  })

  const one = (fields: string) => `{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]${fields}}}`
  const eight = new Uint8Array(8)
  test.each<[string, Uint8Array, RegExp]>([
    ['too short', new Uint8Array(5), /at least 8/],
    ['length beyond the file', file(one(''), eight, 500), /truncated or not safetensors/],
    ['length beyond the limit', file(one(''), eight, 200_000_000), /at most 100000000/],
    [
      'length of 2^64 − 1',
      Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 123, 125),
      /claims 18446744073709551615/,
    ],
    ['no header', file('', eight), /must start with '\{'/],
    [
      'offsets beyond 2^53',
      file('{"w":{"dtype":"F32","shape":[2],"data_offsets":[9007199254740993,9007199254741001]}}', eight),
      /'w' has data_offsets/,
    ],
    [
      'dimension beyond 2^53',
      file('{"w":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,8]}}', eight),
      /'w' has shape/,
    ],
    [
      'duplicate tensor behind white space',
      file(
        `{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w"${' '.repeat(200)}:{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`,
      ),
      /'w' occurs twice/,
    ],
    ['a tensor that is no object', file('{"w":[0,8]}', eight), /'w' must be described by an object/],
    [
      'part of a byte',
      file('{"w":{"dtype":"F4","shape":[3],"data_offsets":[0,8]}}', eight),
      /not a whole number of bytes/,
    ],
    ['not JSON', file('{"w":', eight), /not valid JSON/],
    ['not an object', file('[1,2]', eight), /must start with '\{'/],
    ['leading space', file(` ${one('')}`, eight), /must start with '\{'/],
    [
      'duplicate tensor',
      file(
        '{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0077":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
      ),
      /'w' occurs twice/,
    ],
    ['duplicate field', file(one(',"shape":[2]'), eight), /'shape' occurs twice/],
    ['unknown dtype', file('{"w":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}', eight), /'w' has dtype "F31"/],
    [
      'negative dimension',
      file('{"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', eight),
      /'w' has shape \[-2\]/,
    ],
    ['fractional dimension', file('{"w":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}', eight), /'w' has shape/],
    [
      'shape against offsets',
      file('{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}', eight),
      /12 bytes; its data_offsets \[0, 8\) hold 8/,
    ],
    [
      'overflowing shape',
      file('{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}', eight),
      /'w' is F32/,
    ],
    ['offsets reversed', file('{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}', eight), /0 ≤ begin ≤ end/],
    ['three offsets', file('{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}', eight), /0 ≤ begin ≤ end/],
    ['beyond the end', file(one(''), new Uint8Array(4)), /beyond the 4 bytes/],
    ['hole at the start', file('{"w":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}', eight), /leaves a hole/],
    [
      'hole at the end',
      file('{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', eight),
      /4 bytes of data after offset 4/,
    ],
    [
      'overlap',
      file(
        '{"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}',
        eight,
      ),
      /'b'.*overlaps/,
    ],
    ['metadata not strings', file('{"__metadata__":{"n":1}}'), /__metadata__ 'n' is number/],
  ])('refuses: %s', async (_, bytes, message) => {
    const failure = readSafetensors(bytes)
    await expect(failure).rejects.toThrow(message)
    await expect(failure).rejects.toBeInstanceOf(SafetensorsError)
  })

  test('invalid UTF-8 in a name is refused', async () => {
    const bytes = file('{"w?":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}')
    bytes[bytes.indexOf(0x3f)] = 0xff
    await expect(readSafetensors(bytes)).rejects.toThrow(/not valid JSON in UTF-8/)
  })

  test('random damage to a header never passes as another file', async () => {
    const good = await readFile(fixture)
    await fc.assert(
      fc.asyncProperty(fc.nat(655), fc.integer({ min: 0, max: 255 }), async (at, byte) => {
        const bytes = new Uint8Array(good)
        bytes[at] = byte
        try {
          const { tensors } = await readSafetensors(bytes)
          let total = 0
          for (const { data } of tensors.values()) total += data.byteLength
          expect(total).toBe(93)
        } catch (error) {
          expect(error).toBeInstanceOf(SafetensorsError)
        }
      }),
      { numRuns: 300 },
    )
  })
})

describe('writing', () => {
  test('gives the bytes the reference library gives', async () => {
    const { tensors } = await readSafetensors(fixture)
    const path = join(folder, 'same.safetensors')
    await writeSafetensors(path, tensors, { note: 'a "quoted" note', format: 'pt' })
    expect(await readFile(path)).toEqual(await readFile(fixture))
  })

  test('reads back what it wrote, typed arrays and functions alike', async () => {
    const path = join(folder, 'back.safetensors')
    const tensors = new Map<string, SafetensorsInput>([
      ['a', { dtype: 'U8', shape: [3], data: new Uint8Array([1, 2, 3]) }],
      ['__proto__', { dtype: 'F32', shape: [2, 1], data: async () => new Float32Array([0.5, -0.5]) }],
    ])
    await writeSafetensors(path, tensors)
    const back = await readSafetensors(path)
    expect(back.metadata).toEqual({ format: 'pt' })
    expect([...back.tensors.keys()]).toEqual(['__proto__', 'a'])
    const weight = back.tensors.get('__proto__')
    expect(weight && [...toFloat32(weight)]).toEqual([0.5, -0.5])
    expect((await readFile(path)).readUInt32LE(0) % 8).toBe(0)
  })

  test('a failed write leaves the old file and nothing else', async () => {
    const own = await mkdtemp(join(folder, 'failed-'))
    const path = join(own, 'weights.safetensors')
    const good = new Map<string, SafetensorsInput>([['a', { dtype: 'F32', shape: [1], data: new Float32Array([1]) }]])
    const bad = new Map<string, SafetensorsInput>([['a', { dtype: 'F32', shape: [2], data: new Float32Array([1]) }]])
    await writeSafetensors(path, good)
    const before = await readFile(path)
    await expect(writeSafetensors(path, bad)).rejects.toThrow(/'a' is F32\[2\], 8 bytes; its data have 4/)
    expect(await readdir(own)).toEqual(['weights.safetensors'])
    expect(await readFile(path)).toEqual(before)
  })
})

describe('folders of shards', () => {
  const write = (path: string, name: string, value: number) =>
    writeSafetensors(path, new Map([[name, { dtype: 'F32', shape: [1], data: new Float32Array([value]) }]]))

  test('an index makes shards look like one file', async () => {
    const own = await mkdtemp(join(folder, 'shards-'))
    await write(join(own, 'model-00001-of-00002.safetensors'), 'a', 1)
    await write(join(own, 'model-00002-of-00002.safetensors'), 'b', 2)
    const weight_map = { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' }
    await writeFile(join(own, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map }))
    await using weights = await SafetensorsFolder.open(own)
    expect([...weights.entries.keys()].sort()).toEqual(['a', 'b'])
    expect([...(await weights.loadFloat32('b'))]).toEqual([2])
    await expect(weights.load('c')).rejects.toThrow(/no tensor 'c'/)
  })

  test('one file needs no index', async () => {
    const own = await mkdtemp(join(folder, 'single-'))
    await write(join(own, 'model.safetensors'), 'a', 3)
    await using weights = await SafetensorsFolder.open(own)
    expect([...(await weights.loadFloat32('a'))]).toEqual([3])
  })

  test.each<[string, string, RegExp]>([
    ['a missing shard', '{"weight_map":{"a":"gone.safetensors"}}', /names gone\.safetensors, which is not there/],
    [
      'a path out of the folder',
      '{"weight_map":{"a":"../x.safetensors"}}',
      /allowed are \.safetensors files of the same/,
    ],
    ['a path of Windows', '{"weight_map":{"a":"..\\\\x.safetensors"}}', /allowed are \.safetensors files of the same/],
    ['a pickled shard', '{"weight_map":{"a":"pytorch_model.bin"}}', /allowed are \.safetensors files of the same/],
    [
      'a tensor its shard lacks',
      '{"weight_map":{"z":"here.safetensors"}}',
      /places 'z' in here\.safetensors, which does/,
    ],
    ['a tensor in two places', '{"weight_map":{"a":"here.safetensors","a":"there.safetensors"}}', /'a' occurs twice/],
    [
      'a tensor in another shard',
      '{"weight_map":{"a":"there.safetensors","b":"here.safetensors"}}',
      /places 'a' in there\.safetensors, but here\.safetensors holds it/,
    ],
    ['no map', '{"metadata":{}}', /'weight_map' must be an object/],
    ['a list as map', '{"weight_map":["here.safetensors"]}', /'weight_map' must be an object/],
    ['an empty map', '{"weight_map":{}}', /'weight_map' is empty/],
    ['half an index', '{"weight_map":{"a":', /not valid JSON/],
    ['a shard that is a folder', '{"weight_map":{"a":"folder.safetensors"}}', /folder\.safetensors is not a file/],
  ])('refuses %s', async (_, index, message) => {
    const own = await mkdtemp(join(folder, 'refused-'))
    await write(join(own, 'here.safetensors'), 'a', 1)
    await write(join(own, 'there.safetensors'), 'b', 1)
    await mkdir(join(own, 'folder.safetensors'))
    await writeFile(join(own, 'model.safetensors.index.json'), index)
    await expect(SafetensorsFolder.open(own)).rejects.toThrow(message)
    await expect(SafetensorsFolder.open(own)).rejects.toBeInstanceOf(SafetensorsError)
  })

  test('a folder without weights says what is looked for', async () => {
    const own = await mkdtemp(join(folder, 'none-'))
    await expect(SafetensorsFolder.open(own)).rejects.toThrow(
      /neither model\.safetensors nor model\.safetensors\.index\.json/,
    )
  })
})
