import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createPackage } from './create.js'
import { rewardCommand } from './reward.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'revisual-cases-'))
  await writeFile(join(folder, 'good.jsonl'), '{"completion":"a","expected":1}\n')
  await writeFile(join(folder, 'typo.jsonl'), '{"completion":"a"}\n\n{"completion":"b","expcted":1}\n')
  await writeFile(join(folder, 'text.jsonl'), 'completion: a\n')
  await writeFile(join(folder, 'empty.jsonl'), '\n')
})
afterAll(() => rm(folder, { recursive: true }))

it.each([
  ['reward', 'My-Reward', /'My-Reward' is no name for a package/],
  ['reward', '../up', /no name for a package/],
  ['reward', '@acme/../up', /no name for a package/],
  ['reward', 'fs', /no name for a package/],
  ['reward', 'node_modules', /no name for a package/],
  ['reward', 'a'.repeat(215), /at most 214 characters/],
  ['kernel', 'mine', /no template for 'kernel'; allowed: reward/],
])('create %s %s is refused', async (kind, name, message) => {
  await expect(createPackage(kind, name, { folder: null })).rejects.toThrow(message)
})

it.each<readonly [string, string, string | null, string | null, RegExp]>([
  ['try', 'accuracy', 'good.jsonl', null, /no 'reward try'/],
  ['test', 'accuracy', null, null, /--cases is missing/],
  ['test', 'accuracy', 'none.jsonl', null, /none\.jsonl cannot be read/],
  ['test', 'accuracy', 'typo.jsonl', null, /typo\.jsonl, line 3, is no case: .*expcted/],
  ['test', 'accuracy', 'text.jsonl', null, /text\.jsonl, line 1, is no JSON/],
  ['test', 'accuracy', 'empty.jsonl', null, /has no cases/],
  ['test', 'accuracy', 'good.jsonl', '{', /--options \{ is no JSON/],
  ['test', 'revisual-r1/text', 'good.jsonl', null, /preset of several rewards; remove 'expected'/],
])('reward %s %s --cases %s --options %s is refused', async (action, reference, cases, options, message) => {
  const flags = { cases: cases && join(folder, cases), options, timeout: 1000, timePerCompletion: 1000 }
  await expect(rewardCommand(action, reference, flags)).rejects.toThrow(message)
})
