/**
 * Random programs (operations, shapes, storage types, views, in-place writes, evaluations, gradients) agree with the f64
 * reference, fused, unfused, and with bindings of 4 KiB and small grids. `npm run fuzz -- --programs 10000 --seed 1` tries more than the few hundred here.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDevice, type Device } from '../src/index.js'
import { explainFailure, judge } from './fuzz/check.js'
import { drawProgram } from './fuzz/generate.js'
import { printProgram } from './fuzz/print.js'
import { shrink } from './fuzz/shrink.js'

const count = Number(process.env['REVISUAL_TEST_PROGRAMS'] ?? 240)
const seed = Number(process.env['REVISUAL_TEST_SEED'] ?? 1)
/** Programs of one structure: their kernels are compiled once. */
const PER_STRUCTURE = 24
/** Structures after which devices are made anew, so that compiled kernels do not pile up. */
const PER_DEVICE = 40
const isLong = count > 1000
/** The device with low limits compiles most kernels once more, so a short run takes it for every third structure. */
const onDevice = (index: number, structure: number) => index < 2 || isLong || structure % 3 === 0
const names = ['fused', 'unfused', 'low limits']
/** Hand-written kernels refuse tensors that would need too many bindings. */
const isRefusal = (what: string) => /^ShapeError: Kernel '.*' needs \d+ bindings/.test(what)

let devices: Device[] = []
async function renewDevices(): Promise<void> {
  for (const device of devices) device.destroy()
  const limits = { maxStorageBufferBindingSize: 4096, maxComputeWorkgroupsPerDimension: 32 }
  devices = [await createDevice(), await createDevice({ fusion: false }), await createDevice({ limits })]
}
beforeAll(renewDevices)
afterAll(() => {
  for (const device of devices) device.destroy()
})

test(
  'random programs agree with the reference, forward and backward',
  async () => {
    const failures: string[] = []
    let [unclear, refused] = [0, 0]
    for (let n = 0; n < count; n++) {
      const structure = seed * 1_000_003 + Math.floor(n / PER_STRUCTURE)
      if (n > 0 && n % (PER_STRUCTURE * PER_DEVICE) === 0) await renewDevices()
      const program = drawProgram(structure, n % PER_STRUCTURE)
      for (const [index, device] of devices.entries()) {
        if (!onDevice(index, structure)) continue
        const verdict = await judge(device, program)
        if (verdict.kind === 'ill-conditioned') unclear++
        if (verdict.kind === 'differs' && isRefusal(verdict.what)) refused++
        else if (verdict.kind === 'differs') {
          const name = `structure ${structure}, sizes ${n % PER_STRUCTURE}, ${names[index]}`
          failures.push(`${name}: ${verdict.what}\nmade small: ${await explainFailure(device, program)}`)
          if (isLong) process.stderr.write(`${failures.at(-1)}\n`)
          // The other programs of the structure fail in the same way.
          n += PER_STRUCTURE - 1 - (n % PER_STRUCTURE)
          break
        }
        expect(device.memory.liveTensors()).toEqual([])
      }
      if (isLong && n % 500 < 1)
        process.stderr.write(`${n + 1} programs, ${failures.length} failures, ${unclear} unclear, ${refused} refused\n`)
      if (failures.length === 10) break
    }
    expect(failures.join('\n')).toBe('')
    expect(unclear).toBeLessThan(count / 20)
    expect(refused).toBeLessThan(count / 20)
  },
  isLong ? 24 * 3600_000 : 120_000,
)

test('one wrong number in an output or a gradient is noticed', async () => {
  const [device] = devices as [Device]
  const read = device.read.bind(device)
  let gradients = 0
  for (let structure = 0; structure < 3; structure++) {
    const program = drawProgram(seed * 1_000_003, structure)
    gradients += program.gradients ? 1 : 0
    for (const which of [0, -1]) {
      device.read = async (tensors) => {
        const values = await read(tensors)
        const spoilt = values.at(which)
        if (spoilt) spoilt[spoilt.length - 1] = (spoilt.at(-1) ?? 0) + 0.01
        return values
      }
      expect((await judge(device, program)).kind).toBe('differs')
    }
  }
  device.read = read
  expect(gradients).toBeGreaterThan(0)
})

test('a failing program is made small and printed as code', async () => {
  // Fails whenever a matrix product and a sine are in it.
  const fails = async (program: Parameters<typeof shrink>[0]) => {
    const used = program.steps.flatMap((step) => (step.kind === 'apply' ? [step.op] : []))
    return used.includes('matmul') && used.includes('sin')
  }
  let tried = 0
  for (let structure = 0; tried < 3; structure++) {
    const program = drawProgram(structure, 0)
    if (!(await fails(program))) continue
    tried++
    const small = await shrink(program, fails)
    const used = small.steps.flatMap((step) => (step.kind === 'apply' ? [step.op] : []))
    expect(used.length).toBeLessThanOrEqual(4)
    expect(printProgram(small)).toMatch(
      /const v\d+ = device\.tensor\(new Float32Array.*const v\d+ = matmul\(v\d+, v\d+\)/s,
    )
  }
})
