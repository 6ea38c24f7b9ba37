/**
 * Folders that are damaged, contradict themselves, or ask for what is not there: each is refused by name, before a buffer is
 * made for its weights. The kinds of damage inside one file's header are in `packages/tensor/src/io/safetensors.test.ts`.
 */
import { cp, mkdtemp, readFile, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDevice, readSafetensors, SafetensorsError, writeSafetensors, type Device } from '@revisual/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fixture } from '../../test/support.js'
import { ConfigError } from '../config/json.js'
import { loadModel } from './folder.js'

let device: Device
let scratch: string
beforeAll(async () => {
  device = await createDevice()
  scratch = await mkdtemp(join(tmpdir(), 'revisual-malformed-'))
})
afterAll(async () => {
  device.destroy()
  await rm(scratch, { recursive: true })
})

type Damage = (folder: string) => Promise<unknown>
type Json = Record<string, unknown>

const weights = (folder: string) => join(folder, 'model.safetensors')
const shard = (folder: string, k = 1) => join(folder, `model-0000${k}-of-00003.safetensors`)
const index = (folder: string) => join(folder, 'model.safetensors.index.json')

const editJson = async (path: string, change: (json: Json) => void) => {
  const json = JSON.parse(await readFile(path, 'utf8')) as Json
  change(json)
  await writeFile(path, JSON.stringify(json))
}

/** Changes the header of a safetensors file and nothing else. */
const editHeader = async (path: string, change: (header: string) => string) => {
  const bytes = await readFile(path)
  const end = 8 + Number(bytes.readBigUInt64LE(0))
  const header = Buffer.from(change(bytes.subarray(8, end).toString('utf8')))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.byteLength))
  await writeFile(path, Buffer.concat([length, header, bytes.subarray(end)]))
}
const editEntry = (path: string, name: string, change: (entry: Json) => void) =>
  editHeader(path, (header) => {
    const json = JSON.parse(header) as Record<string, Json>
    change(json[name] as Json)
    return JSON.stringify(json)
  })

/** Writes a file again with other tensors. */
const rewrite = async (
  path: string,
  change: (tensors: Awaited<ReturnType<typeof readSafetensors>>['tensors'] & Map<string, never>) => void,
) => {
  const { tensors } = await readSafetensors(path)
  const copy = new Map(tensors)
  change(copy as never)
  await writeSafetensors(path, copy)
}

const norm = 'model.norm.weight'

const single: [string, Damage, RegExp][] = [
  ['an empty file', (f) => truncate(weights(f), 0), /too few for a safetensors file/],
  ['a file cut in its header', (f) => truncate(weights(f), 500), /truncated or not safetensors/],
  ['a file cut in its data', (f) => truncate(weights(f), 300_000), /beyond the \d+ bytes of data.*truncated/],
  [
    'a file cut by its last byte',
    async (f) => truncate(weights(f), (await readFile(weights(f))).byteLength - 1),
    /truncated/,
  ],
  [
    'bytes behind the last tensor',
    async (f) => writeFile(weights(f), Buffer.concat([await readFile(weights(f)), Buffer.alloc(4)])),
    /4 bytes of data after offset \d+ belong to no tensor/,
  ],
  [
    'a header length of 2^63',
    async (f) => {
      const bytes = await readFile(weights(f))
      bytes.writeBigUInt64LE(2n ** 63n, 0)
      await writeFile(weights(f), bytes)
    },
    /claims 9223372036854775808 bytes/,
  ],
  [
    'a pickle under the name',
    (f) => writeFile(weights(f), Buffer.from('\x80\x04\x95' + 'x'.repeat(200), 'latin1')),
    /safetensors/,
  ],
  [
    'an offset of 2^53',
    (f) => editEntry(weights(f), norm, (e) => (e['data_offsets'] = [2 ** 53, 2 ** 53 + 256])),
    /data_offsets/,
  ],
  ['overlapping tensors', (f) => editEntry(weights(f), norm, (e) => (e['data_offsets'] = [0, 256])), /overlaps/],
  [
    'a tensor given twice',
    (f) =>
      editHeader(
        weights(f),
        (header) => `${header.trimEnd().slice(0, -1)},"${norm}":{"dtype":"F32","shape":[64],"data_offsets":[0,256]}}`,
      ),
    /'model\.norm\.weight' occurs twice/,
  ],
  [
    'a shape against its bytes',
    (f) => editEntry(weights(f), norm, (e) => (e['shape'] = [65])),
    /260 bytes; its data_offsets/,
  ],
  ['an unknown dtype', (f) => editEntry(weights(f), norm, (e) => (e['dtype'] = 'Q4_0')), /dtype "Q4_0"/],
  [
    'integers as weights',
    (f) => editEntry(weights(f), norm, (e) => (e['dtype'] = 'I32')),
    /model\.norm\.weight is I32; weights must be/,
  ],
  [
    '8-bit floats as weights',
    (f) =>
      rewrite(weights(f), (t) => t.set(norm, { dtype: 'F8_E4M3', shape: [64], data: new Uint8Array(64) } as never)),
    /is F8_E4M3; weights must be/,
  ],
  ['a missing tensor', (f) => rewrite(weights(f), (t) => t.delete(norm)), /1 of \d+ tensors are missing.*model\.norm/],
  [
    'another shape than the config says',
    (f) => rewrite(weights(f), (t) => t.set(norm, { dtype: 'F32', shape: [8, 8], data: new Uint8Array(256) } as never)),
    /shape \[8, 8\]; the config wants \[64\]/,
  ],
  [
    'both names of a parameter',
    (f) => rewrite(weights(f), (t) => t.set('model.language_model.norm.weight', t.get(norm) as never)),
    /two names of one parameter/,
  ],
  ['no weights', (f) => unlink(weights(f)), /neither model\.safetensors nor.*Pickled weights/],
  ['no config', (f) => unlink(join(f, 'config.json')), /config\.json is missing/],
  ['a config that is no JSON', (f) => writeFile(join(f, 'config.json'), '{"model_type":'), /not JSON/],
  [
    'a config of another size',
    (f) => editJson(join(f, 'config.json'), (json) => ((json['text_config'] as Json)['vocab_size'] = 65)),
    /the config wants \[65, 64\]/,
  ],
  [
    'a config of more layers',
    (f) =>
      editJson(join(f, 'config.json'), (json) => {
        const text = json['text_config'] as Json
        text['num_hidden_layers'] = 4
      }),
    /tensors are missing.*layers\.3/,
  ],
  [
    'quantised weights',
    (f) => editJson(join(f, 'config.json'), (json) => (json['quantization_config'] = { quant_method: 'gptq' })),
    /"gptq"/,
  ],
]

