import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import type { RewardBatch } from '../types.js'
import { defineReward } from './define.js'
import { efficientLengthReward } from './efficient-length.js'
import { loadReward } from './load.js'
import { combineRewards } from './scorer.js'
import { rewardFunctionMetrics } from './scores.js'
import { RewardWorker } from './worker.js'

const baseDir = fileURLToPath(new URL('../../test/fixtures/rewards', import.meta.url))

const batchOf = (...completions: string[]): RewardBatch => ({
  prompts: completions.map(() => ''),
  completions,
  completionLengths: completions.map(({ length }) => length),
  finishReasons: completions.map(() => 'stop'),
  rows: completions.map(() => ({ answer: '' })),
  step: 1,
})

const context = { signal: new AbortController().signal }

describe('efficient length', () => {
  it.each([
    [100, 100, 0.5],
    [100, 0, 1],
    [100, 50, 0.75],
    [100, 200, 0],
    [100, 1000, 0],
  ])('budget %d, length %d: %d', (budget, length, reward) => {
    expect(efficientLengthReward(length, { budget })).toBeCloseTo(reward, 12)
  })

  it('is built in, and checks its options', async () => {
    const spec = { use: 'efficient-length', weight: 0.5, options: { budget: 10, alpha: 0.1 } }
    const { name, weight, reward } = await loadReward(spec, { baseDir })
    expect([name, weight]).toEqual(['efficient-length', 0.5])
    expect(await reward(batchOf('x'.repeat(12)), context)).toEqual([0.3])
    await expect(loadReward({ ...spec, options: { budget: -1 } }, { baseDir })).rejects.toThrow(
      "Reward 'efficient-length': options.budget is -1; allowed: a number > 0",
    )
    await expect(loadReward({ ...spec, options: { budget: 1, beta: 2 } }, { baseDir })).rejects.toThrow(
      'options.beta is unknown; allowed: budget, alpha, delta',
    )
  })
})

describe('loadReward', () => {
  it('loads the default export of a file with checked options', async () => {
    const { name, reward } = await loadReward({ use: './good.mjs', options: { target: ' yes ' } }, { baseDir })
    expect(name).toBe('matches')
    expect(await reward(batchOf('yes', 'no'), context)).toEqual([1, 0])
  })

  it('loads a named function', async () => {
    const { name, reward } = await loadReward({ use: './good.mjs#lengths', name: 'length' }, { baseDir })
    expect(name).toBe('length')
    expect(await reward(batchOf('', 'abc'), context)).toEqual([null, { score: 0.3, parts: { letters: 3 } }])
  })

  it('takes built-ins of the caller: plugins, and names for something else', async () => {
    const plugin = defineReward({
      name: 'one',
      create:
        () =>
        ({ completions }) =>
          completions.map(() => 1),
    })
    const builtIns = { one: plugin, length: './good.mjs#lengths' }
    expect((await loadReward({ use: 'one' }, { baseDir, builtIns })).name).toBe('one')
    expect((await loadReward({ use: 'length' }, { baseDir, builtIns })).name).toBe('lengths')
  })

  it.each([
    [{ use: './good.mjs', options: { target: 3 } }, "Reward 'matches': options.target is 3; allowed: a string"],
    [{ use: './good.mjs#lengths', options: {} }, 'takes no options'],
    [{ use: './good.mjs#notAReward' }, "export 'notAReward' is no reward"],
    [{ use: './good.mjs#absent' }, 'The module exports: default, lengths, notAReward'],
    [{ use: './absent.mjs' }, 'There is no file'],
    [{ use: 'no-such-package' }, 'npm i no-such-package'],
    [{ use: 'no-such-package' }, 'Built-in names: efficient-length'],
    [{ use: './good.mjs#' }, 'The name is not complete'],
    [{ use: './bad.mjs#uncreatable' }, 'cannot be created: cannot be made'],
  ])('refuses %j', async (spec, message) => {
    await expect(loadReward(spec, { baseDir })).rejects.toThrow(message)
  })

  it('translates TypeScript with the esbuild of the project', async () => {
    const { reward } = await loadReward({ use: './typed.mts#typed' }, { baseDir })
    expect(await reward(batchOf('abcd'), context)).toEqual([2])
  })

  it('names a TypeScript file that cannot be translated', async () => {
    const path = join(baseDir, `broken-${process.pid}.mts`)
    writeFileSync(path, 'export const broken = (: number => 1')
    try {
      await expect(loadReward({ use: `${path}#broken` }, { baseDir })).rejects.toThrow(/broken-.*\.mts/)
    } finally {
      rmSync(path)
    }
  })
})

