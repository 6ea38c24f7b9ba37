/** Against a server on this machine that speaks the hub's protocol, with the real `@huggingface/hub` in between. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { hubCacheFolder, hubToken, isOffline } from './hub-cache.js'
import { resolveModel } from './hub.js'

const commit = 'a'.repeat(40)
const weights = Buffer.alloc(3_000_000, 7)
const contents: Readonly<Record<string, Buffer>> = {
  'config.json': Buffer.from('{"model_type":"qwen2_5_vl"}'),
  'tokenizer.json': Buffer.from('{}'),
  'model.safetensors': weights,
  'modeling_evil.py': Buffer.from('print("never")'),
  'pytorch_model.bin': Buffer.from('never'),
}
const isLarge = (name: string) => name.endsWith('.safetensors')
const sha = (name: string, data: Buffer) =>
  isLarge(name)
    ? createHash('sha256').update(data).digest('hex')
    : createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex')

let server: Server
let endpoint: string
let directory: string
/** Requests seen: path, range, whether the token came along. */
let seen: { path: string; range: string | undefined; token: string | undefined }[]
let status: number
/** Bytes after which the connection breaks, once. */
let breakAfter: number | null
let corrupt: boolean

beforeAll(async () => {
  server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '', 'http://hub').pathname)
    const { range, authorization } = request.headers
    seen.push({ path, range, token: authorization })
    const json = (value: unknown) => response.setHeader('content-type', 'application/json').end(JSON.stringify(value))
    if (status !== 200) return response.writeHead(status).end('{"error":"no"}')
    if (path.startsWith('/api/models/org/tiny/revision/'))
      return json({ _id: '1', id: 'org/tiny', sha: commit, lastModified: '2026-01-01' })
    if (path === `/api/models/org/tiny/tree/${commit}`) {
      return json(
        Object.entries(contents).map(([name, data]) => ({
          type: 'file',
          path: name,
          size: data.length,
          oid: isLarge(name) ? 'b'.repeat(40) : sha(name, data),
          ...(isLarge(name) ? { lfs: { oid: sha(name, data), size: data.length, pointerSize: 130 } } : {}),
        })),
      )
    }
    const data = contents[path.replace(`/org/tiny/resolve/${commit}/`, '')]
    if (!data) return response.writeHead(404).end('{"error":"not found"}')
    const [from, to] = range
      ? (/bytes=(\d+)-(\d+)/.exec(range)?.slice(1).map(Number) as [number, number])
      : [0, data.length - 1]
    const part = corrupt ? Buffer.alloc(to - from + 1, 1) : data.subarray(from, to + 1)
    response.writeHead(range ? 206 : 200, {
      etag: '"x"',
      'content-length': part.length,
      ...(range ? { 'content-range': `bytes ${from}-${to}/${data.length}` } : {}),
    })
    if (breakAfter !== null && part.length > breakAfter) {
      response.write(part.subarray(0, breakAfter), () => setTimeout(() => response.destroy(), 50))
      breakAfter = null
      return undefined
    }
    return response.end(part)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => new Promise((resolve) => server.close(resolve)))
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'revisual-hub-'))
  ;[seen, status, breakAfter, corrupt] = [[], 200, null, false]
})
afterEach(() => rm(directory, { recursive: true }))

const options = () => ({ endpoint, env: { HF_HOME: directory, HF_TOKEN: 'hf_secret' } })
const cache = (...path: string[]) => join(directory, 'hub', 'models--org--tiny', ...path)

