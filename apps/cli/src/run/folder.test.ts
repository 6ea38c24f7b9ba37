import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { checkConfig } from '../config/read.js'
import { openRunFolder } from './folder.js'

let parent: string
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'revisual-folder-'))
})
afterEach(() => rm(parent, { recursive: true }))

const stage = {
  name: 'a',
  kind: 'sft',
  data: [{ source: 'digits', modality: 'text' }],
  steps: 1,
  batchSize: 1,
  learningRate: 1,
}
const config = (seed = 0) =>
  checkConfig({ out: join(parent, 'run'), seed, model: { preset: 'nano' }, stages: [stage] }, 'test')

it('refuses, resumes or replaces what is there', () => {
  openRunFolder(config(), 'resume')
  expect(() => openRunFolder(config(), 'fresh')).toThrow(/exists already/)
  expect(openRunFolder(config(), 'resume').isFinished).toBe(false)
  expect(() => openRunFolder(config(7), 'resume')).toThrow(/another configuration \(seed differ\)/)
  writeFileSync(join(parent, 'run', 'metrics.jsonl'), '')
  openRunFolder(config(7), 'overwrite')
  expect(existsSync(join(parent, 'run', 'metrics.jsonl'))).toBe(false)
})

it('never deletes a folder that holds something else', () => {
  const folder = openRunFolder(config(), 'fresh')
  writeFileSync(join(folder.path, 'thesis.txt'), 'precious')
  expect(() => openRunFolder(config(), 'overwrite')).toThrow(/more than a run \(thesis\.txt\)/)
  expect(existsSync(join(folder.path, 'thesis.txt'))).toBe(true)
})

it('does not take a folder without a configuration for a run', () => {
  const folder = openRunFolder(config(), 'fresh')
  rmSync(join(folder.path, 'config.yaml'))
  expect(() => openRunFolder(config(), 'resume')).toThrow(/not a run folder/)
})
