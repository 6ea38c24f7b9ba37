/**
 * Ours against other JavaScript tensor libraries on one adapter: `npm run bench` at the root. Each library runs in its own
 * process; the answers are compared before the clocks are. See docs/performance.md.
 */
import { fileURLToPath } from 'node:url'
import { bundle } from './bundle.mjs'
import { cases } from './cases.mjs'
import { parseOptions, usage } from './lib/options.mjs'
import { PeerProcess } from './lib/peer-process.mjs'
import { runSession } from './lib/session.mjs'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))

const peerScripts = {
  'tfjs-webgpu': ['peers/tfjs.mjs'],
  'jax-js-webgpu': ['peers/jax.mjs', 'webgpu'],
  'onnxruntime-webgpu': ['peers/onnxruntime.mjs', 'webgpu'],
  'jax-js-wasm': ['peers/jax.mjs', 'wasm'],
  'onnxruntime-cpu': ['peers/onnxruntime.mjs', 'cpu'],
}

async function main() {
  const options = parseOptions(process.argv.slice(2))
  if (options.help) return console.log(usage)
  if (options.list) return console.log([...cases.map(({ name }) => name), '', ...Object.keys(peerScripts)].join('\n'))
  const names = Object.keys(peerScripts).filter((name) => options.peers?.includes(name) ?? true)
  await bundle('peers/ours.mjs', here('dist/ours.mjs'))
  await runSession(options, [
    new PeerProcess('ours', here('dist/ours.mjs'), []),
    ...names.map((name) => new PeerProcess(name, here(peerScripts[name][0]), peerScripts[name].slice(1))),
  ])
}

try {
  await main()
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
