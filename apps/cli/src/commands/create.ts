/** `revisual create`: packages of one's own, made from templates. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { UserError } from '../errors.js'
import { checkPackageName, unscoped } from '../scaffold/package-name.js'
import { rewardPackage } from '../scaffold/reward-package.js'

export interface CreateFlags {
  /** Folder to make; null: the name of the package without its scope, in the working directory. */
  readonly folder: string | null
}

/** Version range of `@revisual/rl` that this command line is built on, and its licence text. */
function ownFiles(): { readonly rlVersion: string; readonly license: string } {
  const path = createRequire(import.meta.url).resolve('revisual/package.json')
  const { dependencies } = JSON.parse(readFileSync(path, 'utf8')) as { dependencies: { [name: string]: string } }
  const rlVersion = dependencies['@revisual/rl'] ?? '*'
  return { rlVersion, license: readFileSync(join(dirname(path), 'LICENSE'), 'utf8') }
}

/**
 * Makes a package. Nothing that exists is written over.
 * @throws {UserError} for a kind there is no template for, a name npm would refuse, and a folder that is not empty
 */
export async function createPackage(kind: string, name: string, { folder }: CreateFlags): Promise<void> {
  if (kind !== 'reward') throw new UserError(`There is no template for '${kind}'; allowed: reward.`)
  checkPackageName(name)
  const shown = folder ?? unscoped(name)
  const root = resolve(shown)
  if (existsSync(root) && readdirSync(root).length > 0) {
    throw new UserError(`${root} exists and is not empty; choose another name, or another folder with --dir.`)
  }
  const files = Object.entries(rewardPackage(name, ownFiles()))
  for (const [path, content] of files) {
    const file = join(root, path)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, content, { flag: 'wx' })
  }
  process.stdout.write(`${root}\n${files.map(([path]) => `  ${path}`).join('\n')}\n`)
  process.stderr.write(`Next: cd ${shown} && npm install && npm test && npm run build\n`)
}
