/** A reward package from its scaffold to the contract test, and the contract test on rewards of all kinds. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run } from './cli.js'

const modules = fileURLToPath(new URL('../../../node_modules', import.meta.url))
const execute = promisify(execFile)

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'revisual-scaffold-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** Links what the package needs at development time, in the place of `npm install`. */
async function install(root: string): Promise<void> {
  const { devDependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    devDependencies: { readonly [name: string]: string }
  }
  for (const name of Object.keys(devDependencies)) {
    const link = join(root, 'node_modules', name)
    await mkdir(dirname(link), { recursive: true })
    await symlink(join(modules, name), link, 'junction')
  }
}

/** The script of a package, by the file that its name in `bin` stands for. */
async function binary(root: string, name: string, args: readonly string[]): Promise<string> {
  const manifest = join(root, 'node_modules', name === 'tsc' ? 'typescript' : name, 'package.json')
  const { bin } = createRequire(manifest)(manifest) as { bin: string | { readonly [name: string]: string } }
  const file = typeof bin === 'string' ? bin : (bin[name] as string)
  const { stdout, stderr } = await execute(process.execPath, [join(dirname(manifest), file), ...args], { cwd: root })
  return stdout + stderr
}

describe('create reward', () => {
  let root: string
  beforeAll(async () => {
    root = join(folder, 'my-reward')
    const { code, stderr } = await run(['create', 'reward', '@acme/my-reward', '--dir', root])
    expect(code, stderr).toBe(0)
    await install(root)
  })

  it('makes a package that compiles, passes its own tests and builds', async () => {
    expect((await readdir(root)).sort()).toEqual([
      '.gitignore',
      'LICENSE',
      'README.md',
      'cases.jsonl',
      'node_modules',
      'package.json',
      'src',
      'tsconfig.json',
      'tsup.config.ts',
    ])
    await binary(root, 'tsc', [])
    expect(await binary(root, 'vitest', ['run', '--no-color'])).toMatch(/5 passed/)
    await binary(root, 'tsup', [])
    expect(existsSync(join(root, 'dist', 'index.d.ts'))).toBe(true)
  })

  it('makes a reward that keeps the contract', async () => {
    const cases = join(root, 'cases.jsonl')
    const { code, stdout, stderr } = await run(['reward', 'test', join(root, 'dist', 'index.js'), '--cases', cases])
    expect(stdout + stderr).toMatch(/3 of 3 cases say what they should get/)
    expect(stdout).toMatch(/The contract is kept/)
    expect(code).toBe(0)
  })

  it('writes over nothing', async () => {
    const before = await readFile(join(root, 'src', 'index.ts'), 'utf8')
    const { code, stderr } = await run(['create', 'reward', 'other', '--dir', root])
    expect(code).toBe(1)
    expect(stderr).toMatch(/exists and is not empty/)
    expect(await readFile(join(root, 'src', 'index.ts'), 'utf8')).toBe(before)
  })
})

describe('reward test', () => {
  const file = (name: string) => join(folder, name)
  beforeAll(async () => {
    const lines = [
      { prompt: '5 + 7', completion: '\\boxed{12}', row: { answer: '12' }, expected: 1 },
      { completion: '\\boxed{13}', row: { answer: '12' }, expected: 0, tolerance: 0 },
    ]
    await writeFile(file('cases.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join('\n'))
    await writeFile(file('free.jsonl'), '{"completion":"But wait","row":{"answer":"1"}}\n')
    await writeFile(
      file('bad.mjs'),
      `export const random = ({ completions }) => completions.map(() => Math.random())
       export const hangs = () => { for (;;); }`,
    )
  })

  it('passes the built-in accuracy, with options', async () => {
    const options = ['--options', '{"profile":"strict"}', '--cases', file('cases.jsonl')]
    const { code, stdout, stderr } = await run(['reward', 'test', 'accuracy', ...options])
    expect(code, stdout + stderr).toBe(0)
    expect(stdout).toMatch(/✓ expected +2 of 2 cases/)
    expect(stdout.match(/✓/g)).toHaveLength(9)
  })

  it('takes presets apart', async () => {
    const { code, stdout, stderr } = await run(['reward', 'test', 'revisual-r1/math', '--cases', file('free.jsonl')])
    expect(code, stdout + stderr).toBe(0)
    expect(stdout).toMatch(/^accuracy$[^]*^selfCritique$[^]*^imageRevisit$[^]*^repetition$/m)
  })

  it.each([
    [['./bad.mjs#random'], /✗ repeat +completion 0 got .* when the same batch was scored again/],
    [['./bad.mjs#hangs', '--timeout', '0.3'], /✗ values +Reward '.*': took longer than 300 ms/],
    [['length'], /✗ load +Reward '.*': options\.budget/],
    [['./none.js'], /✗ load .*There is no file/],
  ])('%j fails', async ([reference = '', ...flags], expected) => {
    const path = reference.startsWith('./') ? join(folder, reference) : reference
    const { code, stdout } = await run(['reward', 'test', path, '--cases', file('cases.jsonl'), ...flags])
    expect(code).toBe(1)
    expect(stdout).toMatch(expected)
  })
})
