/** Samples as JSON Lines, one answer a line, to be read by people and by {@link readSamples}. */
import { readJsonLines } from '@revisual/data'
import { rename, writeFile } from 'node:fs/promises'
import type { SampleRecord } from './types.js'

/** Writes samples; an existing file is replaced whole. */
export async function writeSamples(path: string, samples: readonly SampleRecord[]): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`
  await writeFile(temporary, samples.map((sample) => `${JSON.stringify(sample)}\n`).join(''))
  await rename(temporary, path)
}

const needed = {
  task: 'string',
  id: 'string',
  sample: 'number',
  correct: 'boolean',
  formatted: 'boolean',
  tokens: 'number',
  state: 'string',
  tags: 'object',
}

/**
 * Samples written by {@link writeSamples}.
 * @throws {Error} naming file, line and field when a line is no sample.
 */
export async function readSamples(path: string): Promise<SampleRecord[]> {
  const samples: SampleRecord[] = []
  for await (const { line, value } of readJsonLines(path)) {
    for (const [field, type] of Object.entries(needed)) {
      const found = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[field] : undefined
      if (typeof found !== type || found === null) {
        throw new TypeError(
          `${path}:${line}: '${field}' must be a ${type}; is this a samples file written by writeSamples?`,
        )
      }
    }
    samples.push(value as SampleRecord)
  }
  return samples
}
