import { appendFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MetricRecord } from '@revisual/rl'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkConfig } from '../config/read.js'
import { openRunFolder, type RunFolder } from '../run/folder.js'
import { chartsOf, renderReport, stageStarts } from './report.js'

const record = (stage: string, step: number, metrics: object): MetricRecord => ({
  stage,
  step,
  global_step: step,
  ...metrics,
})

describe('charts', () => {
  it('take exact names and patterns, and leave out what has no data', () => {
    const charts = chartsOf([
      record('a', 1, { reward: 0.5, 'rewards/format/mean': 1, 'rewards/format/std': 0 }),
      record('a', 2, { reward: NaN, 'time/step': 3 }),
    ])
    expect(charts).toEqual([
      { title: 'Reward', series: [{ name: 'reward', values: [0.5, null] }] },
      { title: 'Rewards by function', series: [{ name: 'rewards/format/mean', values: [1, null] }] },
    ])
  })

  it('mark where a stage begins', () => {
    expect(stageStarts([record('a', 1, {}), record('a', 2, {}), record('b', 1, {})])).toEqual([
      { name: 'a', at: 0 },
      { name: 'b', at: 2 },
    ])
  })
})

describe('renderReport', () => {
  let out: string
  let folder: RunFolder
  beforeAll(async () => {
    out = await mkdtemp(join(tmpdir(), 'revisual-report-'))
    const stage = {
      name: 'a',
      kind: 'sft',
      data: [{ source: 'digits', modality: 'text' }],
      steps: 1,
      batchSize: 1,
      learningRate: 1,
    }
    folder = openRunFolder(checkConfig({ out, model: { preset: 'nano' }, stages: [stage] }, 'test'), 'fresh')
  })
  afterAll(() => rm(out, { recursive: true }))

  it('survives hostile text, and half a record at the end', () => {
    const completion = {
      text: '</script><script>alert(1)</script>',
      tokens: 1,
      finishReason: 'stop',
      reward: null,
      scores: {},
      advantage: 0,
      selected: 0,
    }
    const sample = {
      stage: 'a',
      step: 1,
      global_step: 1,
      id: 'x/1',
      row: { question: '<b>?', answer: '&' },
      completions: [completion],
    }
    appendFileSync(join(out, 'samples', 'training.jsonl'), `${JSON.stringify(sample)}\n{"stage":`)
    appendFileSync(join(out, 'metrics.jsonl'), `${JSON.stringify(record('</script>', 1, { loss: 1 }))}\n`)
    folder.saveImages('x/1', [Uint8Array.of(0x89, 1), Uint8Array.of(0xff, 2)])
    const html = renderReport(folder, { stages: [], adapter: '<gpu>', seed: 1 })
    expect(html).not.toContain('alert(1)</script>')
    expect(html).not.toContain('"</script>"')
    expect(html).toContain('&#60;gpu&#62;')
    expect(html).toContain('data:image/png;base64,iQE=')
    expect(html).toContain('data:image/jpeg;base64,/wI=')
  })
})
