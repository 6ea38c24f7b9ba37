/**
 * `revisual doctor`: what the machine offers, how fast it is, and what is wrong if something is. The examination runs in a
 * child process with a time limit, because a broken driver may crash or hang whoever touches it.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { AdapterError, createDevice, matmul, noGrad, type Device } from '@revisual/tensor'
import { messageOf, UserError } from '../errors.js'
import { bytesText } from '../terminal/table.js'

const TIME_LIMIT_MS = 90_000
const MATRIX = 512

/** Runs the examination in a child process. */
export async function doctor(): Promise<void> {
  const child = spawn(process.execPath, [process.argv[1] ?? '', 'doctor', '--in-process'], { stdio: 'inherit' })
  const timer = setTimeout(() => child.kill('SIGKILL'), TIME_LIMIT_MS)
  const started = performance.now()
  const { code, signal } = await new Promise<{ code: number | null; signal: NodeJS.Signals | null }>(
    (resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (exitCode, exitSignal) => resolve({ code: exitCode, signal: exitSignal }))
    },
  )
  clearTimeout(timer)
  if (code === 0) return
  if (signal !== null && performance.now() - started >= TIME_LIMIT_MS) {
    throw new UserError(
      `The graphics driver did not answer within ${TIME_LIMIT_MS / 1000} s. Update it, or choose another with VK_DRIVER_FILES=<icd.json>.`,
    )
  }
  if (signal !== null || (code ?? 0) > 1) {
    throw new UserError(
      `The graphics driver ended the examination (${signal ?? `exit code ${code}`}). Update it, or choose another with VK_DRIVER_FILES=<icd.json>.`,
    )
  }
  // The child has said what is wrong.
  process.exitCode = 1
}

const print = (name: string, value: string) => process.stdout.write(`${name.padEnd(12)} ${value}\n`)

/** Billions of multiplications and additions a second in f32 products, measured for a second. */
async function matmulRate(device: Device): Promise<number> {
  using _scope = device.scope()
  const operand = device.tensor(
    Float32Array.from({ length: MATRIX * MATRIX }, (_, index) => (index % 7) - 3),
    [MATRIX, MATRIX],
  )
  const multiply = async () => {
    using _step = device.scope()
    await device.eval([noGrad(() => matmul(operand, operand))])
    await device.sync()
  }
  await multiply()
  const started = performance.now()
  let products = 0
  while (performance.now() - started < 1000) {
    await multiply()
    products++
  }
  const seconds = (performance.now() - started) / 1000
  return (2 * MATRIX ** 3 * products) / seconds / 1e9
}

/** The product of a matrix with the identity must be the matrix. */
async function checkArithmetic(device: Device): Promise<void> {
  using _scope = device.scope()
  const values = Float32Array.from({ length: 16 }, (_, index) => index / 4)
  const identity = Float32Array.from({ length: 16 }, (_, index) => (index % 5 === 0 ? 1 : 0))
  const product = await matmul(device.tensor(values, [4, 4]), device.tensor(identity, [4, 4])).read()
  const wrong = values.findIndex((value, index) => product[index] !== value)
  if (wrong >= 0) {
    throw new UserError(
      `The adapter computes wrongly: element ${wrong} of a 4 × 4 product is ${product[wrong]}, not ${values[wrong]}. Update the driver.`,
    )
  }
}

/** What the operating system is called. */
function systemName(): string {
  try {
    const name = /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
    if (name) return `${name} (${process.arch})`
  } catch {
    // Not a Linux with os-release.
  }
  return `${process.platform} (${process.arch})`
}

/** The examination itself. Throws a {@link UserError} that says what is wrong. */
export async function examine(): Promise<void> {
  print('node', process.versions.node)
  print('system', systemName())
  let device: Device
  try {
    device = await createDevice()
  } catch (error) {
    if (!(error instanceof AdapterError)) throw error
    const variable = ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES'].find((name) => process.env[name])
    const hint = variable
      ? ` ${variable}=${process.env[variable]} limits Vulkan to that driver; unset it to try the others.`
      : ''
    throw new UserError(`${error.message}${hint}`)
  }
  try {
    const { info, limits } = device
    print('adapter', [info.device, info.vendor, info.architecture].filter(Boolean).join(' · ') || 'unnamed')
    print('driver', info.description || 'not told')
    print('kind', info.isSoftware ? 'software (runs on the CPU)' : 'hardware')
    print('features', [...device.features].sort().join(', ') || 'none')
    print('binding', `${bytesText(limits.maxStorageBufferBindingSize)} at most`)
    print('buffer', `${bytesText(limits.maxBufferSize)} at most`)
    print(
      'workgroup',
      `${limits.maxComputeInvocationsPerWorkgroup} invocations, ${bytesText(limits.maxComputeWorkgroupStorageSize)} shared`,
    )
    print('bindings', `${limits.maxStorageBuffersPerShaderStage} storage buffers per kernel`)
    await checkArithmetic(device)
    print('matmul', `${(await matmulRate(device)).toFixed(1)} GFLOP/s (f32, ${MATRIX} × ${MATRIX}, 1 s)`)
    process.stdout.write('\nEverything needed for training is there.\n')
  } catch (error) {
    if (error instanceof UserError) throw error
    throw new UserError(`The adapter was found but does not work: ${messageOf(error)} Update the graphics driver.`)
  } finally {
    device.destroy()
  }
}
