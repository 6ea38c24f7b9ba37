/**
 * From a name to a folder: a local folder as it is, or a model of the Hugging Face hub, from the cache or downloaded into
 * it. Only configuration, tokenizer and safetensors files are fetched, never code and never pickles. A download that broke
 * off goes on where it stopped; a file gets its name only when its checksum is right.
 */
import { createHash, type Hash } from 'node:crypto'
import { createReadStream, createWriteStream, existsSync } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { downloadFile, HubApiError, listFiles, modelInfo, type ListFileEntry } from '@huggingface/hub'
import { ConfigError } from '../config/json.js'
import { CachedRepository, hubCacheFolder, hubToken, isOffline, type HubEnvironment } from './hub-cache.js'

export interface DownloadProgress {
  readonly file: string
  /** Bytes of the file that are there. */
  readonly bytes: number
  readonly total: number
}

export interface ResolveModelOptions {
  /** Branch, tag or commit. Default `main`; `org/name@revision` says the same. */
  readonly revision?: string
  /** Default: as `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME` say. */
  readonly cacheFolder?: string
  /** Only `config.json` and `adapter_config.json`: enough to plan a model, without its weights. */
  readonly configOnly?: boolean
  /** Only the cache. Default: as `HF_HUB_OFFLINE` says. */
  readonly offline?: boolean
  /** Default: `HF_TOKEN`, or what a login wrote. Sent to the hub alone. */
  readonly token?: string
  /** Default `HF_ENDPOINT`, else `https://huggingface.co`. */
  readonly endpoint?: string
  readonly onProgress?: (progress: DownloadProgress) => void
  readonly signal?: AbortSignal
  /** Default `process.env`. */
  readonly env?: HubEnvironment
}

/** Names and adapters, weights with their index, tokenizers, processors and templates. */
const wanted =
  /^(config|generation_config|adapter_config|tokenizer|tokenizer_config|vocab|special_tokens_map|added_tokens|preprocessor_config|video_preprocessor_config|processor_config|chat_template|model\.safetensors\.index)\.json$|^merges\.txt$|^chat_template\.jinja$|^(model|adapter_model)(-\d{5}-of-\d{5})?\.safetensors$/

const configs = /^(config|adapter_config)\.json$/

const idPattern = /^[A-Za-z0-9][\w.-]{0,95}(\/[A-Za-z0-9][\w.-]{0,95})?$/
const revisionPattern = /^[A-Za-z0-9][\w./-]{0,199}$/

/**
 * The folder of a model.
 *
 * @param source A folder, or `org/name`, or `org/name@revision`.
 * @throws {ConfigError} neither a folder nor a model of the hub; offline and not in the cache; a checksum that is wrong.
 */
export async function resolveModel(source: string, options: ResolveModelOptions = {}): Promise<string> {
  if (existsSync(source)) return resolve(source)
  const [id = '', named, ...rest] = source.split('@')
  const revision = options.revision ?? named ?? 'main'
  if (!idPattern.test(id) || id.includes('..') || rest.length > 0) {
    throw new ConfigError(`There is no folder ${source}, and it is not the name of a model on the hub (org/name).`)
  }
  if (!revisionPattern.test(revision) || revision.includes('..')) {
    throw new ConfigError(`${source}: '${revision}' is not a revision; allowed: a branch, a tag or a commit.`)
  }
  const env = options.env ?? process.env
  const cacheFolder = options.cacheFolder ?? hubCacheFolder(env)
  const repository = new CachedRepository(cacheFolder, id)
  const usable = options.configOnly ? hasConfig : isUsable
  if (options.offline ?? isOffline(env))
    return cached(repository, id, revision, usable, `this is offline (HF_HUB_OFFLINE)`)
  const token = options.token ?? (await hubToken(env))
  const endpoint = (options.endpoint ?? env['HF_ENDPOINT'] ?? 'https://huggingface.co').replace(/\/+$/, '')
  const hub: Hub = {
    endpoint,
    token,
    signal: options.signal,
    fetch: hubFetch(endpoint, options.signal),
    files: options.configOnly ? configs : wanted,
    usable,
  }
  try {
    return await download(repository, id, revision, hub, options.onProgress)
  } catch (error) {
    if (options.signal?.aborted) throw error
    if (isUnreachable(error))
      return cached(repository, id, revision, usable, `${endpoint} cannot be reached (${reason(error)})`)
    throw explain(error, id, revision, token !== undefined)
  }
}

interface Hub {
  readonly endpoint: string
  readonly token: string | undefined
  readonly signal: AbortSignal | undefined
  readonly fetch: typeof fetch
  /** Files that are fetched, and whether those of a snapshot are enough. */
  readonly files: RegExp
  readonly usable: (files: ReadonlySet<string>) => boolean
}

const reason = (error: unknown) => {
  const cause = (error as { cause?: unknown }).cause
  return cause instanceof Error ? cause.message : String((error as Error).message)
}

/** fetch fails with a TypeError when no answer came; an answer that says no is a HubApiError. */
const isUnreachable = (error: unknown) => error instanceof TypeError && !(error instanceof HubApiError)

