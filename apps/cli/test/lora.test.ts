/** A run that trains an adapter over a quantised base: what it leaves behind, and that other commands take it. */
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { fixture, run } from './cli.js'

const base = fileURLToPath(new URL('../../../examples/quickstart/base', import.meta.url))
let folder: string
let result: Awaited<ReturnType<typeof run>>
const out = (...path: string[]) => join(folder, 'run', ...path)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'revisual-lora-'))
  const model = JSON.stringify({ path: base, dtype: 'int4', lora: { rank: 4, targets: ['q_proj', 'v_proj'] } })
  const set = [
    `out=${out()}`,
    `model=${model}`,
    'stages.cold-start.steps=1',
    'stages.mrl.steps=1',
    'stages.trl.steps=1',
  ]
  result = await run(['train', fixture('tiny.yaml'), ...set.flatMap((one) => ['--set', one])])
})
afterAll(() => rm(folder, { recursive: true }))

it('leaves the adapter as a PEFT folder, and the model with it merged in', () => {
  expect(result.code, result.stderr).toBe(0)
  const json = JSON.parse(readFileSync(out('adapter', 'adapter_config.json'), 'utf8')) as object
  expect(json).toMatchObject({ peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj', 'v_proj'] })
  expect(json).toMatchObject({ base_model_name_or_path: base })
  expect(existsSync(out('model', 'model.safetensors'))).toBe(true)
})

it('can be used as it is', async () => {
  const question = 'the digits are 3 , 5 . what is the sum ?'
  const { code, stdout, stderr } = await run([
    'generate',
    out('adapter'),
    question,
    '--max-tokens',
    '3',
    '--temperature',
    '0',
  ])
  expect(code, stderr).toBe(0)
  expect(stdout.trim()).not.toBe('')
})

it('refuses settings that fit nothing before anything is loaded', async () => {
  const model = JSON.stringify({ path: base, lora: { rank: 4, targets: ['c_attn'] } })
  const { code, stderr } = await run(['train', fixture('tiny.yaml'), '--dry-run', '--set', `model=${model}`])
  expect(code).not.toBe(0)
  expect(stderr).toMatch(/'c_attn' fits no linear layer/)
})
