import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { newPolicy, rl, sft } from '../../test/sequence-task.js'
import type { TabularPolicy } from '../../test/tabular-policy.js'
import { createRandom } from '../random.js'
import type { Stage } from './stages.js'
import { train, type TrainOptions } from './train.js'

/** Two stages with every feature that has state. */
const everything = (): Stage<number>[] => [
  sft(),
  rl({ name: 'mrl', pad: { variant: 'paper', low: 0.05, ratio: 0.7 }, updatesPerStep: 2 }),
  rl({
    name: 'trl',
    pad: { variant: 'released', low: 0.03, high: 2, ratio: 1.5, alpha: 1.5 },
    kl: { estimator: 'k3', coefficient: 0.01 },
    entropy: { coefficient: 0.02, warmupUpdates: 2, decay: 0.9 },
    stop: { kind: 'patience', metric: 'reward', mode: 'max', patience: 100, window: 2 },
  }),
]

/** Without wall clock, which no two runs share. */
const timeless = (record: object) =>
  Object.fromEntries(Object.entries(record).filter(([name]) => !name.startsWith('time/')))

const lines = (path: string): object[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => timeless(JSON.parse(line) as object))

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'revisual-run-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('resume', () => {
  type Options = Partial<TrainOptions<number>>
  const start = (policy: TabularPolicy, runDirectory: string, options: Options = {}) =>
    train({
      policy,
      stages: everything(),
      seed: 3,
      runDirectory,
      checkpoints: { every: 2, keep: 2 },
      evaluateEvery: 4,
      ...options,
      hooks: {
        evaluate: ({ globalStep }) => ({
          metrics: { sum: policy.tables.logits.flat().reduce((a, b) => a + b, globalStep) },
        }),
        ...options.hooks,
      },
    })

  /** What a finished run leaves behind. */
  const remains = (policy: TabularPolicy, path: string) => ({
    tables: JSON.stringify(policy.tables),
    metrics: lines(join(path, 'metrics.jsonl')),
    samples: lines(join(path, 'samples', 'training.jsonl')),
  })

  async function undisturbed() {
    const policy = newPolicy()
    const path = join(directory, 'undisturbed')
    const result = await start(policy, path)
    return { ...remains(policy, path), result }
  }

  const withoutSeconds = ({ stages, ...rest }: Awaited<ReturnType<typeof start>>) => ({
    ...rest,
    stages: stages.map(({ seconds: _, ...stage }) => stage),
  })

  it('after a crash at any moment ends in the same bits and the same records', async () => {
    const expected = await undisturbed()
    expect(expected.metrics).toHaveLength(16 + 6)
    const crashes = new Set<string>()
    for (const round of [1, 2, 3]) {
      const path = join(directory, `crashing-${round}`)
      for (let attempt = 0; ; attempt++) {
        expect(attempt).toBeLessThan(50)
        const policy = newPolicy()
        let left = 5 + createRandom(round, 'crash', attempt).below(40)
        policy.onCall = (call) => {
          if (--left > 0) return
          crashes.add(call)
          throw new Error('killed')
        }
        try {
          const result = await start(policy, path, { resume: true })
          expect(withoutSeconds(result)).toEqual(withoutSeconds(expected.result))
          expect(remains(policy, path)).toEqual({
            tables: expected.tables,
            metrics: expected.metrics,
            samples: expected.samples,
          })
          break
        } catch (error) {
          if (!(error instanceof Error && error.message === 'killed')) throw error
        }
      }
    }
    // Also halfway through writing a checkpoint.
    expect([...crashes].sort()).toEqual(['accumulate', 'sample', 'save', 'score', 'step'])
  })

  it('after an abort between or within steps does, too', async () => {
    const expected = await undisturbed()
    const path = join(directory, 'aborted')
    let interruptions = 0
    for (let attempt = 0; ; attempt++) {
      const policy = newPolicy()
      const controller = new AbortController()
      let calls = 0
      const moment = 3 + createRandom(11, 'abort', attempt).below(25)
      policy.onCall = () => {
        if (++calls === moment) controller.abort()
      }
      const result = await start(policy, path, { resume: true, signal: controller.signal })
      if (!result.interrupted) {
        expect(remains(policy, path)).toEqual({
          tables: expected.tables,
          metrics: expected.metrics,
          samples: expected.samples,
        })
        break
      }
      interruptions++
      expect(attempt).toBeLessThan(100)
    }
    expect(interruptions).toBeGreaterThan(3)
  })

  it('drops a step that was aborted while sampling', async () => {
    const policy = newPolicy()
    const controller = new AbortController()
    const started: unknown[] = []
    policy.onCall = (call) => {
      if (call === 'sample') controller.abort()
    }
    const first = await start(policy, directory, { signal: controller.signal })
    expect(first).toMatchObject({ interrupted: true, globalStep: 4 })
    await start(newPolicy(), directory, { resume: true, hooks: { onStart: (from) => void started.push(from) } })
    expect(started).toEqual([{ stage: 'cold-start', step: 4, globalStep: 4 }])
  })

  it('from a damaged checkpoint goes back one further, with a warning', async () => {
    const expected = await undisturbed()
    const policy = newPolicy()
    const path = join(directory, 'damaged')
    policy.onCall = (call) => {
      if (call === 'sample' && existsSync(join(path, 'checkpoints', 'step-000008'))) throw new Error('killed')
    }
    await expect(start(policy, path)).rejects.toThrow('killed')
    const checkpoints = join(path, 'checkpoints')
    expect(readdirSync(checkpoints).sort()).toEqual(['step-000006', 'step-000008'])
    truncateSync(join(checkpoints, 'step-000008', 'policy', 'optimizer.json'), 100)
    const warnings: string[] = []
    const second = newPolicy()
    await start(second, path, { resume: true, hooks: { onWarning: (message) => void warnings.push(message) } })
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toContain('step-000008 is damaged (policy/optimizer.json has 100 bytes')
    expect(remains(second, path)).toEqual({
      tables: expected.tables,
      metrics: expected.metrics,
      samples: expected.samples,
    })
  })

  it('of a finished run returns what it had', async () => {
    const first = await undisturbed()
    const path = join(directory, 'again')
    cpSync(join(directory, 'undisturbed'), path, { recursive: true })
    const policy = newPolicy()
    expect(withoutSeconds(await start(policy, path, { resume: true }))).toEqual(withoutSeconds(first.result))
    expect(remains(policy, path).metrics).toEqual(first.metrics)
  })

  it('is refused with another seed or other stages, and so is starting over a used folder', async () => {
    await start(newPolicy(), directory)
    await expect(start(newPolicy(), directory)).rejects.toThrow('holds a run already. Pass resume: true')
    await expect(start(newPolicy(), directory, { resume: true, seed: 4 })).rejects.toThrow('its seed is 3, now it is 4')
    await expect(start(newPolicy(), directory, { resume: true, stages: [sft()] })).rejects.toThrow('list of stages')
    await expect(train({ policy: newPolicy(), stages: [sft()], resume: true })).rejects.toThrow(
      'resume needs a runDirectory',
    )
  })
})
