/**
 * Files that are there whole or not at all: written under a temporary name beside the target, synced, then renamed.
 */
import { open, rename, rm, type FileHandle } from 'node:fs/promises'

/** Calls `write` with an open temporary file and puts it in place of `path` when that succeeds. */
export async function writeAtomically(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`
  try {
    const file = await open(temporary, 'w')
    try {
      await write(file)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (cause) {
    await rm(temporary, { force: true })
    throw cause
  }
}
