/**
 * From the name in a configuration to a module URL, seen from the user's project rather than from this package. Node's own
 * `import.meta.resolve` takes no parent and `require.resolve` does not know the `import` condition, so the part of the
 * package resolution algorithm that reward packages need is here (https://nodejs.org/api/esm.html#resolution-algorithm).
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

/** `use` of a reward, taken apart. */
export interface RewardReference {
  /** File, package or URL. */
  readonly specifier: string
  /** Name after `#`; `default` when there is none. */
  readonly exportName: string
}

/** `./rewards.ts#score` → `./rewards.ts` and `score`. */
export function parseReference(use: string): RewardReference {
  const hash = use.lastIndexOf('#')
  const [specifier, exportName] = hash < 0 ? [use, 'default'] : [use.slice(0, hash), use.slice(hash + 1)]
  if (specifier === '' || exportName === '') {
    throw new Error(`The name is not complete; allowed: 'name', './file.js#export', '@scope/package#export'.`)
  }
  return { specifier, exportName }
}

function isPath(specifier: string): boolean {
  return /^\.{0,2}\//.test(specifier) || isAbsolute(specifier)
}

const CONDITIONS = new Set(['node', 'import', 'module-sync', 'default'])

/** The target of an entry of `exports`: conditions in order, first match wins; arrays give fallbacks. */
function target(entry: unknown): string | undefined {
  if (typeof entry === 'string') return entry
  if (Array.isArray(entry)) {
    for (const alternative of entry as readonly unknown[]) {
      const found = target(alternative)
      if (found !== undefined) return found
    }
    return undefined
  }
  if (typeof entry !== 'object' || entry === null) return undefined
  for (const [condition, value] of Object.entries(entry)) {
    if (!CONDITIONS.has(condition)) continue
    const found = target(value)
    if (found !== undefined) return found
  }
  return undefined
}

/** File of `subpath` ('.' or './x') by the fields of a package.json. */
function exported(manifest: { readonly [field: string]: unknown }, subpath: string): string | undefined {
  const { exports, main } = manifest
  if (exports === undefined || exports === null) {
    return subpath === '.' ? (typeof main === 'string' ? main : './index.js') : subpath
  }
  const isMap =
    typeof exports === 'object' && !Array.isArray(exports) && Object.keys(exports).every((key) => key.startsWith('.'))
  return isMap
    ? target((exports as { [key: string]: unknown })[subpath])
    : subpath === '.'
      ? target(exports)
      : undefined
}

/** Looks for a package in the `node_modules` of `baseDir` and of every folder above it. */
function resolvePackage(specifier: string, baseDir: string): string | undefined {
  const parts = specifier.split('/')
  const name = parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/')
  const rest = specifier.slice(name.length)
  for (let folder = resolve(baseDir); ; folder = dirname(folder)) {
    const packageFolder = join(folder, 'node_modules', name)
    const manifestPath = join(packageFolder, 'package.json')
    if (existsSync(manifestPath)) {
      const manifest = JSON.parse(readFileSync(manifestPath, 'utf8')) as { readonly [field: string]: unknown }
      const file = exported(manifest, `.${rest}`)
      if (file === undefined) {
        throw new Error(
          `${manifestPath} does not export '.${rest}' for the 'import' condition; use an entry that it exports.`,
        )
      }
      return join(packageFolder, file)
    }
    if (folder === dirname(folder)) return undefined
  }
}

/**
 * URL of a module named in a configuration.
 *
 * @param baseDir folder that relative files and packages are looked up from
 * @throws when there is no such file or package
 */
export function resolveModule(specifier: string, baseDir: string): string {
  if (/^(file|data):/.test(specifier)) return specifier
  if (isPath(specifier)) {
    const path = resolve(baseDir, specifier)
    if (existsSync(path) && statSync(path).isFile()) return pathToFileURL(path).href
    throw new Error(`There is no file ${path}. Paths are relative to ${resolve(baseDir)}.`)
  }
  const path = resolvePackage(specifier, baseDir)
  if (path === undefined) {
    throw new Error(
      `No package '${specifier}' in node_modules of ${resolve(baseDir)} or above. Install it (npm i ${specifier}), or start the name of a file with './'.`,
    )
  }
  return pathToFileURL(path).href
}
