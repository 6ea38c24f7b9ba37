/**
 * The cache of the Hugging Face hub on disk, shared with Python: `models--org--name/` with `refs/<branch>` (a commit),
 * `blobs/<etag>` and `snapshots/<commit>/<file>`, links into the blobs. Source: huggingface_hub
 * `docs/source/en/guides/manage-cache.md`, `package_reference/environment_variables.md`.
 */
import { copyFile, mkdir, readdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, relative } from 'node:path'

/** The environment variables that matter. */
export type HubEnvironment = Readonly<Record<string, string | undefined>>

/** Where the hub's tools keep everything. */
function hubHome(env: HubEnvironment): string {
  return env['HF_HOME'] ?? join(env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'huggingface')
}

/** `$HF_HUB_CACHE`, `$HUGGINGFACE_HUB_CACHE`, `$HF_HOME/hub`, `$XDG_CACHE_HOME/huggingface/hub`, `~/.cache/huggingface/hub`. */
export function hubCacheFolder(env: HubEnvironment): string {
  return env['HF_HUB_CACHE'] ?? env['HUGGINGFACE_HUB_CACHE'] ?? join(hubHome(env), 'hub')
}

/** `HF_HUB_OFFLINE` as the Python tools read it. */
export function isOffline(env: HubEnvironment): boolean {
  return ['1', 'ON', 'YES', 'TRUE'].includes((env['HF_HUB_OFFLINE'] ?? '').toUpperCase())
}

/** `$HF_TOKEN`, else the file a login wrote. */
export async function hubToken(env: HubEnvironment): Promise<string | undefined> {
  const token = env['HF_TOKEN']?.trim()
  if (token) return token
  const path = env['HF_TOKEN_PATH'] ?? join(hubHome(env), 'token')
  const written = await readFile(path, 'utf8').catch(() => '')
  return written.trim() || undefined
}

const isCommit = (revision: string) => /^[0-9a-f]{40}$/.test(revision)

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  )

/** The part of the cache that belongs to one model. */
export class CachedRepository {
  private readonly folder: string

  constructor(cacheFolder: string, id: string) {
    this.folder = join(cacheFolder, `models--${id.replaceAll('/', '--')}`)
  }

  /** The commit a branch or tag pointed to when it was last asked for. */
  async commit(revision: string): Promise<string | null> {
    if (isCommit(revision)) return revision
    const commit = await readFile(join(this.folder, 'refs', revision), 'utf8').catch(() => '')
    return isCommit(commit.trim()) ? commit.trim() : null
  }

  async remember(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return
    const path = join(this.folder, 'refs', revision)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, commit)
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit)
  }

  /** Files of a snapshot that are whole: a link whose blob is gone does not count. */
  async files(commit: string): Promise<Set<string>> {
    const names = await readdir(this.snapshot(commit)).catch(() => [])
    const there = await Promise.all(names.map((name) => exists(join(this.snapshot(commit), name))))
    return new Set(names.filter((_, index) => there[index]))
  }

  /** Where a blob grows until it is whole. */
  async incomplete(etag: string): Promise<string> {
    await mkdir(join(this.folder, 'blobs'), { recursive: true })
    return join(this.folder, 'blobs', `${etag}.incomplete`)
  }

  hasBlob(etag: string): Promise<boolean> {
    return exists(join(this.folder, 'blobs', etag))
  }

  /** Gives the blob that grew under {@link incomplete} its name. */
  async complete(etag: string): Promise<void> {
    await rename(await this.incomplete(etag), join(this.folder, 'blobs', etag))
  }

  /** Puts a blob into a snapshot: a link, or a copy where the system has none. */
  async place(commit: string, file: string, etag: string): Promise<void> {
    const path = join(this.snapshot(commit), file)
    const blob = join(this.folder, 'blobs', etag)
    await mkdir(dirname(path), { recursive: true })
    try {
      await symlink(relative(dirname(path), blob), path)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EEXIST') return
      if (code !== 'EPERM' && code !== 'ENOSYS') throw error
      await copyFile(blob, path)
    }
  }
}
