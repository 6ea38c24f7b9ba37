import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { newPolicy, rl, sft } from '../../test/sequence-task.js'
import type { TabularPolicy } from '../../test/tabular-policy.js'
import type { Policy } from '../types.js'
import { latestCheckpoint } from './checkpoint.js'
import type { Stage } from './stages.js'
import { train, type TrainOptions } from './train.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'revisual-run-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** All lines of a file of records, without wall clock. */
const records = (path: string) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const record = JSON.parse(line) as Record<string, unknown>
      return Object.fromEntries(Object.entries(record).filter(([name]) => !name.startsWith('time/')))
    })

describe('out of memory', () => {
  const stages = (tokensPerMicroBatch: number): Stage<number>[] => [
    sft({ tokensPerMicroBatch, batchSize: 8 }),
    rl({ tokensPerMicroBatch, updatesPerStep: 2, kl: { estimator: 'k3', coefficient: 0.01 } }),
  ]
  const run = (policy: Policy<number>, tokens: number, options: Partial<TrainOptions<number>> = {}) =>
    train({ policy, stages: stages(tokens), seed: 3, ...options })

  it('halves the micro-batch, does the step again, and ends as a run that began with the small one', async () => {
    const [large, small] = [newPolicy(), newPolicy()]
    large.memory = 8
    const warnings: string[] = []
    await run(large, 32, { hooks: { onWarning: (message) => void warnings.push(message) } })
    await run(small, 8)
    expect(large.tables).toEqual(small.tables)
    // 32 → 16 → 8 in the first step of either stage, and never again: smaller batches have no more than 8 anyway.
    expect(warnings.map((text) => /^Stage '(.*)', step 1: .* at most (\d+) tokens/.exec(text)?.slice(1, 3))).toEqual([
      ['cold-start', '16'],
      ['cold-start', '8'],
      ['rl', expect.any(String)],
      ['rl', expect.any(String)],
    ])
  })

  it('keeps what it found in checkpoints, so that a resumed run has the same bits', async () => {
    const undisturbed = newPolicy()
    undisturbed.memory = 16
    await run(undisturbed, 64)
    const checkpoints = { every: 1 }
    const killed = newPolicy()
    killed.memory = 16
    let steps = 0
    killed.onCall = (call) => {
      if (call === 'step' && ++steps === 3) throw new Error('killed')
    }
    await expect(run(killed, 64, { runDirectory: directory, checkpoints })).rejects.toThrow('killed')
    const resumed = newPolicy()
    resumed.memory = 16
    const warnings: string[] = []
    const hooks = { onWarning: (message: string) => void warnings.push(message) }
    await run(resumed, 64, { runDirectory: directory, checkpoints, resume: true, hooks })
    expect(resumed.tables).toEqual(undisturbed.tables)
    expect(warnings.some((text) => text.includes('cold-start'))).toBe(false)
  })

  it('ends the run when a single sequence does not fit, and when the policy cannot drop gradients', async () => {
    const tiny = newPolicy()
    tiny.memory = 2
    await expect(run(tiny, 32)).rejects.toThrow('do not fit into memory for 2')
    const policy = newPolicy()
    policy.memory = 8
    const without = new Proxy(policy, {
      get: (target, name) => {
        if (name === 'discardGradients') return undefined
        const value: unknown = Reflect.get(target, name, target)
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      },
    })
    await expect(run(without, 32)).rejects.toThrow('do not fit into memory for 8')
  })
})

describe('a lost device', () => {
  const stages = (): Stage<number>[] => [sft(), rl({ name: 'mrl', updatesPerStep: 2 }), rl({ name: 'trl' })]
  const lost = () => Object.assign(new Error('gone'), { name: 'DeviceLostError' })

  /** Trains with policies that lose their device at the given calls, one policy after the other. */
  async function lossy(path: string, moments: readonly number[], options: Partial<TrainOptions<number>> = {}) {
    const policies: TabularPolicy[] = []
    const warnings: string[] = []
    const make = () => {
      const policy = newPolicy()
      let left = moments[policies.length] ?? Infinity
      policy.onCall = () => {
        if (--left <= 0) throw lost()
      }
      policies.push(policy)
      return policy
    }
    const result = train({
      policy: make(),
      stages: stages(),
      seed: 3,
      runDirectory: path,
      checkpoints: { every: 2 },
      rebuildPolicy: make,
      hooks: {
        onWarning: (message) => void warnings.push(message),
        // Errors of a device often arrive wrapped.
        evaluate: async () => {
          try {
            await policies.at(-1)?.sample([], { maxTokens: 1, temperature: 1 })
          } catch (cause) {
            throw new Error('evaluation failed', { cause })
          }
          return { metrics: {} }
        },
      },
      ...options,
    })
    return { result: await result, warnings, policies, last: policies.at(-1) as TabularPolicy }
  }

  it('is replaced, and the run ends in the same bits and records', async () => {
    const expected = await lossy(join(directory, 'undisturbed'), [])
    const disturbed = await lossy(join(directory, 'disturbed'), [2, 15, 1, 30, 22, 17])
    expect(disturbed.policies.length).toBe(7)
    expect(disturbed.warnings.length).toBe(6)
    expect(disturbed.warnings[0]).toMatch(/After step \d+: gone The run goes on from its newest checkpoint/)
    expect(disturbed.last.tables).toEqual(expected.last.tables)
    for (const file of ['metrics.jsonl', 'samples/training.jsonl']) {
      expect(records(join(directory, 'disturbed', file))).toEqual(records(join(directory, 'undisturbed', file)))
    }
    expect(await latestCheckpoint(join(directory, 'disturbed', 'checkpoints'), () => undefined)).toMatch(/step-000016$/)
  })

  it('ends the run when devices are lost again and again without progress, or nobody can replace them', async () => {
    await expect(lossy(join(directory, 'a'), Array<number>(20).fill(9))).rejects.toThrow('gone')
    const { rebuildPolicy: _, ...rest } = { rebuildPolicy: undefined }
    const policy = newPolicy()
    policy.onCall = () => {
      throw lost()
    }
    await expect(train({ policy, stages: stages(), runDirectory: join(directory, 'b'), ...rest })).rejects.toThrow(
      'gone',
    )
    await expect(train({ policy, stages: stages(), rebuildPolicy: newPolicy })).rejects.toThrow('gone')
  })
})
