import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { matmul } from '../ops/matmul.js'
import { DeviceLostError } from './errors.js'
import { createDevice, type Device, type DeviceOptions } from './device.js'
import { parseTuning, readTuning } from './tuning-file.js'

let folder: string
let tuningFile: string
const devices: Device[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'revisual-tuning-'))
  tuningFile = join(folder, 'deep', 'tuning.json')
})
afterEach(async () => {
  for (const device of devices.splice(0)) device.destroy()
  await rm(folder, { recursive: true })
})

async function open(options: DeviceOptions): Promise<Device> {
  const device = await createDevice(options)
  devices.push(device)
  return device
}

/** A product of small integers, exact in whatever order it is summed. */
async function multiply(device: Device, evaluates = true): Promise<Float32Array> {
  const values = (size: number, step: number) => Float32Array.from({ length: size }, (_, i) => ((i * step) % 7) - 3)
  const product = matmul(device.tensor(values(12 * 16, 3), [12, 16]), device.tensor(values(16 * 20, 5), [16, 20]))
  if (evaluates) await device.eval([product])
  return (await product.read()) as Float32Array
}

describe('the autotuner', () => {
  test('measures on first use, keeps what it found, and changes no result', async () => {
    const plain = await open({})
    const expected = await multiply(plain)
    expect(plain.tuning).toBeNull()

    const tuned = await open({ autotune: true, tuningFile })
    expect(tuned.tuning).toEqual({})
    expect(await multiply(tuned)).toEqual(expected)
    const choices = Object.entries(tuned.tuning ?? {})
    expect(choices).toHaveLength(1)
    expect(choices[0]?.[0]).toMatch(/^(lanes|tiles):\w+:16x16x16x1:r-f32:r-f32$/)
    expect(await multiply(tuned)).toEqual(expected)

    const cached = await open({ autotune: 'cached', tuningFile })
    expect(cached.tuning).toEqual(tuned.tuning)
    expect(await multiply(cached)).toEqual(expected)
  })

  test('reading a value measures as evaluating it does', async () => {
    const tuned = await open({ autotune: true, tuningFile })
    await multiply(tuned, false)
    expect(Object.keys(tuned.tuning ?? {})).toHaveLength(1)
  })

  test('cached measures nothing and uses no kernel it does not know', async () => {
    const empty = await open({ autotune: 'cached', tuningFile })
    await multiply(empty)
    expect(empty.tuning).toEqual({})
    await expect(readFile(tuningFile)).rejects.toThrow()

    const tuned = await open({ autotune: true, tuningFile })
    const expected = await multiply(tuned)
    const text = await readFile(tuningFile, 'utf8')
    await writeFile(tuningFile, text.replace(/"(rows\d+|large|medium|smallest|deep|fewRows|oneRow)"/, '"__proto__"'))
    const strange = await open({ autotune: 'cached', tuningFile })
    expect(await multiply(strange)).toEqual(expected)
  })
})

describe('when measuring goes wrong', () => {
  test('a file that cannot be written is one warning, and evaluations go on', async () => {
    const blocked = join(folder, 'file')
    await writeFile(blocked, '')
    const tuned = await open({ autotune: true, tuningFile: join(blocked, 'tuning.json') })
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
    const expected = await multiply(await open({}))
    expect(await multiply(tuned)).toEqual(expected)
    expect((await warned).message).toMatch(/What the autotuner measured is not kept: .*mkdir/)
    expect(Object.keys(tuned.tuning ?? {})).toHaveLength(1)
    expect(await multiply(tuned)).toEqual(expected)
  })

  test('a driver without memory for it, or a memory limit, leaves the default kernel', async () => {
    const full = await open({ autotune: true, tuningFile })
    const expected = await multiply(await open({}))
    const { gpu } = full
    // What the pool makes can be copied from; what measurements need cannot.
    const [create, pop] = [gpu.createBuffer.bind(gpu), gpu.popErrorScope.bind(gpu)]
    let [refused, told] = [0, 0]
    gpu.createBuffer = (descriptor) => {
      if (descriptor.usage === GPUBufferUsage.STORAGE) refused++
      return create(descriptor)
    }
    gpu.popErrorScope = async () => {
      const error = await pop()
      if (refused === told) return error
      told = refused
      return new GPUOutOfMemoryError('injected')
    }
    expect(await multiply(full)).toEqual(expected)
    expect(await multiply(full)).toEqual(expected)
    await full.sync()
    expect([refused, full.tuning]).toEqual([3, {}])

    const limited = await open({ autotune: true, tuningFile, memoryLimit: 6000 })
    expect(await multiply(limited)).toEqual(expected)
    expect(limited.tuning).toEqual({})
  })

  test('a device lost meanwhile ends the evaluation with that error', async () => {
    const tuned = await open({ autotune: true, tuningFile })
    const { gpu } = tuned
    const create = gpu.createShaderModule.bind(gpu)
    gpu.createShaderModule = (descriptor) => {
      if (descriptor.label?.startsWith('autotune')) setTimeout(() => gpu.destroy(), 0)
      return create(descriptor)
    }
    await expect(multiply(tuned)).rejects.toThrow(DeviceLostError)
  })
})

describe('the tuning file', () => {
  test.each([
    ['not json', /is not JSON/],
    ['[]', /is not of version 1/],
    ['{"version":2,"adapters":{}}', /is not of version 1/],
    ['{"version":1}', /no object 'adapters'/],
    ['{"version":1,"adapters":{"a":3}}', /no object under 'a'/],
    ['{"version":1,"adapters":{"a":{"k":3}}}', /names no kernel under 'a', 'k'/],
  ])('%s is refused', (text, message) => {
    expect(() => parseTuning(text, 'f')).toThrow(message)
  })

  test('none is no tuning; one that is too large is refused', async () => {
    expect(await readTuning(join(folder, 'none.json'))).toEqual({})
    const large = join(folder, 'large.json')
    await writeFile(large, ' '.repeat((1 << 20) + 1))
    await expect(createDevice({ autotune: 'cached', tuningFile: large })).rejects.toThrow(
      /^The tuning file '.*large.json' has 1048577 bytes; 1048576 are allowed. Delete it.$/,
    )
  })
})
