/**
 * The measurements of `generation.mjs`. Each is taken once per round, in turn, so that a busy minute falls on all; the
 * median and the least are told, as wall clock and as the process's CPU time (which on a software GPU is the GPU's).
 */
import { createModel, createNanoTokenizer, generate, nanoConfig, parseConfig } from '@revisual/model'
import { createDevice } from '@revisual/tensor'
import { promptFromIds } from '../../packages/model/src/prompt.ts'
import { Roofline } from './roofline.mjs'

/** Qwen2.5-VL of hidden size 512 with 8 layers and 16,384 tokens. */
function smallConfig() {
  const { json } = nanoConfig()
  const heads = { num_attention_heads: 8, num_key_value_heads: 2 }
  const rope_scaling = { ...json.text_config.rope_scaling, mrope_section: [8, 12, 12] }
  const sizes = { hidden_size: 512, intermediate_size: 1536, num_hidden_layers: 8, vocab_size: 16_384 }
  return parseConfig({
    ...json,
    text_config: { ...json.text_config, ...sizes, ...heads, rope_scaling },
    vision_config: { ...json.vision_config, out_hidden_size: 512 },
  })
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1]

export async function measureGeneration({ prompt: length, tokens, samples, rounds }) {
  const device = await createDevice()
  const config = smallConfig()
  const { text } = config.architecture
  const tokenizer = createNanoTokenizer([...'0123456789'], text.vocabularySize)
  const model = createModel(device, { config, tokenizer, seed: 1 })
  const promptOf = (seed) =>
    promptFromIds(
      config,
      '',
      Array.from({ length }, (_, k) => 100 + (((k + 1) * 7919 + seed * 104_729) % 16_000)),
      [],
    )
  const run = (requests, maxTokens) => generate(model.network, requests, { maxTokens, temperature: 1, stopIds: [] })
  const sampling = (seed, n) => ({ prompt: promptOf(seed), n, seed })
  const cases = {
    prefill: { tokens: length, step: () => run([sampling(1, 1)], 1) },
    one: { tokens, step: () => run([sampling(1, 1)], tokens) },
    shared: { tokens: tokens * samples, step: () => run([sampling(1, samples)], tokens) },
    together: {
      tokens: tokens * samples,
      step: () =>
        run(
          Array.from({ length: samples }, (_, k) => sampling(k, 1)),
          tokens,
        ),
    },
    separate: {
      tokens: tokens * samples,
      async step() {
        for (let k = 0; k < samples; k++) await run([{ prompt: promptOf(1), n: 1, seed: k }], tokens)
      },
    },
  }
  await run([sampling(1, samples)], 2)
  await run([sampling(1, 1)], 2)
  const times = Object.fromEntries(Object.keys(cases).map((name) => [name, { wall: [], cpu: [] }]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, { step }] of Object.entries(cases)) {
      const [cpu, start] = [process.cpuUsage(), performance.now()]
      await step()
      times[name].wall.push((performance.now() - start) / 1000)
      const { user, system } = process.cpuUsage(cpu)
      times[name].cpu.push((user + system) / 1e6)
    }
  }
  const { gbytes } = await new Roofline(device.gpu).measure()
  report({ device, cases, times, gbytes, samples, tokens, bytes: decodeBytes(text) })
}

/** Bytes a decode step must read: every matrix of the decoder and the head once. */
function decodeBytes({ hiddenSize, intermediateSize, layers, heads, keyValueHeads, headSize, vocabularySize }) {
  const attention = hiddenSize * headSize * (2 * heads + 2 * keyValueHeads)
  return 4 * (layers * (attention + 3 * hiddenSize * intermediateSize) + vocabularySize * hiddenSize)
}

function report({ device, cases, times, gbytes, samples, tokens, bytes }) {
  const { info } = device
  console.log(`adapter   ${info.description || info.device}`)
  const labels = {
    prefill: 'prefill, one prompt',
    one: `prompt + ${tokens} tokens, one sample`,
    shared: `prompt + ${samples} × ${tokens} tokens, one prefill`,
    together: `${samples} other prompts + ${tokens} tokens each, one batch`,
    separate: `${samples} × (prompt + ${tokens} tokens), one after the other`,
  }
  for (const [name, { tokens: count }] of Object.entries(cases)) {
    const { wall, cpu } = times[name]
    const rate = (seconds) => `${(count / seconds).toFixed(1)} tokens/s`
    console.log(
      `${labels[name].padEnd(44)} ${median(wall).toFixed(2)} s (least ${Math.min(...wall).toFixed(2)}), cpu ${median(cpu).toFixed(2)} s, ${rate(median(wall))}`,
    )
  }
  const ratio = (kind) => median(times.separate[kind]) / median(times.shared[kind])
  console.log(
    `shared prefix against separate: ${ratio('wall').toFixed(1)} × by wall clock, ${ratio('cpu').toFixed(1)} × by CPU time`,
  )
  const least = (name) => Math.min(...times[name].wall)
  const decode = (tokens - 1) / (least('one') - least('prefill'))
  const bound = (gbytes * 1e9) / bytes
  console.log(
    `decode, one sample: ${decode.toFixed(1)} tokens/s of ${bound.toFixed(1)} (${(bytes / 1e6).toFixed(0)} MB a step at ${gbytes.toFixed(1)} GB/s copied): ${((100 * decode) / bound).toFixed(0)} % of the bandwidth bound`,
  )
}
