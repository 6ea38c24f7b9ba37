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

/** What learns: every weight, or the factors of the adapter. A frozen base is not part of the state. */
const learningShapes = ({ parameters }: VisionLanguageModel) =>
  parameters.names.map((name) => ({ name, shape: parameters.shape(name) }))

/** Writes the state of a policy into an existing directory. */
export async function savePolicyState(
  directory: string,
  model: VisionLanguageModel,
  optimizer: AdamW,
  reference: ParameterValues | null,
): Promise<void> {
  const at = (file: string) => join(directory, file)
  const shapes = learningShapes(model)
  const { step, firstMoments, secondMoments } = await optimizer.state()
  await writeValues(at(files.weights), shapes, await model.parameters.values())
  await writeValues(at(files.firstMoments), shapes, firstMoments)
  await writeValues(at(files.secondMoments), shapes, secondMoments)
  if (reference) await writeValues(at(files.reference), shapes, reference)
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
  const at = (file: string) => join(directory, file)
  const shapes = learningShapes(model)
  const counters: unknown = JSON.parse(await readFile(at(files.counters), 'utf8'))
  const step = isJsonObject(counters) ? counters['step'] : undefined
  if (typeof step !== 'number' || !Number.isInteger(step) || step < 0) {
    throw new ConfigError(`${at(files.counters)}: 'step' is ${JSON.stringify(step)}; allowed: an integer ≥ 0.`)
  }
  for (const [name, values] of await readValues(at(files.weights), shapes)) model.parameters.write(name, values)
  optimizer.load({
    step,
    firstMoments: await readValues(at(files.firstMoments), shapes),
    secondMoments: await readValues(at(files.secondMoments), shapes),
  })
  model.parameters.zeroGrad()
  return existsSync(at(files.reference)) ? readValues(at(files.reference), shapes) : null
}
