/**
 * Networks whose weights are a formula, so that no file is needed: values of transformers 5.18 (eager attention, float32).
 * Weights: FNV-1a of the tensor's name in files, a finaliser over (hash + k·2654435761), scaled by the kind of tensor.
 */
import { createDevice, grad, linear, linearLogProb, noGrad, ParameterSet, type Device } from '@revisual/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseConfig } from '../src/config/parse.js'
import { generate } from '../src/generation/generate.js'
import type { GridThw } from '../src/images/processor.js'
import { layoutOptions, layOutTokens } from '../src/network/batch.js'
import { headWeight } from '../src/network/decoder.js'
import { forward, type Network } from '../src/network/forward.js'
import { fileName, parameterCount, parameterSpecs } from '../src/network/parameters.js'
import { pickRows } from '../src/network/rows.js'
import { visionBatch, visionTower } from '../src/network/vision.js'
import { TextRotary } from '../src/positions/rotary.js'
import { promptFromIds } from '../src/prompt.js'
import { l2 } from '../src/testing/measure.js'

function uniforms(name: string, size: number): Float64Array {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return Float64Array.from({ length: size }, (_, k) => {
    let x = (hash + Math.imul(k, 2654435761)) >>> 0
    x = Math.imul(x ^ (x >>> 16), 0x45d9f3b) >>> 0
    return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32 - 0.5
  })
}

function weightValues(name: string, shape: readonly number[]): Float32Array {
  const size = shape.reduce((product, n) => product * n, 1)
  const value = name.endsWith('.bias')
    ? (u: number) => 0.2 * u
    : shape.length === 1
      ? (u: number) => 1 + 0.2 * u
      : /embed_tokens|pos_embed/.test(name)
        ? (u: number) => 2 * u
        : (u: number) => 2 * u * Math.sqrt(3 / (size / (shape[0] as number)))
  return Float32Array.from(uniforms(name, size), value)
}

const text = {
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 32,
  rms_norm_eps: 1e-6,
  image_token_id: 10,
  video_token_id: 11,
  vision_start_token_id: 12,
  vision_end_token_id: 13,
}
const chunked = { rope_theta: 1e6, rope_scaling: { type: 'mrope', mrope_section: [2, 3, 3] } }
const tower = { depth: 4, num_heads: 2, patch_size: 4, spatial_merge_size: 2, temporal_patch_size: 2, in_channels: 3 }

