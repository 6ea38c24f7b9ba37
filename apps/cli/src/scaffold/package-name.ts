/** Names of npm packages (https://docs.npmjs.com/cli/configuring-npm/package-json#name). */
import { isBuiltin } from 'node:module'
import { UserError } from '../errors.js'

const MOST_CHARACTERS = 214
const RESERVED: ReadonlySet<string> = new Set(['node_modules', 'favicon.ico'])

/** `@scope/name` → `name`. */
export function unscoped(name: string): string {
  return name.slice(name.indexOf('/') + 1)
}

/** @throws {UserError} for a name that npm would refuse */
export function checkPackageName(name: string): void {
  const base = unscoped(name)
  const isSpelled = /^(?:@[a-z0-9][a-z0-9._-]*\/)?[a-z0-9][a-z0-9._-]*$/.test(name)
  if (isSpelled && name.length <= MOST_CHARACTERS && !RESERVED.has(base) && !isBuiltin(name)) return
  throw new UserError(
    `'${name}' is no name for a package; allowed: lower-case letters, digits, '-', '.' and '_', starting with a letter or digit, with '@scope/' before it if you like, at most ${MOST_CHARACTERS} characters, and no name of Node's own.`,
  )
}
