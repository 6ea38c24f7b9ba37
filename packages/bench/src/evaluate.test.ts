import type { Row } from '@revisual/data'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { compareRuns } from './compare.js'
import { evaluate, summarizeSamples } from './evaluate.js'
import { renderComparison, renderEvaluation, renderEvaluations } from './report.js'
import { readSamples, writeSamples } from './samples-file.js'
import { wilsonInterval } from './statistics.js'
import type { Backend, Generation, GenerationRequest, Task } from './types.js'

const rows: Row[] = Array.from({ length: 10 }, (_, i) => ({
  id: `r${i}`,
  question: `${i}`,
  images: [],
  answer: `${i}`,
  source: 'test',
  tags: { half: i < 5 ? 'low' : 'high' },
}))

/** Right when the text is the answer; in form when it has no space. */
const task: Task = {
  name: 'echo',
  description: 'Say the question.',
  load: async () => rows,
  prompt: ({ question }) => ({ system: 'Repeat.', question }),
  score: ({ answer }, text) => {
    if (text === 'poison') throw new Error('cannot read this')
    return { correct: text === answer, formatted: !text.includes(' '), extracted: text, rule: 'text' }
  },
  maxTokens: 7,
  categories: ['half'],
}

const say = (text: string, tokens = 2, finishReason: 'stop' | 'length' = 'stop'): Generation => ({
  text,
  tokens,
  finishReason,
})

function backend(answer: (request: GenerationRequest) => Generation, seen: GenerationRequest[] = []): Backend {
  return {
    name: 'mock',
    generate: async (requests) => {
      seen.push(...requests)
      return requests.map(answer)
    },
  }
}

const greedy = { temperature: 0, seed: 1 }

describe('evaluate', () => {
  it('counts right, wrong, truncated and failed answers, all in the denominator', async () => {
    const answers: Record<string, Generation> = {
      r0: { error: 'no connection' },
      r1: say('poison', 4),
      r2: say('2', 7, 'length'),
      r3: say('not this', 5),
    }
    const seen: GenerationRequest[] = []
    const evaluation = await evaluate(
      task,
      backend(({ id, question }) => answers[id.split('#')[0]!] ?? say(question), seen),
      { ...greedy, batchSize: 3 },
    )
    expect(evaluation).toMatchObject({
      task: 'echo',
      backend: 'mock',
      n: 10,
      accuracy: 0.7,
      ci95: wilsonInterval(0.7, 10),
      formatRate: 0.7,
      meanTokens: (4 + 7 + 5 + 6 * 2) / 9,
      truncated: 1,
      errors: 2,
      sampling: { temperature: 0, seed: 1, maxTokens: 7, samplesPerProblem: 1 },
      passAtK: { 1: 0.7 },
    })
    expect(evaluation.byCategory).toMatchObject({
      half: { low: { n: 5, accuracy: 0.4, errors: 2 }, high: { n: 5, accuracy: 1, errors: 0 } },
    })
    expect(evaluation.samples.slice(0, 3)).toMatchObject([
      { id: 'r0', state: 'error', error: 'no connection', correct: false, tokens: 0 },
      { id: 'r1', state: 'error', error: 'The scorer failed: cannot read this', correct: false, text: 'poison' },
      { id: 'r2', state: 'truncated', correct: true },
    ])
    expect(seen[0]).toMatchObject({
      id: 'r0#0',
      system: 'Repeat.',
      question: '0',
      images: [],
      maxTokens: 7,
      temperature: 0,
    })
  })

  it('draws the same answers whatever the batches and the limit, and others for another seed', async () => {
    const seeded = backend(({ seed }) => say(`${seed % 3}`))
    const run = async (options: object) =>
      (await evaluate(task, seeded, { temperature: 1, seed: 1, samplesPerProblem: 3, ...options })).samples.map(
        ({ id, sample, seed }) => [id, sample, seed],
      )
    const all = await run({})
    expect(await run({ batchSize: 4 })).toEqual(all)
    expect(await run({ limit: 4 })).toEqual(all.slice(0, 12))
    expect(new Set(all.map(([, , seed]) => seed)).size).toBe(30)
    expect(await run({ seed: 2 })).not.toEqual(all)
  })

  it('averages over several samples and estimates pass@k', async () => {
    // Problems 0–4: one of four samples right; the others never.
    const evaluation = await evaluate(
      task,
      backend(({ id, question }) => say(id.endsWith('#2') && Number(question) < 5 ? question : 'x')),
      { temperature: 1, seed: 0, samplesPerProblem: 4 },
    )
    expect(evaluation.n).toBe(10)
    expect(evaluation.samples).toHaveLength(40)
    expect(evaluation.accuracy).toBeCloseTo(5 / 40, 12)
    expect(evaluation.passAtK[1]).toBeCloseTo(5 / 40, 12)
    expect(evaluation.passAtK[2]).toBeCloseTo(0.25, 12)
    expect(evaluation.passAtK[4]).toBeCloseTo(0.5, 12)
  })

  it('reports progress and stops when told', async () => {
    const progress: number[] = []
    const controller = new AbortController()
    const running = evaluate(
      task,
      backend(({ question }) => say(question)),
      {
        ...greedy,
        batchSize: 4,
        signal: controller.signal,
        onProgress: ({ done, total, correct }) => {
          progress.push(done, total, correct)
          if (done === 8) controller.abort(new Error('enough'))
        },
      },
    )
    await expect(running).rejects.toThrow('enough')
    expect(progress).toEqual([4, 10, 4, 8, 10, 8])
  })

  it('refuses what would give wrong figures', async () => {
    const right = backend(({ question }) => say(question))
    await expect(evaluate(task, { name: 'short', generate: async () => [] }, greedy)).rejects.toThrow(
      /'short' returned 0 generations for 10 requests/,
    )
    await expect(evaluate(task, right, { ...greedy, temperature: -1 })).rejects.toThrow(/temperature is -1/)
    await expect(evaluate(task, right, { ...greedy, samplesPerProblem: 0 })).rejects.toThrow(/samplesPerProblem is 0/)
    await expect(evaluate(task, right, { ...greedy, limit: 2.5 })).rejects.toThrow(/limit is 2.5/)
    await expect(evaluate({ ...task, load: async () => [] }, right, greedy)).rejects.toThrow(/'echo' has no rows/)
    await expect(evaluate({ ...task, load: async () => [rows[0]!, rows[0]!] }, right, greedy)).rejects.toThrow(
      /not unique/,
    )
    const broken: Backend = { name: 'gone', generate: async () => Promise.reject(new Error('device lost')) }
    await expect(evaluate(task, broken, greedy)).rejects.toThrow('device lost')
  })
})

