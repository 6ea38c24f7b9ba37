/**
 * Ours against other JavaScript tensor libraries on one adapter: `npm run bench` at the root. Each library runs in its own
 * process; the answers are compared before the clocks are. See docs/performance.md.
 */
import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { bundle } from './bundle.mjs'
import { cases } from './cases.mjs'
import { parseOptions, selects, usage } from './lib/options.mjs'
import { PeerProcess } from './lib/peer-process.mjs'
import { markdown, reasons, record, table } from './lib/report.mjs'
import { runCase } from './lib/run.mjs'

const OPEN_TIMEOUT = 180_000
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
  const selected = cases.filter(({ name }) => selects(options.patterns, name))
  if (selected.length === 0) throw new Error(`No case's name holds '${options.patterns.join("' or '")}'; see --list.`)
  const names = Object.keys(peerScripts).filter((name) => options.peers?.includes(name) ?? true)

  await bundle('peers/ours.mjs', here('dist/ours.mjs'))
  const peers = [
    new PeerProcess('ours', here('dist/ours.mjs'), []),
    ...names.map((name) => new PeerProcess(name, here(peerScripts[name][0]), peerScripts[name].slice(1))),
  ]
  try {
    const about = {}
    for (const peer of peers) {
      about[peer.name] = await peer.open(OPEN_TIMEOUT).catch((error) => ({ error: error.message }))
      const { version, adapter, error } = about[peer.name]
      console.log(error === undefined ? `${peer.name} ${version} on ${adapter}` : `${peer.name}: ${error}`)
    }
    if (about.ours.error !== undefined) throw new Error(`ours does not start: ${about.ours.error}`)
    const [ours] = peers
    let rooflines = await ours.request({ type: 'roofline' }, OPEN_TIMEOUT)
    const measured = []
    for (const spec of selected) {
      const results = await runCase(spec, peers, options.sampling)
      rooflines = await ours.request({ type: 'roofline' }, OPEN_TIMEOUT)
      measured.push({ spec, results })
      console.log(
        markdown(table([record(spec, results, rooflines)], names))
          .split('\n')
          .at(-1),
      )
    }
    const records = measured.map(({ spec, results }) => record(spec, results, rooflines))
    console.log(`\n${markdown(table(records, names))}\n`)
    console.log(
      'Times: median (least–most) of one step in milliseconds. Ratio: best WebGPU peer over ours, of medians.',
    )
    console.log(
      `Roofline: least time against the most seen in this run, ${rooflines.gflops.toFixed(1)} GFLOP/s ` +
        `(${rooflines.gflopsVariant}) and ${rooflines.gbytes.toFixed(1)} GB/s (${rooflines.gbytesVariant}).`,
    )
    for (const reason of reasons(records)) console.log(`- ${reason}`)
    if (options.json) await writeFile(options.json, `${JSON.stringify(records, null, 2)}\n`)
  } finally {
    for (const peer of peers) peer.close()
  }
}

try {
  await main()
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
