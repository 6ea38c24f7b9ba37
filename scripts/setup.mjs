/**
 * Brings a bare machine to where training and tests run: dependencies, build, and a WebGPU adapter. Needs Node alone to
 * start, never asks a question, does only what is missing, and says what it does.
 *
 * `REVISUAL_SETUP=never` forbids touching the system: a missing driver is then reported, not installed.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { missingDependencies } from './dependencies.mjs'
import { driverPlan, parseOsRelease } from './driver-plan.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const OLDEST_NODE = [20, 19]
const PROBE_TIMEOUT_MS = 60_000

class SetupError extends Error {}

const say = (line) => process.stdout.write(`setup: ${line}\n`)

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], ...options })
  if (result.error) throw new SetupError(`'${command}' could not be started: ${result.error.message}`)
  if (result.status !== 0) {
    throw new SetupError(`'${[command, ...args].join(' ')}' failed (${result.signal ?? `exit code ${result.status}`})`)
  }
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST_NODE
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return
  throw new SetupError(`Node ${process.versions.node} is too old: install Node ${OLDEST_NODE.join('.')} or later`)
}

/** npm as a file to run with this Node, so that no shell and no PATH is needed; `npm` itself where that is unknown. */
function npm(args) {
  const script = process.env['npm_execpath']
  if (script?.endsWith('.js')) run(process.execPath, [script, ...args])
  else run(process.platform === 'win32' ? 'npm.cmd' : 'npm', args, { shell: process.platform === 'win32' })
}

function installDependencies() {
  const missing = missingDependencies(root)
  if (missing.length === 0) return
  const options = ['--no-audit', '--no-fund']
  if (!existsSync(join(root, 'node_modules', '.package-lock.json'))) {
    say('installing dependencies')
    try {
      npm(['ci', ...options])
      return
    } catch (error) {
      // A registry mirror that lacks packages of other platforms makes 'npm ci' give up where 'npm install' goes on.
      say(`${error.message}; trying 'npm install'`)
    }
  } else say(`updating dependencies (${missing.slice(0, 3).join(', ')}${missing.length > 3 ? ', …' : ''})`)
  npm(['install', '--no-save', ...options])
}

/** turbo decides what is stale, and takes a second when nothing is. */
function build() {
  say('building')
  run(process.execPath, [
    join(root, 'node_modules', 'turbo', 'bin', 'turbo'),
    'run',
    'build',
    '--output-logs=errors-only',
  ])
}

function probe() {
  const script = join(root, 'scripts', 'probe-adapter.mjs')
  const result = spawnSync(process.execPath, [script], {
    encoding: 'utf8',
    timeout: PROBE_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  })
  if (result.error && 'code' in result.error && result.error.code === 'ETIMEDOUT') {
    return { ok: false, stage: 'hang', message: `the probe did not answer within ${PROBE_TIMEOUT_MS / 1000} s` }
  }
  try {
    return JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '')
  } catch {
    const how = result.signal ? `signal ${result.signal}` : `exit code ${result.status}`
    return {
      ok: false,
      stage: 'crash',
      message: `the driver ended the probe (${how}) ${result.stderr.trim().slice(-400)}`,
    }
  }
}

/** How to become root without being asked for a password: '' as root, sudo's prefix, or null. */
function rootPrefix() {
  if (process.getuid?.() === 0) return []
  const sudo = spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' })
  return sudo.status === 0 ? ['sudo', '-n'] : null
}

const aptKnowsBackports = () =>
  /bookworm-backports/.test(spawnSync('apt-cache', ['policy'], { encoding: 'utf8' }).stdout ?? '')

const asCommands = (plan) =>
  plan.commands.map((line) => `    ${line.startsWith('#') ? line : `sudo sh -c "${line}"`}`).join('\n')

function installDriver(plan, prefix) {
  say(`no usable adapter; installing Mesa's software Vulkan driver for ${plan.name}`)
  for (const line of plan.commands) {
    say(`  ${line}`)
    run(prefix[0] ?? 'sh', [...prefix.slice(1), ...(prefix.length > 0 ? ['sh'] : []), '-c', line], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    })
  }
}

const NEXT_STEP = {
  binding:
    "The 'webgpu' package did not load. On Linux it needs glibc 2.34 or later; otherwise delete node_modules and start again.",
  hang: 'The graphics driver hangs. Update it, or choose another with VK_DRIVER_FILES=<icd.json>.',
  crash: 'The graphics driver crashes. Update it, or choose another with VK_DRIVER_FILES=<icd.json>.',
  compute: 'The graphics driver computes wrongly. Update it, or choose another with VK_DRIVER_FILES=<icd.json>.',
}

function findAdapter() {
  const first = probe()
  if (first.ok) return first.adapter
  const found = `no usable WebGPU adapter: ${first.message}`
  const next = NEXT_STEP[first.stage]
  if (next) throw new SetupError(`${found}\n${next}`)
  if (process.platform !== 'linux') throw new SetupError(`${found}\nUpdate the graphics driver of this machine.`)

  for (const variable of ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES']) {
    if (process.env[variable]) {
      throw new SetupError(
        `${found}\n${variable}=${process.env[variable]} limits Vulkan to drivers that do not work here; unset it.`,
      )
    }
  }
  const os = existsSync('/etc/os-release') ? parseOsRelease(readFileSync('/etc/os-release', 'utf8')) : {}
  const plan = driverPlan(os, { hasBackports: os.VERSION_ID === '12' && aptKnowsBackports() })
  const advice = `Install a software Vulkan driver on ${plan.name} with\n\n${asCommands(plan)}\n\nand start again.`
  if (process.env['REVISUAL_SETUP'] === 'never')
    throw new SetupError(`${found}\nREVISUAL_SETUP=never forbids installing one. ${advice}`)
  const prefix = plan.automatic ? rootPrefix() : null
  if (!prefix) throw new SetupError(`${found}\n${advice}`)

  installDriver(plan, prefix)
  const second = probe()
  if (!second.ok)
    throw new SetupError(
      `no usable WebGPU adapter even with Mesa's driver installed: ${second.message}\n${NEXT_STEP[second.stage] ?? ''}`,
    )
  return second.adapter
}

try {
  checkNode()
  installDependencies()
  build()
  say(`adapter: ${findAdapter()}`)
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`setup: ${error.message}\n`)
  process.exitCode = 1
}
