import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { gsm8kPath } from './assets.js'
import { loadGsm8k } from './gsm8k.js'

it('reads the official training file', async () => {
  const rows = await loadGsm8k(fileURLToPath(new URL('../test/fixtures/gsm8k/train.jsonl', import.meta.url)))
  expect(rows.map((row) => row.answer)).toEqual(['72', '10', '5', '42', '624'])
  expect(rows[0]).toEqual({
    id: 'gsm8k/train/1',
    question:
      'Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did Natalia sell altogether in April and May?',
    images: [],
    answer: '72',
    solution:
      '<think>Natalia sold 48/2 = 24 clips in May.\nNatalia sold 48+24 = 72 clips altogether in April and May.</think>\\boxed{72}',
    source: 'gsm8k',
    tags: { split: 'train', steps: 2 },
  })
})

it('ships the whole test split, every answer a plain number', async () => {
  const rows = await loadGsm8k(gsm8kPath('test'))
  expect(rows).toHaveLength(1319)
  expect(rows[0]!.answer).toBe('18')
  expect(rows.filter((row) => !/^-?\d+(\.\d+)?$/.test(row.answer)).map((row) => row.id)).toEqual([])
  expect(rows.filter((row) => /<<|>>|####/.test(row.solution!)).map((row) => row.id)).toEqual([])
  expect(() => gsm8kPath('train' as 'test')).toThrow(/'train' is not shipped.*allowed: 'test'/)
})

it('removes thousands commas, and names what is not GSM8K', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'revisual-gsm8k-'))
  try {
    const path = join(folder, 'mine.jsonl')
    await writeFile(path, '{"question":"q","answer":"It is $<<1000*70=70000>>70,000.\\n#### 70,000"}')
    expect((await loadGsm8k(path))[0]).toMatchObject({
      answer: '70000',
      solution: '<think>It is $70,000.</think>\\boxed{70000}',
    })
    await writeFile(path, '{"question":"q","answer":"no mark"}')
    await expect(loadGsm8k(path)).rejects.toThrow(
      /mine\.jsonl:1: the answer must end in a line '#### <number>'; it ends in "no mark"/,
    )
    await writeFile(path, '{"problem":"q"}')
    await expect(loadGsm8k(path)).rejects.toThrow(/mine\.jsonl:1: a GSM8K line must be/)
  } finally {
    await rm(folder, { recursive: true })
  }
})
