/**
 * Tries many random programs: `node test/fuzz.mjs --programs 10000 --seed 1`. The work is done by `fuzz.test.ts`; this
 * only turns flags into its environment.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: { programs: { type: 'string', default: '10000' }, seed: { type: 'string', default: '1' } },
})
const env = { ...process.env, REVISUAL_TEST_PROGRAMS: values.programs, REVISUAL_TEST_SEED: values.seed }
const cwd = fileURLToPath(new URL('..', import.meta.url))
const { status } = spawnSync('npx', ['vitest', 'run', 'test/fuzz.test.ts', '-t', 'random programs'], {
  cwd,
  env,
  stdio: 'inherit',
})
process.exitCode = status ?? 1
