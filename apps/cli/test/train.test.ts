/**
 * Whole runs of the built command line on a configuration of a few steps: what they leave behind, and that being stopped in any
 * way changes nothing.
 */
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fixture, run, start } from './cli.js'

let folder: string
const out = (name: string) => join(folder, name)
const trainArguments = (name: string, ...flags: string[]) => [
  'train',
  fixture('tiny.yaml'),
  '--set',
  `out=${out(name)}`,
  ...flags,
]

const TOTAL_STEPS = 15

/** Records without wall clock. */
function records(name: string): { [metric: string]: unknown }[] {
  if (!existsSync(join(out(name), 'metrics.jsonl'))) return []
  const lines = readFileSync(join(out(name), 'metrics.jsonl'), 'utf8')
    .split('\n')
    .slice(0, -1)
  return lines.map((line) => {
    const record = JSON.parse(line) as { [metric: string]: unknown }
    return Object.fromEntries(Object.entries(record).filter(([metric]) => !metric.startsWith('time/')))
  })
}

interface Summary {
  readonly stages: readonly {
    readonly name: string
    readonly seconds: number
    readonly steps: number
    readonly tasks: object
  }[]
  readonly adapter: string
  readonly seed: number
}

const summary = (name: string) => JSON.parse(readFileSync(join(out(name), 'summary.json'), 'utf8')) as Summary
const timeless = ({ stages, ...rest }: Summary) => ({
  ...rest,
  stages: stages.map(({ seconds: _, ...stage }) => stage),
})
const stepsDone = (name: string) => records(name).filter((record) => !('phase' in record)).length

/** Starts or resumes a run, sends `signal` once `steps` steps are recorded and `delay` ms have passed. */
async function interrupt(name: string, steps: number, delay: number, signal: NodeJS.Signals) {
  const running = start(trainArguments(name, '--resume'))
  let over = false
  const ended = running.ended.finally(() => (over = true))
  while (!over && stepsDone(name) < steps) await new Promise((resolve) => setTimeout(resolve, 20))
  await new Promise((resolve) => setTimeout(resolve, delay))
  running.kill(signal)
  return ended
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'revisual-train-'))
  const { code, stderr } = await run(trainArguments('undisturbed'))
  expect(code, stderr).toBe(0)
})
afterAll(() => rm(folder, { recursive: true }))

describe('a finished run', () => {
  it('fills the folder', async () => {
    const entries = await readdir(out('undisturbed'))
    const expected = ['checkpoints', 'config.yaml', 'metrics.jsonl', 'model', 'report.html', 'samples', 'summary.json']
    expect(entries.sort()).toEqual(expected)
    expect(stepsDone('undisturbed')).toBe(TOTAL_STEPS)
    expect(await readdir(join(out('undisturbed'), 'checkpoints'))).toHaveLength(2)
    expect(await readdir(join(out('undisturbed'), 'samples'))).toContain('mrl-digits-image.jsonl')
  })

  it('sums up every stage on every task', () => {
    const { stages, seed } = summary('undisturbed')
    expect(seed).toBe(3)
    expect(stages.map(({ name, steps }) => [name, steps])).toEqual([
      ['base', 0],
      ['cold-start', 5],
      ['mrl', 5],
      ['trl', 5],
    ])
    for (const { tasks } of stages) {
      expect(tasks).toEqual({
        'digits-image': expect.anything() as unknown,
        'digits-text': expect.anything() as unknown,
      })
      for (const result of Object.values(tasks) as { readonly n: number; readonly ci95: unknown }[]) {
        expect(result).toMatchObject({
          n: 3,
          accuracy: expect.any(Number) as number,
          formatRate: expect.any(Number) as number,
          meanTokens: expect.any(Number) as number,
        })
        expect(result.ci95).toHaveLength(2)
      }
    }
  })

  it('writes a report that needs nothing else', () => {
    const html = readFileSync(join(out('undisturbed'), 'report.html'), 'utf8')
    for (const text of ['uPlot', 'PAD: completions kept and dropped', 'data:image/png;base64,', 'cold-start'])
      expect(html).toContain(text)
    expect(html).not.toMatch(/(src|href)="?https?:/)
  })

  it('really trained: some step had an advantage to learn from', () => {
    const norms = records('undisturbed').flatMap(({ grad_norm, stage }) =>
      stage === 'mrl' && typeof grad_norm === 'number' ? [grad_norm] : [],
    )
    expect(Math.max(...norms)).toBeGreaterThan(0)
  })

  it('is not overwritten, and is shown again when resumed', async () => {
    const refused = await run(trainArguments('undisturbed'))
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/exists already.*--resume.*--overwrite/)
    const shown = await run(trainArguments('undisturbed', '--resume'))
    expect(shown.code).toBe(0)
    expect(shown.stdout).toMatch(/cold-start .*%/)
  })

  it('is not resumed with another configuration', async () => {
    const { code, stderr } = await run(trainArguments('undisturbed', '--resume', '--set', 'stages.trl.steps=9'))
    expect(code).toBe(1)
    expect(stderr).toMatch(/another configuration \(stages\.2\.steps differ\)/)
  })

  it('leaves a model that can be used', async () => {
    const { code, stdout, stderr } = await run([
      'generate',
      join(out('undisturbed'), 'model'),
      'what is the sum ?',
      '--max-tokens',
      '4',
      '--json',
    ])
    expect(code, stderr).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({
      text: expect.any(String) as string,
      finishReason: expect.stringMatching(/stop|length/) as string,
    })
    const evaluated = await run([
      'eval',
      join(out('undisturbed'), 'model'),
      '--task',
      'digits-text',
      '--n',
      '3',
      '--max-tokens',
      '4',
    ])
    expect(evaluated.code, evaluated.stderr).toBe(0)
    expect(evaluated.stdout).toContain('digits-text')
  })
})

describe('a run that was stopped', () => {
  it('killed at a random moment, interrupted later, ends in the same bits', async () => {
    const name = 'disturbed'
    const killAt = Math.floor(Math.random() * (TOTAL_STEPS - 5))
    const delay = Math.floor(Math.random() * 400)
    const moment = `killed ${delay} ms after step ${killAt}`

    const killed = await interrupt(name, killAt, delay, 'SIGKILL')
    expect(killed.signal, `${moment}: ${killed.stderr}`).toBe('SIGKILL')

    const stopped = await interrupt(name, Math.max(killAt + 1, 11), 0, 'SIGINT')
    expect(stopped.code, `${moment}: ${stopped.stderr}`).toBe(130)
    expect(existsSync(join(out(name), 'summary.json'))).toBe(false)

    const finished = await run(trainArguments(name, '--resume'))
    expect(finished.code, `${moment}: ${finished.stderr}`).toBe(0)
    expect(finished.stderr).toMatch(/resumed at step/)

    const weights = (run: string) => readFileSync(join(out(run), 'model', 'model.safetensors'))
    expect(weights(name).equals(weights('undisturbed')), `${moment}: other weights`).toBe(true)
    expect(records(name), moment).toEqual(records('undisturbed'))
    expect(timeless(summary(name)), moment).toEqual(timeless(summary('undisturbed')))
  })
})
