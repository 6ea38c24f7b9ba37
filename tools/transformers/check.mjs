/** `node tools/transformers/check.mjs PYTHON [FOLDER …]`: see README.md beside this file. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createPolicy, loadModel, promptFromIds, saveAdapter, saveModel } from '../../packages/model/dist/index.js'
import { createDevice } from '../../packages/tensor/dist/index.js'

const here = dirname(fileURLToPath(import.meta.url))
const fixtures = join(here, '../../packages/model/test/fixtures/models')
const TOLERANCE = 2e-4
const ids = [1, 2, 3, 4, 5, 6, 7]

const largest = (a, b) => a.reduce((most, value, index) => Math.max(most, Math.abs(value - b[index])), 0)

/** Log-probs of every next token, through the policy's door: [T, V] as log-softmax rows. */
async function logProbs(model) {
  const policy = createPolicy(model)
  const vocabulary = model.network.architecture.text.vocabularySize
  const rows = []
  for (let length = 1; length <= ids.length; length++) {
    const prompt = promptFromIds(model.parts.config, '', ids.slice(0, length), [])
    const sequences = Array.from({ length: vocabulary }, (_, id) => ({ prompt, completionIds: [id] }))
    const { logProbs } = await policy.score({ sequences, temperature: 1, vocabulary: 'full' })
    rows.push(...logProbs.map(([value]) => value))
  }
  return rows
}

/** The same from logits [T, V] end to end. */
function logSoftmax(logits, vocabulary) {
  const rows = []
  for (let at = 0; at < logits.length; at += vocabulary) {
    const row = logits.slice(at, at + vocabulary)
    const most = Math.max(...row)
    const norm = most + Math.log(row.reduce((sum, value) => sum + Math.exp(value - most), 0))
    rows.push(...row.map((value) => value - norm))
  }
  return rows
}

async function check(python, folder, device, work) {
  const at = (name) => join(work, `${basename(folder)}-${name}`)
  const whole = await loadModel(folder, device)
  const vocabulary = whole.network.architecture.text.vocabularySize
  await saveModel(whole, at('model'), { dtype: 'f32', maxShardBytes: 200_000 })
  const ours = { model: await logProbs(whole) }
  whole.dispose()

  const adapted = await loadModel(at('model'), device, { adapter: { rank: 4, seed: 3 } })
  const policy = createPolicy(adapted)
  const sequences = [{ prompt: promptFromIds(adapted.parts.config, '', ids, []), completionIds: [8, 9, 3] }]
  const loss = ({ logProbs }) => ({ loss: 0, logProbGradients: logProbs.map((row) => row.map(() => -1)) })
  for (let step = 0; step < 2; step++) {
    await policy.accumulate({ sequences, temperature: 1, vocabulary: 'full' }, loss)
    await policy.step({ learningRate: 0.05, weightDecay: 0 })
  }
  ours.adapter = await logProbs(adapted)
  await saveAdapter(adapted, at('adapter'), at('model'))
  await saveModel(adapted, at('merged'), { dtype: 'f32' })
  adapted.dispose()

  const request = { ids, model: at('model'), adapter: at('adapter'), merged: at('merged'), theirs: at('theirs') }
  const reference = spawnSync(python, [join(here, 'reference.py')], {
    input: JSON.stringify(request),
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    env: { ...process.env, HF_HUB_OFFLINE: '1' },
  })
  if (reference.status !== 0) throw new Error(`${python} failed:\n${reference.stderr}`)
  const theirs = JSON.parse(reference.stdout.trim().split('\n').at(-1))
  ours.merged = ours.adapter
  const read = await loadModel(at('model'), device, { adapter: at('theirs') })
  ours.theirs = await logProbs(read)
  read.dispose()

  const errors = Object.fromEntries(
    Object.entries(theirs).map(([name, logits]) => [name, largest(ours[name], logSoftmax(logits, vocabulary))]),
  )
  const ok = Object.values(errors).every((error) => error < TOLERANCE)
  const moved = largest(ours.adapter, ours.model) > 1e-2
  process.stdout.write(`${JSON.stringify({ case: basename(folder), ok: ok && moved, ...errors })}\n`)
  return ok && moved
}

const [python, ...folders] = process.argv.slice(2)
if (!python) {
  process.stderr.write('usage: node tools/transformers/check.mjs PYTHON [model folder …]\n')
  process.exit(2)
}
const cases =
  folders.length > 0 ? folders : ['qwen2_5_vl', 'qwen2_5_vl-tied-bf16-sharded'].map((name) => join(fixtures, name))
const work = mkdtempSync(join(tmpdir(), 'revisual-reference-'))
const device = await createDevice()
try {
  for (const folder of cases) if (!(await check(python, folder, device, work))) process.exitCode = 1
} finally {
  device.destroy()
  rmSync(work, { recursive: true })
}
