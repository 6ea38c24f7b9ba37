/**
 * `npm run conformance -- <kind> <path>`: runs files of cases against our implementation, prints one JSON line per case,
 * and exits with 1 when a case is beyond its tolerance. Each kind is a module of `conformance/` that exports
 * `run(path, options)` → true when all cases held. Standard output carries the JSON lines alone.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const folder = join(here, 'conformance')

async function main([kind, path, ...rest]) {
  const kinds = readdirSync(folder)
    .filter((name) => name.endsWith('.mjs') && !name.endsWith('.test.mjs'))
    .map((name) => name.slice(0, -'.mjs'.length))
    .sort()
  if (!kinds.includes(kind) || path === undefined || rest.length > 0) {
    process.stderr.write(`usage: npm run conformance -- <${kinds.join('|')}> <file or folder of cases>\n`)
    return 2
  }
  // Set-up talks; its lines go where they do not mix with the results.
  const setup = spawnSync(process.execPath, [join(here, 'setup.mjs')], { stdio: ['ignore', 2, 2] })
  if (setup.status !== 0) return 2
  const { run } = await import(pathToFileURL(join(folder, `${kind}.mjs`)).href)
  // npm runs scripts in the package's root; a relative path is meant from where the user stands.
  return (await run(resolve(process.env['INIT_CWD'] ?? process.cwd(), path))) ? 0 : 1
}

process.exitCode = await main(process.argv.slice(2))
