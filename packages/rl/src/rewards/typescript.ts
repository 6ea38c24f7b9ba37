/**
 * Reward files in TypeScript. Node runs them as they are from 22.18 on; before that they are bundled with the esbuild of the
 * user's project (most have one, under Vite, Vitest or tsup) into `node_modules/.cache/revisual`, under a name made of their
 * content. Packages stay imports, relative files are bundled in.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { messageOf } from './errors.js'

/** What is used of esbuild. */
interface Bundler {
  build(options: {
    readonly [option: string]: unknown
  }): Promise<{ readonly outputFiles: readonly { readonly text: string }[] }>
}

function nodeRunsTypeScript(): boolean {
  return Boolean((process.features as { readonly typescript?: unknown }).typescript)
}

/** The closest `node_modules` at or above a folder. */
function nodeModulesOf(folder: string): string | undefined {
  for (let current = folder; ; current = dirname(current)) {
    const candidate = join(current, 'node_modules')
    if (existsSync(candidate)) return candidate
    if (current === dirname(current)) return undefined
  }
}

async function bundlerOf(path: string): Promise<Bundler> {
  const fromThere = createRequire(path)
  try {
    return (await import(pathToFileURL(fromThere.resolve('esbuild')).href)) as Bundler
  } catch (thrown) {
    throw new Error(
      `Node ${process.versions.node} does not run TypeScript, and the project of ${path} has no esbuild to translate it. ` +
        `Install it (npm i -D esbuild), use Node 22.18 or later, or write the reward in JavaScript.`,
      { cause: thrown },
    )
  }
}

/** A URL that `import()` accepts: the given one, or that of its translation when it is TypeScript and Node runs none. */
export async function importableUrl(url: string): Promise<string> {
  if (!/^file:.*\.[mc]?ts$/.test(url) || nodeRunsTypeScript()) return url
  const path = fileURLToPath(url)
  const bundler = await bundlerOf(path)
  let text: string
  try {
    const { outputFiles } = await bundler.build({
      entryPoints: [path],
      bundle: true,
      packages: 'external',
      format: 'esm',
      platform: 'node',
      target: 'node20',
      write: false,
      logLevel: 'silent',
    })
    text = outputFiles.map((file) => file.text).join('')
  } catch (thrown) {
    throw new Error(`esbuild cannot translate ${path}: ${messageOf(thrown)}`, { cause: thrown })
  }
  const cache = join(nodeModulesOf(dirname(path)) ?? dirname(path), '.cache', 'revisual')
  mkdirSync(cache, { recursive: true })
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 16)
  const output = join(cache, `${basename(path).replace(/\.[mc]?ts$/, '')}-${digest}.mjs`)
  if (!existsSync(output)) {
    const temporary = `${output}.${process.pid}.tmp`
    writeFileSync(temporary, text)
    renameSync(temporary, output)
  }
  return pathToFileURL(output).href
}
