/**
 * Training on devices that fail: the run ends with the weights and records of one that nothing happened to.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDevice, type Device, type DeviceOptions } from '@revisual/tensor'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkConfig } from '../config/read.js'
import { openRunFolder } from '../run/folder.js'
import { runTraining } from './train.js'

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'revisual-devices-'))
})
afterAll(() => rmSync(directory, { recursive: true }))

/** Trains four supervised steps. `opened` is told of every device. */
async function run(
  name: string,
  opened: (device: Device, count: number) => void = () => {},
  options: DeviceOptions = {},
  profile: string | null = null,
) {
  const out = join(directory, name)
  const config = checkConfig(
    {
      out,
      model: { preset: 'nano' },
      checkpoints: { every: 2 },
      stages: [
        {
          name: 'cold-start',
          kind: 'sft',
          steps: 4,
          batchSize: 8,
          learningRate: 1e-3,
          data: [{ source: 'digits', modality: 'text', kinds: ['add'], levels: [1] }],
        },
      ],
    },
    'test',
  )
  const devices: Device[] = []
  const open = async () => {
    const device = await createDevice(options)
    opened(device, devices.push(device))
    return device
  }
  try {
    expect(await runTraining(config, directory, openRunFolder(config, 'fresh'), open, profile)).toBe(false)
  } finally {
    devices.forEach((device) => device.destroy())
  }
  const peak = Math.max(...devices.map(({ memory }) => memory.peakBytes))
  const records = readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as { readonly loss?: number; readonly step: number })
    .filter(({ loss }) => loss !== undefined)
  return { devices, peak, records, weights: readFileSync(join(out, 'model', 'model.safetensors')) }
}

test('devices lost under load are replaced, and the bits are the same', async () => {
  const undisturbed = await run('undisturbed')
  const disturbed = await run('disturbed', (device, count) => {
    // The first goes away while something is computed, after the first checkpoint.
    if (count > 1) return
    let evaluations = 0
    const evaluate = device.eval.bind(device)
    device.eval = (...given) => {
      const result = evaluate(...given)
      if (++evaluations === 7) device.destroy()
      return result
    }
  })
  expect(disturbed.devices.length).toBe(2)
  expect(disturbed.weights.equals(undisturbed.weights)).toBe(true)
  expect(disturbed.records.map(({ step, loss }) => [step, loss])).toEqual(
    undisturbed.records.map(({ step, loss }) => [step, loss]),
  )

  // Too little memory for the whole batch at once: smaller micro-batches, the same training.
  const trace = join(directory, 'trace.json')
  const narrow = await run('narrow', undefined, { memoryLimit: Math.round(undisturbed.peak * 0.85) }, trace)
  expect(narrow.peak).toBeLessThan(undisturbed.peak)
  expect(narrow.records.length).toBe(4)
  narrow.records.forEach(({ loss }, index) => expect(loss).toBeCloseTo(undisturbed.records[index]?.loss ?? NaN, 3))

  const { traceEvents } = JSON.parse(readFileSync(trace, 'utf8')) as { traceEvents: { ph: string; dur: number }[] }
  const kernels = traceEvents.filter(({ ph }) => ph === 'X')
  expect(kernels.length).toBeGreaterThan(500)
  expect(kernels.every(({ dur }) => dur >= 0)).toBe(true)
})
