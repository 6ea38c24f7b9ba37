/**
 * What decides the future of a policy, as files in one directory: weights, optimizer moments and step count, and the
 * reference if there is one. Sampling needs no state: its randomness is counted from the seeds of the requests.
 */
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readSafetensors, toFloat32, writeSafetensors, type AdamW, type ParameterSet } from '@revisual/tensor'
import { readWeights, writeWeights } from '../checkpoint/weights.js'
import { parametersOf, type VisionLanguageModel } from '../model.js'

const files = {
  weights: 'model.safetensors',
  optimizer: 'optimizer.safetensors',
  counters: 'optimizer.json',
  reference: 'reference',
} as const
