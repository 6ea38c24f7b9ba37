import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readParquet, type Row } from '@revisual/data'
import { expect, it } from 'vitest'
import { completionsLogger } from './completions-logger.js'

it('writes completions of a step as rows, and drops those of steps to be done again', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'revisual-completions-'))
  try {
    const logger = completionsLogger(directory)
    await logger.start?.({ records: [], globalStep: 0 })
    const completion = { text: 'four', tokens: 2, finishReason: 'stop', advantage: -0.5, selected: 0 } as const
    const samplesOf = (globalStep: number) => ({
      stage: 'mrl',
      step: globalStep,
      globalStep,
      prompts: [
        {
          example: { id: 'p', prompt: null, row: { question: '2 + 2 ?', answer: 4 } },
          completions: [
            { ...completion, reward: 1, scores: { accuracy: 1, style: null } },
            { ...completion, reward: null, scores: { accuracy: null, style: null } },
          ],
        },
      ],
    })
    for (const step of [1, 2, 3]) await logger.samples?.(samplesOf(step))
    const rows: Row[] = []
    for await (const row of readParquet(join(directory, '000002.parquet'))) rows.push(row)
    expect(rows.map(({ id }) => id)).toEqual(['p#0', 'p#1'])
    expect(rows[0]).toMatchObject({
      question: '2 + 2 ?',
      answer: '4',
      solution: 'four',
      source: 'mrl',
      tags: { prompt: 'p', global_step: 2, reward: 1, 'rewards/accuracy': 1, finish_reason: 'stop', selected: 0 },
    })
    expect(rows[1]?.tags).not.toHaveProperty('reward')
    await completionsLogger(directory).start?.({ records: [], globalStep: 1 })
    expect(readdirSync(directory)).toEqual(['000001.parquet'])
  } finally {
    rmSync(directory, { recursive: true })
  }
})