const families = {
  qwen2_5_vl: {
    config: {
      ...text,
      ...chunked,
      model_type: 'qwen2_5_vl',
      vision_config: {
        ...tower,
        hidden_size: 32,
        intermediate_size: 40,
        out_hidden_size: 64,
        window_size: 16,
        fullatt_block_indexes: [1, 3],
        tokens_per_second: 2,
      },
    },
    parameters: 126_944,
    visionRows: {
      0: [0.25173, -1.68824, 0.47316, -0.4855],
      6: [0.09816, -0.57414, -0.11309, -0.39037],
      25: [0.07468, -1.51663, -0.46484, -0.79465],
    },
    visionNorm: 28.70841,
    lastLogits: [-0.15794, 0.0732, -0.22835, 0.41788, 0.72966, 0.17971],
    logits8: [-0.73964, 1.5325, -0.68247, 0.22696],
    logitsNorm: 33.9055,
    greedy: [20, 21, 9, 20, 21, 9, 20, 7, 29, 9, 20, 21],
    textOnly: [0.85613, 1.3391, -0.48345, -0.9348],
    loss: 4.655939,
    deepStack: [],
    gradients: {
      'visual.patch_embed.proj.weight': 10.221439,
      'visual.blocks.0.attn.qkv.weight': 4.14467,
      'visual.blocks.1.mlp.down_proj.weight': 1.630321,
      'visual.merger.mlp.2.weight': 7.657461,
      'model.embed_tokens.weight': 1.511522,
      'model.layers.0.self_attn.q_proj.weight': 2.460499,
      'model.layers.0.self_attn.k_proj.weight': 2.080358,
      'model.layers.1.mlp.down_proj.weight': 2.746492,
      'lm_head.weight': 4.165924,
    },
  },
  qwen2_vl: {
    config: {
      ...text,
      ...chunked,
      model_type: 'qwen2_vl',
      vision_config: { ...tower, embed_dim: 32, mlp_ratio: 4, hidden_act: 'quick_gelu', hidden_size: 64 },
    },
    parameters: 144_832,
    visionRows: {
      0: [0.47155, 0.0955, 0.0688, -0.74605],
      6: [-1.14588, 0.14649, -1.19615, -0.62522],
      25: [-0.20345, 0.38911, -0.79965, -0.7043],
    },
    visionNorm: 26.35002,
    lastLogits: [-0.32453, 0.06764, 0.06004, 0.18152, 0.87491, 1.00667],
    logits8: [-1.00308, 1.79231, -1.28976, 1.13126],
    logitsNorm: 33.5451,
    greedy: [20, 7, 29, 5, 20, 7, 9, 19, 20, 7, 13, 1],
    textOnly: [0.85613, 1.3391, -0.48345, -0.9348],
    loss: 4.018618,
    deepStack: [],
    gradients: {
      'visual.patch_embed.proj.weight': 4.0479,
      'visual.blocks.0.attn.qkv.weight': 1.748178,
      'visual.blocks.1.mlp.fc2.weight': 2.940636,
      'visual.merger.mlp.2.weight': 5.404823,
      'model.embed_tokens.weight': 1.203168,
      'model.layers.0.self_attn.q_proj.weight': 1.931981,
      'model.layers.0.self_attn.k_proj.weight': 2.208059,
      'model.layers.1.mlp.down_proj.weight': 2.519368,
      'lm_head.weight': 3.924379,
    },
  },
  qwen3_vl: {
    config: {
      ...text,
      model_type: 'qwen3_vl',
      head_dim: 16,
      rope_parameters: { rope_theta: 5e6, rope_type: 'default', mrope_section: [4, 2, 2], mrope_interleaved: true },
      vision_config: {
        ...tower,
        hidden_size: 32,
        intermediate_size: 40,
        out_hidden_size: 64,
        num_position_embeddings: 36,
        deepstack_visual_indexes: [1, 2],
        hidden_act: 'gelu_pytorch_tanh',
      },
    },
    parameters: 172_992,
    visionRows: {
      0: [0.59086, 0.41302, -0.35001, 0.72506],
      6: [0.03709, -0.03264, 0.1011, 0.298],
      25: [0.4913, -0.40852, 0.46917, 0.8585],
    },
    visionNorm: 24.85932,
    lastLogits: [-1.15711, -0.22669, 0.33594, 0.87103, 1.37899, -0.76214],
    logits8: [0.18171, -0.97051, -0.39669, -1.23135],
    logitsNorm: 32.2989,
    greedy: [21, 12, 4, 12, 25, 9, 19, 19, 6, 28, 18, 12],
    textOnly: [1.68103, 0.16391, -1.59356, -0.31616],
    loss: 4.344989,
    deepStack: [
      { row: [0.43537, -0.21288, 0.88274, 0.17815], norm: 25.45619 },
      { row: [0.70033, 0.12623, 1.12943, -0.10229], norm: 26.2996 },
    ],
    gradients: {
      'visual.patch_embed.proj.weight': 3.650539,
      'visual.pos_embed.weight': 0.607123,
      'visual.blocks.0.attn.qkv.weight': 2.012945,
      'visual.blocks.1.mlp.linear_fc2.weight': 1.70107,
      'visual.merger.linear_fc2.weight': 7.444535,
      'visual.deepstack_merger_list.0.linear_fc2.weight': 2.161245,
      // Added after the last layer, where only ignored places see it.
      'visual.deepstack_merger_list.1.linear_fc2.weight': 0,
      'model.embed_tokens.weight': 1.398472,
      'model.layers.0.self_attn.q_norm.weight': 0.282929,
      'model.layers.1.self_attn.q_norm.weight': 0.138292,
      'model.layers.0.self_attn.q_proj.weight': 2.14026,
      'model.layers.0.self_attn.k_proj.weight': 2.104388,
      'model.layers.1.mlp.down_proj.weight': 2.24619,
      'lm_head.weight': 4.064359,
    },
  },
} as const

let device: Device
beforeAll(async () => {
  device = await createDevice()
})
afterAll(() => device.destroy())

it('makes the numbers it should', () => {
  const [a, b, c] = uniforms('pixel_values', 3)
  expect([a, b, c]).toEqual([0.18970312061719596, -0.03473173640668392, -0.20794059010222554])
})

const near = (actual: ArrayLike<number>, expected: readonly number[], start = 0) =>
  expected.forEach((value, index) => expect(Math.abs((actual[start + index] as number) - value)).toBeLessThan(2e-4))

const runOf = (id: number, count: number) => new Array<number>(count).fill(id)

