/**
 * A whole run: what each library says of itself, the selected cases, the table, the JSON.
 */
import { writeFile } from 'node:fs/promises'
import { cases } from '../cases.mjs'
import { selects } from './options.mjs'
import { markdown, reasons, record, table } from './report.mjs'
import { runCase } from './run.mjs'

const OPEN_TIMEOUT = 180_000

/**
 * @param {object} options of the command line
 * @param {import('./peer-process.mjs').PeerProcess[]} peers ours first
 * @returns the records, as written by `--json`
 */
export async function runSession(options, peers) {
  const selected = cases.filter(({ name }) => selects(options.patterns, name))
  if (selected.length === 0) throw new Error(`No case's name holds '${options.patterns.join("' or '")}'; see --list.`)
  const [ours, ...others] = peers
  const names = others.map(({ name }) => name)
  try {
    for (const peer of peers) {
      const { version, adapter, error } = await peer.open(OPEN_TIMEOUT).catch((reason) => ({ error: reason.message }))
      console.log(error === undefined ? `${peer.name} ${version} on ${adapter}` : `${peer.name}: ${error}`)
      if (peer === ours && error !== undefined) throw new Error(`ours does not start: ${error}`)
    }
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
      `Roofline: least ${rooflines.clock} time against the most seen in this run, ${rooflines.gflops.toFixed(1)} GFLOP/s ` +
        `(${rooflines.gflopsVariant}) and ${rooflines.gbytes.toFixed(1)} GB/s (${rooflines.gbytesVariant}).`,
    )
    for (const reason of reasons(records)) console.log(`- ${reason}`)
    if (options.json) await writeFile(options.json, `${JSON.stringify(records, null, 2)}\n`)
    return records
  } finally {
    for (const peer of peers) peer.close()
  }
}
