/**
 * `npm run bench:pack`: a folder that measures ours on a Linux x64 machine with nothing but a GPU, its driver and a Vulkan
 * loader. It holds this machine's Node, the bundles, Dawn and a script; the binaries are gzipped, since `gzip` is everywhere,
 * and unpacked at the first run.
 */
import { createReadStream, createWriteStream } from 'node:fs'
import { chmod, copyFile, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { createGzip } from 'node:zlib'
import { bundle } from './bundle.mjs'

const LIMIT = 60 * 2 ** 20
const here = fileURLToPath(new URL('.', import.meta.url))
const out = process.argv[2] ?? join(here, 'dist/revisual-bench')

const script = `#!/bin/sh
# Benchmark of @revisual/tensor, with its own Node. Options: ./run.sh --help
set -e
cd "$(dirname "$0")"
unpack() {
  if [ ! -f "$1" ]; then
    gzip -dc "$1.gz" > "$1.part"
    chmod +x "$1.part"
    mv "$1.part" "$1"
  fi
}
unpack node
unpack node_modules/webgpu/dist/linux-x64/dawn.node
exec ./node main.mjs "$@"
`

const zip = (from, to) => pipeline(createReadStream(from), createGzip({ level: 9 }), createWriteStream(to))

async function sizeOf(folder) {
  let total = 0
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) total += (await stat(join(entry.parentPath ?? entry.path, entry.name))).size
  }
  return total
}

async function main() {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error('bench:pack runs on Linux x64, for Linux x64.')
  const webgpu = dirname(fileURLToPath(import.meta.resolve('webgpu')))
  await rm(out, { recursive: true, force: true })
  const dawn = join(out, 'node_modules/webgpu/dist/linux-x64')
  await mkdir(dawn, { recursive: true })
  await bundle('pack/main.mjs', join(out, 'main.mjs'))
  await bundle('pack/probes.mjs', join(out, 'probes.mjs'))
  await bundle('peers/ours.mjs', join(out, 'ours.mjs'))
  for (const name of ['package.json', 'index.js', 'LICENSE']) {
    await copyFile(join(webgpu, name), join(out, 'node_modules/webgpu', name)).catch((error) => {
      if (name !== 'LICENSE') throw error
    })
  }
  await zip(join(webgpu, 'dist/linux-x64/dawn.node'), join(dawn, 'dawn.node.gz'))
  await zip(process.execPath, join(out, 'node.gz'))
  await copyFile(join(here, '../LICENSE'), join(out, 'LICENSE'))
  await writeFile(join(out, 'run.sh'), script)
  await chmod(join(out, 'run.sh'), 0o755)
  const bytes = await sizeOf(out)
  if (bytes > LIMIT) throw new Error(`The folder takes ${bytes} bytes; ${LIMIT} are allowed.`)
  console.log(`${out}: ${(bytes / 2 ** 20).toFixed(1)} MiB. Copy it to the machine and start ./run.sh there.`)
}

try {
  await main()
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
