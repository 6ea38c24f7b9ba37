/**
 * From measurements to what is printed and written. A time is the median in milliseconds of one step; a ratio above 1
 * means that ours is the faster. The roofline is the fraction of what the adapter was seen to do in the same run: of the
 * best multiply-add rate for work counted in operations, of the best copy rate for work counted in bytes. Those are the
 * best of many runs, so it is the least time that is set against them, by the clock they were taken with: on a software
 * GPU that is CPU time.
 */

/** Libraries that compute through WebGPU; the others are shown, and not what the ratio compares with. */
const webgpuPeers = ['tfjs-webgpu', 'jax-js-webgpu', 'onnxruntime-webgpu']

const milliseconds = (time) => (time === undefined || time === null ? null : time.median)

/** Best (least) value, or null. */
function best(values) {
  const known = values.filter((value) => value !== null && Number.isFinite(value))
  return known.length === 0 ? null : Math.min(...known)
}

function fraction({ flops, bytes }, time, rooflines) {
  if (time === null) return null
  if (flops !== undefined && rooflines.gflops) return flops / (time * 1e6) / rooflines.gflops
  if (bytes !== undefined && rooflines.gbytes) return bytes / (time * 1e6) / rooflines.gbytes
  return null
}

/** The record of one case, as `--json` writes it. */
export function record(spec, results, rooflines) {
  const ours = milliseconds(results.ours?.wall)
  const names = Object.keys(results).filter((name) => name !== 'ours')
  const peers = Object.fromEntries(names.map((name) => [name, milliseconds(results[name].wall)]))
  const bestPeer = best(webgpuPeers.map((name) => peers[name] ?? null))
  const errors = Object.fromEntries(
    Object.entries(results)
      .filter(([, { error }]) => error !== undefined)
      .map(([name, { error }]) => [name, error]),
  )
  const spread = Object.fromEntries(
    Object.entries(results)
      .filter(([, { wall }]) => wall !== undefined)
      .map(([name, { wall, cpu }]) => [
        name,
        { min: wall.min, max: wall.max, samples: wall.samples, cpuMedian: cpu.median },
      ]),
  )
  return {
    case: spec.name,
    ours,
    peers,
    unit: 'ms',
    ratioToBest: ours === null || bestPeer === null ? null : bestPeer / ours,
    roofline: fraction(spec.work ?? {}, results.ours?.[rooflines.clock ?? 'wall']?.min ?? null, rooflines),
    ...(spec.work?.flops === undefined || ours === null ? {} : { gflops: spec.work.flops / (ours * 1e6) }),
    ...(spec.work?.bytes === undefined || ours === null ? {} : { gbytes: spec.work.bytes / (ours * 1e6) }),
    spread,
    errors,
  }
}

const number = (value) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–'
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

function rate({ gflops, gbytes }) {
  if (gflops !== undefined) return `${number(gflops)} GFLOP/s`
  return gbytes === undefined ? '' : `${number(gbytes)} GB/s`
}

function timeCell(name, time, { spread, errors }) {
  if (time !== null && time !== undefined) {
    const { min, max } = spread[name]
    return `${number(time)} (${number(min)}–${number(max)})`
  }
  return errors[name] === undefined ? '–' : 'error'
}

/** Rows of text; the first is the heading. */
export function table(records, peers) {
  const heading = ['case', 'ours ms (min–max)', 'rate', 'roofline', ...peers, 'ratio']
  const rows = records.map((entry) => [
    entry.case,
    timeCell('ours', entry.ours, entry),
    rate(entry),
    entry.roofline === null ? '' : `${(entry.roofline * 100).toFixed(0)} %`,
    ...peers.map((peer) => timeCell(peer, entry.peers[peer], entry)),
    entry.ratioToBest === null ? '' : `${number(entry.ratioToBest)}×`,
  ])
  return [heading, ...rows]
}

/** The table as Markdown, columns aligned so that it reads in a terminal too. */
export function markdown(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  const line = (row) => `| ${row.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`
  return [line(rows[0]), rule, ...rows.slice(1).map(line)].join('\n')
}

/** Every distinct reason why a cell is empty, with the cases it holds for. */
export function reasons(records) {
  const cases = new Map()
  for (const { case: name, errors } of records) {
    for (const [peer, error] of Object.entries(errors)) {
      const key = `${peer}: ${error}`
      cases.set(key, [...(cases.get(key) ?? []), name])
    }
  }
  return [...cases].map(([reason, names]) => `${reason} [${names.join(', ')}]`)
}