describe('resolveModel', () => {
  it('leaves folders alone', async () => {
    expect(await resolveModel(directory, options())).toBe(directory)
    expect(seen).toEqual([])
  })

  it('downloads what it needs into the layout the Python tools use', async () => {
    const progress: string[] = []
    const folder = await resolveModel('org/tiny', {
      ...options(),
      onProgress: ({ file, bytes, total }) => bytes === total && progress.push(file),
    })
    expect(folder).toBe(cache('snapshots', commit))
    expect(await readFile(cache('refs', 'main'), 'utf8')).toBe(commit)
    for (const name of ['config.json', 'tokenizer.json', 'model.safetensors']) {
      expect((await readFile(join(folder, name))).equals(contents[name] as Buffer)).toBe(true)
      expect(await readlink(join(folder, name))).toBe(join('..', '..', 'blobs', sha(name, contents[name] as Buffer)))
    }
    expect(existsSync(join(folder, 'modeling_evil.py'))).toBe(false)
    expect(existsSync(join(folder, 'pytorch_model.bin'))).toBe(false)
    expect(progress.sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json'])
    expect(seen.every(({ token }) => token === 'Bearer hf_secret')).toBe(true)
    seen = []
    await resolveModel('org/tiny@main', options())
    expect(seen.filter(({ path }) => path.includes('/resolve/'))).toEqual([])
  })

  it('goes on where a broken download stopped', async () => {
    breakAfter = 1_000_000
    await expect(resolveModel('org/tiny', options())).rejects.toThrow()
    const folder = await resolveModel('org/tiny', options())
    expect((await readFile(join(folder, 'model.safetensors'))).equals(weights)).toBe(true)
    const ranges = seen
      .filter(({ path, range }) => path.endsWith('.safetensors') && range !== 'bytes=0-0')
      .map(({ range }) => range)
    expect(ranges.at(-1)).toMatch(/^bytes=[1-9]\d*-2999999$/)
  })

  it('starts again from a torn rest, and keeps nothing with a wrong checksum', async () => {
    const blob = cache('blobs', sha('model.safetensors', weights))
    await mkdir(cache('blobs'), { recursive: true })
    await writeFile(`${blob}.incomplete`, Buffer.alloc(500, 9))
    await resolveModel('org/tiny', options())
    expect((await readFile(blob)).equals(weights)).toBe(true)
    await rm(directory, { recursive: true })
    await mkdir(directory)
    corrupt = true
    await expect(resolveModel('org/tiny', options())).rejects.toThrow(/wrong checksum/)
    expect(existsSync(`${blob}.incomplete`)).toBe(false)
  })

  it('uses the cache offline, and says what is missing', async () => {
    const env = { ...options().env, HF_HUB_OFFLINE: 'yes' }
    await expect(resolveModel('org/tiny', { endpoint, env })).rejects.toThrow(/not whole in the cache.*offline/)
    const folder = await resolveModel('org/tiny', options())
    seen = []
    expect(await resolveModel('org/tiny', { endpoint, env })).toBe(folder)
    expect(seen).toEqual([])
    expect(await resolveModel('org/tiny', { env: options().env, endpoint: 'http://127.0.0.1:9' })).toBe(folder)
  })

  it.each([
    [401, /refuses access/],
    [403, /refuses access/],
    [404, /no model org\/tiny/],
    [503, /answered 503/],
  ])('explains an answer of %d', async (code, message) => {
    status = code
    await expect(resolveModel('org/tiny', options())).rejects.toThrow(message)
  })

  it.each(['../secret', 'a/b/c', '/nowhere', 'org/..', 'org/name@../x', 'org/name@a@b', ''])(
    'refuses %j',
    async (source) => {
      await expect(resolveModel(source, options())).rejects.toThrow(/no folder|not a revision/)
      expect(seen).toEqual([])
    },
  )
})

describe('the environment', () => {
  it('says where the cache is, who asks, and whether to ask', async () => {
    expect(hubCacheFolder({ HF_HUB_CACHE: '/c', HF_HOME: '/h' })).toBe('/c')
    expect(hubCacheFolder({ HF_HOME: '/h', XDG_CACHE_HOME: '/x' })).toBe(join('/h', 'hub'))
    expect(hubCacheFolder({ XDG_CACHE_HOME: '/x' })).toBe(join('/x', 'huggingface', 'hub'))
    expect([isOffline({ HF_HUB_OFFLINE: 'on' }), isOffline({ HF_HUB_OFFLINE: '0' }), isOffline({})]).toEqual([
      true,
      false,
      false,
    ])
    await writeFile(join(directory, 'token'), 'hf_login\n')
    expect(await hubToken({ HF_HOME: directory })).toBe('hf_login')
    expect(await hubToken({ HF_HOME: directory, HF_TOKEN: 'hf_env' })).toBe('hf_env')
    expect(await hubToken({ HF_HOME: join(directory, 'none') })).toBeUndefined()
  })
})
