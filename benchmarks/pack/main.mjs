/**
 * What `run.sh` of the packed folder starts: the benchmark of ours alone, then the questions to a GPU that is met for the
 * first time. Every question is asked in a process of its own, so that one the driver dies of costs only its answer.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { parseOptions } from '../lib/options.mjs'
import { PeerProcess } from '../lib/peer-process.mjs'
import { runSession } from '../lib/session.mjs'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const PROBE_TIMEOUT = 600_000

const usage = `Usage: ./run.sh [--quick] [--case PATTERN] [--json FILE] [--probes-only] [--soak MINUTES]

Measures @revisual/tensor on this machine's GPU, then asks the GPU what it can do. Writes results.json (or FILE) and
probes.json here. The soak at the end runs one minute unless told otherwise; an hour is what shows leaks.`

/** What can be known of the machine without WebGPU; null where it cannot. */
function machine() {
  const attempt = (read) => {
    try {
      return read()
    } catch {
      return null
    }
  }
  const icds = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d']
  return {
    kernel: release(),
    cpu: cpus()[0]?.model ?? null,
    cores: cpus().length,
    node: process.version,
    vulkanDrivers: icds.flatMap(
      (folder) => attempt(() => readdirSync(folder).map((name) => `${folder}/${name}`)) ?? [],
    ),
    nvidia: attempt(() =>
      execFileSync('nvidia-smi', ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'], {
        encoding: 'utf8',
        timeout: 20_000,
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim(),
    ),
  }
}

function probe(name, argument, timeout = PROBE_TIMEOUT) {
  const { stdout, stderr, status, signal, error } = spawnSync(
    process.execPath,
    [here('probes.mjs'), name, argument ?? ''],
    { encoding: 'utf8', timeout, maxBuffer: 1 << 24 },
  )
  const line = (stdout ?? '').trim().split('\n').at(-1) ?? ''
  try {
    if (status === 0) return JSON.parse(line)
  } catch {
    // Falls through to the error below.
  }
  const last = (stderr ?? '').trim().split('\n').at(-1)
  return { error: error?.message ?? `ended with ${signal ?? `code ${status}`}: ${last}` }
}

async function main() {
  const own = ['--probes-only', '--soak']
  const argv = process.argv.slice(2)
  if (argv.includes('--help')) return console.log(usage)
  const { values } = parseArgs({
    args: argv,
    strict: false,
    options: { 'probes-only': { type: 'boolean' }, soak: { type: 'string' } },
  })
  const rest = argv.filter((item, index) => !own.includes(item) && argv[index - 1] !== '--soak')
  const options = parseOptions(rest)
  const minutes = Number(values.soak ?? 1)
  if (!(minutes >= 0 && minutes <= 1440)) throw new RangeError(`--soak is '${values.soak}'; minutes from 0 to 1440.`)

  const answers = { machine: machine() }
  console.log(JSON.stringify(answers.machine, null, 2))
  if (!values['probes-only']) {
    const peer = new PeerProcess('ours', here('ours.mjs'), [])
    await runSession({ ...options, json: options.json ?? 'results.json' }, [peer])
  }
  for (const name of ['adapter', 'products', 'unchecked', 'costs']) {
    console.log(`\n${name}:`)
    answers[name] = probe(name)
    console.log(JSON.stringify(answers[name], null, 2))
    writeFileSync('probes.json', `${JSON.stringify(answers, null, 2)}\n`)
  }
  if (minutes > 0) {
    console.log(`\nsoak, ${minutes} minutes:`)
    answers.soak = probe('soak', String(minutes), minutes * 60_000 + PROBE_TIMEOUT)
    console.log(JSON.stringify(answers.soak, null, 2))
    writeFileSync('probes.json', `${JSON.stringify(answers, null, 2)}\n`)
  }
}

try {
  await main()
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
