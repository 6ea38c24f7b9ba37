/**
 * What decides the future of a policy, as files in one directory: weights, optimizer moments and step count, and the
 * reference if there is one. Sampling needs no state: its randomness is counted from the seeds of the requests.
 */
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { AdamW } from '@revisual/tensor'
import { readValues, writeValues } from '../checkpoint/weights.js'
import { ConfigError, isJsonObject } from '../config/json.js'
import type { VisionLanguageModel } from '../model.js'

/** Values by parameter name. */
export type ParameterValues = ReadonlyMap<string, Float32Array>

const files = {
  weights: 'model.safetensors',
  firstMoments: 'optimizer-first-moments.safetensors',
  secondMoments: 'optimizer-second-moments.safetensors',
  reference: 'reference.safetensors',
  counters: 'optimizer.json',
} as const

/** Writes the state of a policy into an existing directory. */
export async function savePolicyState(
  directory: string,
  model: VisionLanguageModel,
  optimizer: AdamW,
  reference: ParameterValues | null,
): Promise<void> {
  const { config } = model.parts
  const at = (file: string) => join(directory, file)
  const { step, firstMoments, secondMoments } = await optimizer.state()
  await writeValues(at(files.weights), config, await model.parameters.values())
  await writeValues(at(files.firstMoments), config, firstMoments)
  await writeValues(at(files.secondMoments), config, secondMoments)
  if (reference) await writeValues(at(files.reference), config, reference)
  await writeFile(at(files.counters), `${JSON.stringify({ step })}\n`)
}

/**
 * Restores what {@link savePolicyState} wrote. Gradients held are dropped.
 * @returns the reference, if there was one.
 */
export async function loadPolicyState(
  directory: string,
  model: VisionLanguageModel,
  optimizer: AdamW,
): Promise<ParameterValues | null> {
  const { config } = model.parts
  const at = (file: string) => join(directory, file)
  const counters: unknown = JSON.parse(await readFile(at(files.counters), 'utf8'))
  const step = isJsonObject(counters) ? counters['step'] : undefined
  if (typeof step !== 'number' || !Number.isInteger(step) || step < 0) {
    throw new ConfigError(`${at(files.counters)}: 'step' is ${JSON.stringify(step)}; allowed: an integer ≥ 0.`)
  }
  for (const [name, values] of await readValues(at(files.weights), config)) model.parameters.write(name, values)
  optimizer.load({
    step,
    firstMoments: await readValues(at(files.firstMoments), config),
    secondMoments: await readValues(at(files.secondMoments), config),
  })
  model.parameters.zeroGrad()
  return existsSync(at(files.reference)) ? readValues(at(files.reference), config) : null
}
