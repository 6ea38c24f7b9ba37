/**
 * Packs @revisual/rl as it would be published, installs the tarball into a copy of this project somewhere else, and trains
 * there: `node examples/rl-alone/test.mjs`. Needs the package to be built.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const rl = fileURLToPath(new URL('../../packages/rl/', import.meta.url))
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
const run = (command, args, cwd) =>
  execFileSync(command, args, { cwd, encoding: 'utf8', shell: process.platform === 'win32' && command === npm })

if (!existsSync(join(rl, 'dist', 'index.js'))) {
  console.error('packages/rl is not built; run: npm run build -w @revisual/rl')
  process.exit(1)
}

const project = mkdtempSync(join(tmpdir(), 'rl-alone-'))
try {
  for (const file of ['package.json', 'run.mjs']) copyFileSync(join(here, file), join(project, file))
  const [{ filename }] = JSON.parse(run(npm, ['pack', '--json', '--pack-destination', project], rl))
  run(npm, ['install', '--no-audit', '--no-fund', `./${filename}`], project)
  const installed = readdirSync(join(project, 'node_modules')).filter((name) => !name.startsWith('.'))
  assert.deepEqual(installed, ['@revisual'], 'nothing but @revisual is installed')
  assert.deepEqual(readdirSync(join(project, 'node_modules', '@revisual')), ['rl'])
  const output = run(process.execPath, ['run.mjs'], project)
  const rewards = [...output.matchAll(/reward (\d\.\d+)/g)].map(([, reward]) => Number(reward))
  assert.equal(rewards.length, 12)
  assert.ok(rewards[0] < 0.5, `the reward begins low (${rewards[0]})`)
  assert.ok(rewards.at(-1) > 0.9, `the reward ends high (${rewards.at(-1)})`)
  console.log(`rl-alone: reward ${rewards[0]} → ${rewards.at(-1)} with the packed @revisual/rl alone`)
} finally {
  rmSync(project, { recursive: true, force: true })
}
