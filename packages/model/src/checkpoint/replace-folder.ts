/** Folders that appear whole: written under a temporary name beside their place and renamed. */
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'

/** Fills a folder of this name by `write`. What was there is replaced once the new one is complete. */
export async function replaceFolder(directory: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const target = resolve(directory)
  const sibling = (suffix: string) => join(dirname(target), `.${basename(target)}.${process.pid}.${suffix}`)
  const temporary = sibling('new')
  await rm(temporary, { recursive: true, force: true })
  await mkdir(temporary, { recursive: true })
  try {
    await write(temporary)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw error
  }
  if (!existsSync(target)) return rename(temporary, target)
  const previous = sibling('old')
  await rm(previous, { recursive: true, force: true })
  await rename(target, previous)
  await rename(temporary, target)
  await rm(previous, { recursive: true })
}