const some = async (right: (i: number) => boolean) =>
  evaluate(
    task,
    backend(({ question }) => say(right(Number(question)) ? question : 'no')),
    greedy,
  )

describe('samples files', () => {
  it('give the same figures again', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'revisual-bench-'))
    try {
      const path = join(folder, 'samples.jsonl')
      const evaluation = await some((i) => i % 3 === 0)
      await writeSamples(path, evaluation.samples)
      const samples = await readSamples(path)
      expect(samples).toEqual(evaluation.samples)
      expect(evaluation).toMatchObject(summarizeSamples(samples))
      await writeFile(path, '{"task":"echo","id":"a","sample":0}\n')
      await expect(readSamples(path)).rejects.toThrow(/samples\.jsonl:1: 'correct' must be a boolean/)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('must hold something to sum up', () => {
    expect(() => summarizeSamples([])).toThrow(/no samples/)
  })
})

describe('compareRuns', () => {
  it('pairs the problems', async () => {
    const comparison = compareRuns((await some((i) => i < 4)).samples, (await some((i) => i >= 3 && i < 9)).samples)
    expect(comparison).toMatchObject({
      n: 10,
      counts: { both: 1, onlyFirst: 3, onlySecond: 5, neither: 1 },
      flips: { lost: ['r0', 'r1', 'r2'], won: ['r4', 'r5', 'r6', 'r7', 'r8'] },
    })
    expect(comparison.difference).toBeCloseTo(0.2, 12)
    // Differences: −1 thrice, +1 five times, 0 twice; variance (8 − 10 · 0.04)/9.
    expect(comparison.ci95[1] - comparison.difference).toBeCloseTo(1.959964 * Math.sqrt(7.6 / 9 / 10), 6)
    // 2 · (1 + 8 + 28 + 56) / 2⁸
    expect(comparison.pValue).toBeCloseTo(186 / 256, 12)
    expect(renderComparison(comparison)).toBe(
      'difference +20.0 points (95 % interval −37.0 to +77.0), 10 problems\n' +
        'both right 1, only first 3, only second 5, neither 1; McNemar p = 0.73',
    )
  })

  it('refuses runs on other problems', async () => {
    const { samples } = await some(() => true)
    expect(() => compareRuns(samples, samples.slice(2))).toThrow(/2 of the first are not in the second.*such as 'r0'/)
    expect(() => compareRuns([], [])).toThrow(/at least one problem/)
  })
})

describe('reports', () => {
  it('are aligned tables', async () => {
    const evaluation = await some((i) => i < 5)
    expect(renderEvaluations([evaluation])).toBe(
      [
        'task   n  accuracy %  95 % interval  format %  tokens  truncated  errors',
        '────  ──  ──────────  ─────────────  ────────  ──────  ─────────  ──────',
        'echo  10        50.0    23.7 – 76.3     100.0     2.0          0       0',
      ].join('\n'),
    )
    const report = renderEvaluation(evaluation)
    expect(report).toContain('mock: temperature 0, seed 1, at most 7 tokens, 1 per problem')
    expect(report).toMatch(/^half +n +accuracy %.*\n.*\nhigh +5 +0\.0 .*\nlow +5 +100\.0 /m)
    const sampled = await evaluate(
      task,
      backend(({ question }) => say(question)),
      { temperature: 1, seed: 1, samplesPerProblem: 2 },
    )
    expect(renderEvaluation(sampled)).toContain('pass@1 100.0 %, pass@2 100.0 %')
  })
})