const sharded: [string, Damage, RegExp][] = [
  ['a missing shard', (f) => unlink(shard(f, 2)), /names model-00002-of-00003\.safetensors, which is not there/],
  ['a cut shard', (f) => truncate(shard(f, 3), 20_000), /truncated/],
  [
    'a shard that leads out of the folder',
    (f) => editJson(index(f), (json) => ((json['weight_map'] as Json)[norm] = '../other/x.safetensors')),
    /allowed are \.safetensors files of the same folder/,
  ],
  [
    'a shard under an absolute path',
    (f) => editJson(index(f), (json) => ((json['weight_map'] as Json)[norm] = '/etc/x.safetensors')),
    /allowed are \.safetensors files of the same folder/,
  ],
  [
    'a pickled shard',
    (f) => editJson(index(f), (json) => ((json['weight_map'] as Json)[norm] = 'pytorch_model.bin')),
    /allowed are \.safetensors/,
  ],
  [
    'an index that names a tensor no shard holds',
    (f) =>
      editJson(
        index(f),
        (json) => ((json['weight_map'] as Json)['model.more.weight'] = 'model-00001-of-00003.safetensors'),
      ),
    /places 'model\.more\.weight' in .*does not hold it/,
  ],
  [
    'an index that lacks a tensor',
    (f) =>
      editJson(index(f), (json) => {
        delete (json['weight_map'] as Json)[norm]
      }),
    /1 of \d+ tensors are missing/,
  ],
  [
    'a tensor in two shards',
    async (f) => {
      const { tensors } = await readSafetensors(shard(f, 1))
      const [name, tensor] = [...tensors][0] as [string, never]
      await rewrite(shard(f, 2), (t) => t.set(name, tensor))
    },
    /but model-00002-of-00003\.safetensors holds it/,
  ],
  ['half an index', async (f) => truncate(index(f), 100), /not valid JSON/],
  ['an index without a map', (f) => writeFile(index(f), '{}'), /'weight_map' must be an object/],
  ['a shard of another file', (f) => cp(shard(f, 1), shard(f, 2)), /model-00002-of-00003|holds it/],
]

describe.each([
  ['qwen2_5_vl-text', single],
  ['qwen2_5_vl-tied-bf16-sharded', sharded],
] as const)('a damaged copy of %s', (name, damages) => {
  it.each(damages)('is refused: %s', async (what, damage, message) => {
    const folder = join(scratch, `${name}-${what.replace(/\W/g, '')}`)
    await cp(fixture(`models/${name}`), folder, { recursive: true })
    await damage(folder)
    const { liveBytes, peakBytes, allocatedBytes } = device.memory
    const failure = loadModel(folder, device)
    await expect(failure).rejects.toThrow(message)
    const error: unknown = await failure.catch((reason: unknown) => reason)
    expect(error instanceof ConfigError || error instanceof SafetensorsError).toBe(true)
    const { memory } = device
    expect([memory.liveBytes, memory.peakBytes, memory.allocatedBytes]).toEqual([liveBytes, peakBytes, allocatedBytes])
  })
})

it('loads once nothing is damaged', async () => {
  const before = device.memory.liveBytes
  const model = await loadModel(fixture('models/qwen2_5_vl-text'), device)
  expect(device.memory.liveBytes).toBeGreaterThan(before)
  model.dispose()
})