describe.each(Object.entries(families))('%s', (_, expected) => {
  const config = parseConfig(expected.config)
  const { architecture } = config
  const grids: GridThw[] = [
    [1, 4, 6],
    [1, 8, 10],
  ]
  const pixels = Float32Array.from(uniforms('pixel_values', 104 * 96), (u) => 2 * u)
  const images = grids.map((grid, index) => ({
    grid,
    pixelValues: index === 0 ? pixels.slice(0, 24 * 96) : pixels.slice(24 * 96),
  }))
  const ids = [1, 12, ...runOf(10, 6), 13, 2, 3, 12, ...runOf(10, 20), 13, 4, 5]
  const prompt = promptFromIds(config, '', ids, images)
  let parameters: ParameterSet
  let network: Network

  beforeAll(() => {
    parameters = new ParameterSet(device, parameterSpecs(architecture))
    for (const { name, shape } of parameterSpecs(architecture)) {
      parameters.write(name, weightValues(fileName(architecture, name), shape))
    }
    const textRotary = new TextRotary(architecture.text)
    network = { device, architecture, weights: (name) => parameters.get(name), textRotary }
  })
  afterAll(() => parameters.dispose())

  const hiddenOf = (tokens: typeof prompt) =>
    forward(network, layOutTokens([{ prompt: tokens, continuation: [] }], layoutOptions(architecture), 'packed')).hidden

  const logitsOf = async (tokens: typeof prompt) => {
    using _scope = device.scope()
    return await noGrad(() => linear(hiddenOf(tokens), headWeight(network.weights, architecture.text))).read()
  }

  it('has as many parameters', () => {
    expect(parameterCount(architecture)).toBe(expected.parameters)
  })

  it('places tokens', () => {
    expect([...prompt.positions.slice(0, ids.length)]).toEqual([
      ...[0, 1, ...runOf(2, 6), 5, 6, 7, 8, ...runOf(9, 20), 14, 15, 16],
    ])
    expect(prompt.nextPosition - ids.length).toBe(-18)
  })

  it('sees', async () => {
    using _scope = device.scope()
    const outputs = noGrad(() => {
      const batch = visionBatch(images, architecture)
      const { merged, deepStack } = visionTower(device, network.weights, architecture.vision, batch)
      return [merged, ...deepStack].map((tokens) => pickRows(tokens, batch.rowOfCell))
    })
    const [merged = new Float32Array(), ...deepStack] = (await device.read(outputs)) as Float32Array[]
    for (const row of [0, 6, 25] as const) near(merged, expected.visionRows[row], row * 64)
    expect(l2(merged)).toBeCloseTo(expected.visionNorm, 3)
    expect(deepStack.length).toBe(expected.deepStack.length)
    expected.deepStack.forEach(({ row, norm }, k) => {
      near(deepStack[k] ?? [], row)
      expect(l2(deepStack[k] ?? [])).toBeCloseTo(norm, 3)
    })
  })

  it('gives the logits, with images and without', async () => {
    const logits = await logitsOf(prompt)
    near(logits, expected.lastLogits, (ids.length - 1) * 32)
    near(logits, expected.logits8, 8 * 32)
    expect(l2(logits)).toBeCloseTo(expected.logitsNorm, 3)
    near(await logitsOf(promptFromIds(config, '', [1, 2, 3, 4, 5, 6, 7], [])), expected.textOnly, 6 * 32)
  })

  it('continues greedily', async () => {
    const options = { maxTokens: 12, temperature: 0, stopIds: [] }
    const [sequence] = await generate(network, [{ prompt, n: 1, seed: 0 }], options)
    expect(sequence?.ids).toEqual(expected.greedy)
  })

  it('gives the loss and gradients', async () => {
    using _scope = device.scope()
    const places = ids.flatMap((id, index) => (index > 0 && ![10, 12, 13].includes(id) ? [index] : []))
    const rows = pickRows(
      hiddenOf(prompt),
      Uint32Array.from(places, (place) => place - 1),
    )
    const targets = device.tensor(Uint32Array.from(places, (place) => ids[place] as number))
    const loss = linearLogProb(rows, headWeight(network.weights, architecture.text), targets).logProbs.mean().neg()
    const names = Object.keys(expected.gradients)
    const gradients = grad(
      loss,
      names.map((name) => parameters.get(name)),
    )
    expect(Math.abs((await loss.item()) - expected.loss)).toBeLessThan(1e-5)
    const values = await device.read(gradients)
    Object.values(expected.gradients).forEach((norm, index) => {
      expect(Math.abs(l2(values[index] ?? []) - norm), names[index]).toBeLessThan(1e-3 * norm + 1e-6)
    })
  })
})
