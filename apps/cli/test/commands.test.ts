/** What the commands say when they cannot do what was asked, and what needs no training. */
import { existsSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fixture, run } from './cli.js'

describe('doctor', () => {
  it('shows adapter, features, limits and a speed, and ends', async () => {
    const { code, stdout, stderr } = await run(['doctor'])
    expect(code, stderr).toBe(0)
    for (const line of [
      /^adapter +\S/m,
      /^driver +\S/m,
      /^features +\S/m,
      /^binding +\S.*B at most/m,
      /^matmul +[\d.]+ GFLOP\/s/m,
    ]) {
      expect(stdout).toMatch(line)
    }
  })

  it.runIf(process.platform === 'linux')('says what is wrong when there is no driver', async () => {
    const { code, stderr } = await run(['doctor'], { VK_DRIVER_FILES: '/nonexistent' })
    expect(code).toBe(1)
    expect(stderr).toMatch(/No WebGPU adapter.*VK_DRIVER_FILES=\/nonexistent/s)
    expect(stderr).not.toMatch(/\n\s+at .*main\.js/)
  })
})

describe('train', () => {
  it('prints the resolved configuration and a memory plan without starting', async () => {
    const out = join(tmpdir(), `revisual-dry-${process.pid}`)
    const { code, stdout, stderr } = await run(
      ['train', fixture('tiny.yaml'), '--dry-run', '--set', `out=${out}`, '--set', 'seed=9'],
      {
        VK_DRIVER_FILES: '/nonexistent',
      },
    )
    expect(code, stderr).toBe(0)
    expect(stdout).toMatch(/^seed: 9$/m)
    expect(stdout).toMatch(/959,680 parameters/)
    expect(stdout).toMatch(/trl +3\.7 MiB +3\.7 MiB +7\.3 MiB +3\.7 MiB/)
    expect(existsSync(out)).toBe(false)
  })

  it.each([
    ['a reward that is nowhere', 'stages.mrl.rewards=[{ use: ./none.js }]', /Stage 'mrl'.*no file .*none\.js/],
    [
      'a reward under another name',
      'stages.mrl.rewards=[{ use: ./reward.js#shares }]',
      /Stage 'mrl'.*exports: digitShare/,
    ],
    ['a model that is nowhere', 'model={ path: ./none }', /model: There is no folder .*none/],
    [
      'data that is nowhere',
      'stages.mrl.data=[{ source: file, path: none.jsonl }]',
      /stages\[1\]\.data: .*none\.jsonl/,
    ],
    ['a mistyped key', 'stages.mrl.groupsize=4', /groupsize.*Did you mean 'groupSize'/],
  ])('refuses %s before it starts', async (_, override, expected) => {
    const { code, stderr } = await run(['train', fixture('tiny.yaml'), '--dry-run', '--set', override])
    expect(code).toBe(1)
    expect(stderr).toMatch(expected)
    expect(stderr).not.toMatch(/\n\s+at /)
  })
})

describe('a reward package of one’s own', () => {
  let project: string
  beforeAll(async () => {
    project = await mkdtemp(join(tmpdir(), 'revisual-reward-'))
    const example = fileURLToPath(new URL('../../../examples/custom-reward', import.meta.url))
    await cp(example, join(project, 'node_modules', 'revisual-reward-brevity'), { recursive: true })
    await cp(fixture('tiny.yaml'), join(project, 'run.yaml'))
    await cp(fixture('reward.js'), join(project, 'reward.js'))
  })
  afterAll(() => rm(project, { recursive: true }))

  const dryRun = (options: string) => {
    const rewards = `stages.mrl.rewards=[{ use: accuracy }, { use: revisual-reward-brevity, options: ${options} }]`
    return run(['train', join(project, 'run.yaml'), '--dry-run', '--set', rewards])
  }

  it('is found by name from the configuration', async () => {
    const { code, stderr } = await dryRun('{ words: 60 }')
    expect(code, stderr).toBe(0)
  })

  it('has its options checked before anything starts', async () => {
    const { code, stderr } = await dryRun('{ word: 60 }')
    expect(code).toBe(1)
    expect(stderr).toMatch(/Stage 'mrl'.*options\.word is unknown; allowed: words/)
  })
})

it.each([
  [['trian', 'x.yaml'], /no command 'trian'.*Did you mean 'train'/],
  [['train'], /missing required args/],
  [['train', fixture('tiny.yaml'), '--resme'], /[Uu]nknown option.*--resme/],
  [['eval', 'none', '--task', 'digits-imag'], /no such task.*Did you mean 'digits-image'/],
  [['eval', 'none', '--task', 'gsm8k'], /no folder none.*not whole in the cache/],
  [['generate', 'none', 'hello', '--top-p', '2'], /--top-p 2 is not allowed.*from/],
])('explains %j', async (args, expected) => {
  const { code, stderr } = await run(args, { HF_HUB_OFFLINE: '1' })
  expect(code).toBe(1)
  expect(stderr).toMatch(expected)
})