function explain(error: unknown, id: string, revision: string, withToken: boolean): unknown {
  if (!(error instanceof HubApiError)) return error
  const { statusCode } = error
  if (statusCode === 401 || statusCode === 403) {
    const advice = withToken
      ? 'Ask for access on its page, or use another token.'
      : 'Set HF_TOKEN if it is private or gated.'
    return new ConfigError(`${id}: the hub refuses access (${statusCode}). ${advice}`, { cause: error })
  }
  if (statusCode === 404) {
    return new ConfigError(`There is no folder ${id}, and no model ${id} with revision ${revision} on the hub.`, {
      cause: error,
    })
  }
  return new ConfigError(`${id}: the hub answered ${statusCode} (${error.message}). Try again later.`, { cause: error })
}

/** A fetch that shows the token to the hub alone, whatever host a file turns out to lie on. */
function hubFetch(endpoint: string, signal: AbortSignal | undefined): typeof fetch {
  const { origin } = new URL(endpoint)
  return async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input)
    const headers = new Headers(init.headers)
    if (url.origin !== origin) headers.delete('authorization')
    return fetch(url, { ...init, headers, ...(signal ? { signal } : {}) })
  }
}

const hasConfig = (files: ReadonlySet<string>) => files.has('config.json') || files.has('adapter_config.json')

/** Whether a snapshot can be loaded: its weights, with all shards of an index. */
function isUsable(files: ReadonlySet<string>): boolean {
  if (files.has('adapter_config.json')) return files.has('adapter_model.safetensors')
  const shards = [...files].filter((file) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(file))
  const total = Number(shards[0]?.slice('model-00000-of-'.length, 'model-00000-of-00000'.length) ?? NaN)
  return files.has('config.json') && (files.has('model.safetensors') || shards.length === total)
}

async function cached(
  repository: CachedRepository,
  id: string,
  revision: string,
  usable: Hub['usable'],
  why: string,
): Promise<string> {
  const commit = await repository.commit(revision)
  if (commit && usable(await repository.files(commit))) return repository.snapshot(commit)
  throw new ConfigError(
    `There is no folder ${id}, and the model ${id}@${revision} is not whole in the cache (${repository.snapshot(commit ?? '')}), and ${why}. ` +
      `Download it where there is a network, or give a folder.`,
  )
}

async function download(
  repository: CachedRepository,
  id: string,
  revision: string,
  hub: Hub,
  onProgress: ResolveModelOptions['onProgress'],
): Promise<string> {
  const access = { hubUrl: hub.endpoint, fetch: hub.fetch, ...(hub.token ? { accessToken: hub.token } : {}) }
  const { sha: commit = '' } = await modelInfo({ name: id, revision, additionalFields: ['sha'], ...access })
  if (!/^[0-9a-f]{40}$/.test(commit)) throw new ConfigError(`${id}: the hub named no commit for ${revision}.`)
  const there = await repository.files(commit)
  for await (const entry of listFiles({ repo: { type: 'model', name: id }, revision: commit, ...access })) {
    if (entry.type !== 'file' || !hub.files.test(entry.path) || there.has(entry.path)) continue
    const etag = entry.lfs?.oid ?? entry.oid ?? ''
    if (!/^[0-9a-f]{40,64}$/.test(etag)) throw new ConfigError(`${id}: ${entry.path} has no checksum on the hub.`)
    if (!(await repository.hasBlob(etag))) {
      const open = () =>
        downloadFile({ repo: { type: 'model', name: id }, path: entry.path, revision: commit, xet: false, ...access })
      await downloadBlob(repository, id, entry, etag, open, hub.signal, onProgress)
    }
    await repository.place(commit, entry.path, etag)
  }
  await repository.remember(revision, commit)
  if (!hub.usable(await repository.files(commit))) {
    throw new ConfigError(
      `${id}@${revision} has no config.json with safetensors weights. Pickled weights (.bin, .pt) are not read.`,
    )
  }
  return repository.snapshot(commit)
}

async function downloadBlob(
  repository: CachedRepository,
  id: string,
  entry: ListFileEntry,
  etag: string,
  open: () => Promise<Blob | null>,
  signal: AbortSignal | undefined,
  onProgress: ResolveModelOptions['onProgress'],
): Promise<void> {
  const path = await repository.incomplete(etag)
  const total = entry.lfs?.size ?? entry.size
  // A second round from nothing: what an earlier process left may be of another file, or torn.
  for (const attempt of ['resume', 'afresh'] as const) {
    if (attempt === 'afresh') await rm(path, { force: true })
    let bytes = await stat(path).then(
      ({ size }) => size,
      () => 0,
    )
    if (bytes > total) continue
    if (bytes < total) {
      const blob = await open()
      if (!blob) throw new ConfigError(`${id}: ${entry.path} is listed but not there.`)
      const source = Readable.fromWeb(blob.slice(bytes, total).stream())
      source.on('data', (chunk: Uint8Array) =>
        onProgress?.({ file: entry.path, bytes: (bytes += chunk.byteLength), total }),
      )
      await pipeline(source, createWriteStream(path, { flags: 'a' }), { ...(signal ? { signal } : {}) })
    }
    if ((await digest(path, total, entry.lfs !== undefined)) === etag) return repository.complete(etag)
  }
  await rm(path, { force: true })
  throw new ConfigError(`${id}: ${entry.path} came with a wrong checksum twice. Nothing of it was kept; try again.`)
}

/** SHA-256 of a large file, or git's SHA-1 of a small one: what the hub calls files by. */
async function digest(path: string, size: number, large: boolean): Promise<string> {
  const hash: Hash = large ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`)
  if (size > 0) for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array)
  return hash.digest('hex')
}