describe('packages', () => {
  const project = mkdtempSync(join(tmpdir(), 'revisual-rewards-'))
  afterAll(() => rmSync(project, { recursive: true }))
  const install = (name: string, manifest: object, files: { readonly [path: string]: string }) => {
    const folder = join(project, 'node_modules', name)
    for (const [path, content] of Object.entries({ ...files, 'package.json': JSON.stringify({ name, ...manifest }) })) {
      mkdirSync(join(folder, path, '..'), { recursive: true })
      writeFileSync(join(folder, path), content)
    }
  }
  const constant = (value: number) =>
    `export default { name: 'constant', create: () => (b) => b.completions.map(() => ${value}) }`
  install(
    '@acme/rewards',
    { type: 'module', exports: { '.': { types: './x.d.ts', import: './dist/index.js' }, './two': './dist/two.js' } },
    {
      'dist/index.js': `${constant(1)}\nexport const three = (b) => b.completions.map(() => 3)`,
      'dist/two.js': constant(2),
    },
  )
  install('acme-main', { main: './main.mjs' }, { 'main.mjs': constant(4) })
  const from = join(project, 'configs', 'deep')
  mkdirSync(from, { recursive: true })

  it.each([
    ['@acme/rewards', 1],
    ['@acme/rewards/two', 2],
    ['@acme/rewards#three', 3],
    ['acme-main', 4],
  ])('%s is found from a folder below the project', async (use, value) => {
    const { reward } = await loadReward({ use }, { baseDir: from })
    expect(await reward(batchOf('a'), context)).toEqual([value])
  })

  it('says what a package does not export', async () => {
    await expect(loadReward({ use: '@acme/rewards/three' }, { baseDir: from })).rejects.toThrow(
      "does not export './three'",
    )
  })
})

describe('combineRewards', () => {
  const constant = (name: string, weight: number, values: readonly (number | null)[]) => ({
    name,
    weight,
    reward: () => values,
  })

  it('adds weighted scores of what applies', async () => {
    const scorer = combineRewards([constant('a', 2, [1, null, null]), constant('b', 0.5, [1, 1, null])])
    const { rewards, functions } = await scorer.score(batchOf('', '', ''))
    expect(rewards).toEqual([2.5, 0.5, null])
    expect(rewardFunctionMetrics(functions)).toEqual({
      'rewards/a/mean': 1,
      'rewards/a/std': 0,
      'rewards/b/mean': 1,
      'rewards/b/std': 0,
    })
  })

  it('gives up on a promise that does not settle, and aborts its signal', async () => {
    let aborted = false
    const never = (_: RewardBatch, { signal }: { readonly signal: AbortSignal }) =>
      new Promise<never>(() => signal.addEventListener('abort', () => (aborted = true)))
    const scorer = combineRewards([{ name: 'never', weight: 1, reward: never }], { timeout: 30 })
    await expect(scorer.score(batchOf('a'))).rejects.toThrow("Reward 'never': took longer than 30 ms")
    expect(aborted).toBe(true)
  })

  it('refuses ambiguous names and impossible weights', () => {
    expect(() => combineRewards([constant('a', 1, []), constant('a', 1, [])])).toThrow("Two rewards are called 'a'")
    expect(() => combineRewards([constant('a', NaN, [])])).toThrow("The weight of reward 'a' is NaN")
    expect(() => combineRewards([])).toThrow('There is no reward')
  })
})

