/**
 * Says whether `node_modules` is what `package-lock.json` asks for, by comparing it with the lock file npm leaves inside
 * `node_modules`. File times say nothing here: git sets them at checkout.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const readLock = (path) => JSON.parse(readFileSync(path, 'utf8')).packages

/**
 * What is missing or of another version, as `path@version` strings; empty when all is there.
 *
 * @param {string} root folder of the package-lock.json
 * @returns {string[]}
 */
export function missingDependencies(root) {
  const installedPath = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(installedPath)) return ['node_modules']
  const wanted = readLock(join(root, 'package-lock.json'))
  const installed = readLock(installedPath)
  const missing = []
  for (const [path, entry] of Object.entries(wanted)) {
    // Workspace folders themselves, and binaries of other platforms, are never below node_modules.
    if (!path.includes('node_modules/') || entry.optional || entry.devOptional || entry.peer) continue
    const found = installed[path]
    const same = found !== undefined && (entry.link === true || found.version === entry.version)
    if (!same || !existsSync(join(root, path))) missing.push(`${path}@${entry.version ?? 'workspace'}`)
  }
  return missing
}
