import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { latestCheckpoint, writeCheckpoint } from './checkpoint.js'

let parent: string
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'revisual-checkpoints-'))
})
afterEach(() => rmSync(parent, { recursive: true }))

const save = (step: number, keep = 3) =>
  writeCheckpoint(parent, step, keep, async (folder) => {
    mkdirSync(join(folder, 'policy'))
    writeFileSync(join(folder, 'policy', 'weights.bin'), `weights of ${step}`)
    writeFileSync(join(folder, 'trainer.json'), String(step))
  })

const noWarning = () => {
  throw new Error('unexpected warning')
}

describe('checkpoints', () => {
  it('keep the newest and are found again', async () => {
    for (const step of [1, 2, 9, 10]) await save(step, 2)
    expect(readdirSync(parent).sort()).toEqual(['step-000009', 'step-000010'])
    expect(await latestCheckpoint(parent, noWarning)).toBe(join(parent, 'step-000010'))
  })

  it('say nothing of a folder without any', async () => {
    expect(await latestCheckpoint(join(parent, 'absent'), noWarning)).toBeNull()
  })

  it('are not there at all when writing them failed', async () => {
    await save(1)
    const failing = writeCheckpoint(parent, 2, 3, async (folder) => {
      writeFileSync(join(folder, 'half'), 'written')
      throw new Error('disk full')
    })
    await expect(failing).rejects.toThrow('disk full')
    expect(await latestCheckpoint(parent, noWarning)).toBe(join(parent, 'step-000001'))
    expect(readdirSync(parent)).toEqual(['step-000001'])
    await save(2)
    expect(await latestCheckpoint(parent, noWarning)).toBe(join(parent, 'step-000002'))
  })

  it.each([
    [
      'truncated',
      (folder: string) => truncateSync(join(folder, 'policy', 'weights.bin'), 3),
      'has 3 bytes instead of 12',
    ],
    [
      'changed',
      (folder: string) => writeFileSync(join(folder, 'policy', 'weights.bin'), 'weightz of 2'),
      'another checksum',
    ],
    ['incomplete', (folder: string) => rmSync(join(folder, 'trainer.json')), 'trainer.json'],
    ['without manifest', (folder: string) => rmSync(join(folder, 'manifest.json')), 'manifest.json'],
    ['with half a manifest', (folder: string) => truncateSync(join(folder, 'manifest.json'), 20), 'JSON'],
  ])('that are %s are set aside with a warning, and the one before is used', async (_, damage, reason) => {
    await save(1)
    damage(await save(2))
    const warnings: string[] = []
    expect(await latestCheckpoint(parent, (message) => warnings.push(message))).toBe(join(parent, 'step-000001'))
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toContain(reason)
    expect(existsSync(join(parent, 'step-000002.damaged'))).toBe(true)
    // The step is reached again.
    await save(2)
    expect(readFileSync(join(parent, 'step-000002', 'policy', 'weights.bin'), 'utf8')).toBe('weights of 2')
    expect(await latestCheckpoint(parent, noWarning)).toBe(join(parent, 'step-000002'))
  })
})