describe('RewardWorker', () => {
  const create = (...uses: string[]) =>
    RewardWorker.create(
      uses.map((use) => ({ use })),
      { baseDir },
      { timeout: 300 },
    )

  it('scores as the functions do in this thread', async () => {
    const specs = [
      { use: './good.mjs', options: { target: 'abc' }, weight: 2 },
      { use: './good.mjs#lengths', name: 'letters' },
      { use: 'efficient-length', options: { budget: 3 } },
    ]
    const batch = batchOf('abc', '')
    const worker = await RewardWorker.create(specs, { baseDir })
    const here = combineRewards(await Promise.all(specs.map((spec) => loadReward(spec, { baseDir }))))
    expect(worker.names).toEqual(['matches', 'letters', 'efficient-length'])
    const scored = await worker.score(batch)
    expect(scored).toEqual(await here.score(batch))
    expect(scored.rewards[0]).toBeCloseTo(2 + 0.3 + 0.5, 12)
    await worker.close()
  })

  it.each([
    ['throws', 'threw: no such luck'],
    ['hangs', 'took longer than 300 ms and was stopped'],
    ['waits', 'took longer than 300 ms and was stopped'],
    ['short', 'returned 1 values for 2 completions'],
    ['nan', 'the value of completion 0 is NaN'],
    ['exits', 'ended its thread: its thread exited with code 3'],
    ['uncloneable', 'threw: () => 1 could not be cloned'],
    ['noArray', 'returned number; allowed: an array'],
  ])('names a reward that misbehaves: %s', async (name, message) => {
    const worker = await create(`./bad.mjs#${name}`)
    await expect(worker.score(batchOf('hang', 'b'))).rejects.toThrow(`Reward '${name}': ${message}`)
    await worker.close()
  })

  it('counts and scores failures when told to, and goes on with a fresh thread', async () => {
    const worker = await RewardWorker.create(
      [{ use: './bad.mjs#hangs', weight: 2 }, { use: './good.mjs#lengths' }],
      { baseDir },
      { timeout: 200, onError: { score: -1 } },
    )
    const failed = await worker.score(batchOf('hang', 'bb'))
    expect(failed.rewards).toEqual([-2 + 0.4, -2 + 0.2])
    expect(rewardFunctionMetrics(failed.functions)).toMatchObject({
      'rewards/hangs/errors': 1,
      'rewards/hangs/mean': -1,
    })
    const fine = await worker.score(batchOf('a', 'bb'))
    expect(fine.rewards).toEqual([2 + 0.1, 2 + 0.2])
    expect(rewardFunctionMetrics(fine.functions)).not.toHaveProperty('rewards/hangs/errors')
    await worker.close()
  })

  it('answers calls made at the same time in turn', async () => {
    const worker = await create('./good.mjs#lengths')
    const results = await Promise.all(['a', 'bb', 'ccc'].map((text) => worker.score(batchOf(text))))
    expect(results.map(({ rewards }) => rewards[0])).toEqual([0.1, 0.2, 0.3])
    await worker.close()
  })

  it.each([
    [{ use: './good.mjs', options: {} }, "Reward './good.mjs': options.target is undefined; allowed: a string"],
    [{ use: './good.mjs#lengths', options: {} }, 'takes no options'],
    [{ use: './good.mjs#notAReward' }, "export 'notAReward' is no reward"],
    [{ use: './bad.mjs#uncreatable' }, 'cannot be loaded: cannot be made'],
    [{ use: 'efficient-length' }, 'options.budget is undefined'],
  ])('refuses %j before any call', async (spec, message) => {
    await expect(RewardWorker.create([spec], { baseDir })).rejects.toThrow(message)
  })
})
