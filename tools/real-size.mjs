/**
 * `node tools/real-size.mjs [config.json] [--layers N] [--blocks N] [--dtype bf16] [--tokens N]`: a few layers of a real model at its true
 * width, with random weights: writes them as a bf16 checkpoint, loads it as a user would, and times it. Shows that
 * nothing in loading grows with the checkpoint (peak resident memory beside the bytes on the device) and what a layer costs.
 */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  createPolicy,
  describePlan,
  loadModel,
  parameterSpecs,
  parseConfig,
  planMemory,
  promptFromIds,
} from '../packages/model/dist/index.js'
import { createDevice, writeSafetensors } from '../packages/tensor/dist/index.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    layers: { type: 'string', default: '2' },
    blocks: { type: 'string', default: '2' },
    dtype: { type: 'string', default: 'bf16' },
    tokens: { type: 'string', default: '128' },
  },
})
const fixture = new URL('../packages/model/test/fixtures/real-sizes/qwen2.5-vl-3b.json', import.meta.url)
const json = JSON.parse(readFileSync(positionals[0] ?? fixture, 'utf8'))
const text = json.text_config ?? json
const whole = parseConfig(structuredClone(json)).architecture
text.num_hidden_layers = Number(values.layers)
json.vision_config.depth = Number(values.blocks)
for (const key of ['fullatt_block_indexes', 'deepstack_visual_indexes']) {
  if (json.vision_config[key])
    json.vision_config[key] = json.vision_config[key].filter((index) => index < Number(values.blocks))
}

const seconds = async (work) => {
  const [wall, cpu] = [performance.now(), process.cpuUsage()]
  const result = await work()
  const { user, system } = process.cpuUsage(cpu)
  return { result, wall: (performance.now() - wall) / 1000, cpu: (user + system) / 1e6 }
}
const say = (line) => process.stdout.write(`${line}\n`)

/** bf16 bits of values within ±0.02, by a linear congruential generator; of norms, ones. */
function randomBits({ name, shape }) {
  const bits = new Uint16Array(shape.reduce((size, dimension) => size * dimension, 1))
  if (shape.length === 1 && name.endsWith('.weight')) return bits.fill(0x3f80)
  const [value, word] = [new Float32Array(1), new Uint32Array(1)]
  const half = new Uint16Array(value.buffer)
  word[0] = name.length
  for (let index = 0; index < bits.length; index++) {
    word[0] = Math.imul(word[0], 1664525) + 1013904223
    value[0] = 0.04 * (word[0] / 2 ** 32 - 0.5)
    bits[index] = half[1]
  }
  return bits
}

const folder = mkdtempSync(join(tmpdir(), 'revisual-real-size-'))
try {
  say(
    `whole model, frozen in ${values.dtype}: ${describePlan(planMemory(whole, { learns: 'none', dtype: values.dtype }))}`,
  )
  writeFileSync(join(folder, 'config.json'), JSON.stringify(json))
  const specs = parameterSpecs(parseConfig(json).architecture)
  const tensors = specs.map((spec) => [spec.name, { dtype: 'BF16', shape: spec.shape, data: () => randomBits(spec) }])
  await writeSafetensors(join(folder, 'model.safetensors'), new Map(tensors))
  const { size: bytes } = statSync(join(folder, 'model.safetensors'))
  say(`checkpoint of ${values.layers} layers and ${values.blocks} vision blocks: ${(bytes / 1e9).toFixed(2)} GB`)
  const device = await createDevice()
  const before = process.memoryUsage.rss()
  const load = await seconds(() => loadModel(folder, device, { frozen: true, dtype: values.dtype }))
  const model = load.result
  say(
    `loaded in ${load.wall.toFixed(1)} s; on the device ${(device.memory.liveBytes / 1e9).toFixed(2)} GB, peak resident ` +
      `${(process.resourceUsage().maxRSS / 1e6).toFixed(2)} GB (${(before / 1e9).toFixed(2)} GB before; a software device's memory is resident too)`,
  )
  const ids = Array.from({ length: Number(values.tokens) }, (_, index) => 100 + index)
  const prompt = promptFromIds(model.parts.config, '', ids, [])
  const policy = createPolicy(model)
  const batch = { sequences: [{ prompt, completionIds: [1, 2] }], temperature: 1, vocabulary: 'full' }
  await policy.score(batch)
  const score = await seconds(() => policy.score(batch))
  const finite = score.result.logProbs[0].every(Number.isFinite)
  say(
    `forward of ${ids.length} tokens: ${score.wall.toFixed(2)} s wall, ${score.cpu.toFixed(2)} s CPU, log-probs finite: ${finite}`,
  )
  device.destroy()
  if (!finite) process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true })
}
