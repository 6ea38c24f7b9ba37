/**
 * Checkpoints that are whole or absent. Written under a temporary name, every file synced, then renamed, then the parent
 * folder synced: a reader finds the old set or the new one. `manifest.json` holds size and SHA-256 of every file, so a
 * checkpoint that went bad on disk is noticed and the one before it used.
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'

const MANIFEST = 'manifest.json'
const TEMPORARY = '.writing-'

interface Manifest {
  readonly version: 1
  /** By path relative to the checkpoint, with `/`. */
  readonly files: { readonly [path: string]: { readonly bytes: number; readonly sha256: string } }
}

const nameOf = (globalStep: number) => `step-${String(globalStep).padStart(6, '0')}`

/** Where the checkpoint of a step is. */
export const checkpointPath = (parent: string, globalStep: number) => join(parent, nameOf(globalStep))

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** Makes what was written to a file, or the entries of a folder, survive a power cut. */
async function sync(path: string, isFolder: boolean): Promise<void> {
  // Windows has no handles on folders; there the rename itself is journalled.
  if (isFolder && process.platform === 'win32') return
  const handle = await open(path, isFolder ? 'r' : 'r+')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** All files below a folder, and all folders, itself included. */
async function walk(folder: string): Promise<{ files: string[]; folders: string[] }> {
  const entries = await readdir(folder, { withFileTypes: true })
  const below = await Promise.all(
    entries.filter((entry) => entry.isDirectory()).map((entry) => walk(join(folder, entry.name))),
  )
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(folder, entry.name))
  return {
    files: [...files, ...below.flatMap((found) => found.files)].sort(),
    folders: [...below.flatMap((found) => found.folders), folder],
  }
}

/** Checkpoint folders, newest first. */
async function list(parent: string): Promise<string[]> {
  const names = await readdir(parent)
  const stepOf = (name: string) => Number(name.slice('step-'.length))
  return names.filter((name) => /^step-\d+$/.test(name)).sort((a, b) => stepOf(b) - stepOf(a))
}

/**
 * Writes a checkpoint and removes all but the newest `keep`. Does nothing when there is one of this step.
 *
 * @param write fills an empty folder with the files
 * @returns path of the checkpoint
 */
export async function writeCheckpoint(
  parent: string,
  globalStep: number,
  keep: number,
  write: (folder: string) => Promise<void>,
): Promise<string> {
  await mkdir(parent, { recursive: true })
  const target = join(parent, nameOf(globalStep))
  if ((await list(parent)).includes(nameOf(globalStep))) return target
  const temporary = join(parent, `${TEMPORARY}${nameOf(globalStep)}`)
  await rm(temporary, { recursive: true, force: true })
  await mkdir(temporary)
  await write(temporary)
  const { files, folders } = await walk(temporary)
  const manifest: { [path: string]: { bytes: number; sha256: string } } = {}
  for (const file of files) {
    await sync(file, false)
    const path = relative(temporary, file).split(sep).join('/')
    manifest[path] = { bytes: (await stat(file)).size, sha256: await sha256(file) }
  }
  const content: Manifest = { version: 1, files: manifest }
  await writeFile(join(temporary, MANIFEST), `${JSON.stringify(content, null, 2)}\n`)
  await sync(join(temporary, MANIFEST), false)
  for (const folder of folders) await sync(folder, true)
  await rename(temporary, target)
  await sync(parent, true)
  for (const old of (await list(parent)).slice(keep)) await rm(join(parent, old), { recursive: true, force: true })
  return target
}

/** What is wrong with a checkpoint; null when it is whole. */
async function damage(folder: string): Promise<string | null> {
  try {
    const manifest = JSON.parse(await readFile(join(folder, MANIFEST), 'utf8')) as Manifest
    for (const [path, expected] of Object.entries(manifest.files)) {
      const file = join(folder, path)
      const { size } = await stat(file)
      if (size !== expected.bytes) return `${path} has ${size} bytes instead of ${expected.bytes}`
      if ((await sha256(file)) !== expected.sha256) return `${path} has another checksum than when it was written`
    }
    return null
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown)
  }
}

/**
 * The newest checkpoint that is whole, or null. Damaged ones are renamed to `….damaged` and told of through `warn`; what a
 * killed process left half written is removed.
 */
export async function latestCheckpoint(parent: string, warn: (message: string) => void): Promise<string | null> {
  await mkdir(parent, { recursive: true })
  for (const name of await readdir(parent)) {
    if (name.startsWith(TEMPORARY)) await rm(join(parent, name), { recursive: true, force: true })
  }
  for (const name of await list(parent)) {
    const folder = join(parent, name)
    const problem = await damage(folder)
    if (problem === null) return folder
    await rm(`${folder}.damaged`, { recursive: true, force: true })
    await rename(folder, `${folder}.damaged`)
    warn(
      `Checkpoint ${folder} is damaged (${problem}). It is now called ${name}.damaged, and the one before it is used.`,
    )
  }
  return null
}

/** Removes checkpoints of steps after `globalStep`. */
export async function removeCheckpointsAfter(parent: string, globalStep: number): Promise<void> {
  if (!existsSync(parent)) return
  for (const name of await list(parent)) {
    if (Number(name.slice('step-'.length)) > globalStep) await rm(join(parent, name), { recursive: true, force: true })
  }
}
