/**
 * Plain beside fast: the same small transformer is trained by the fused operations on a fusing device, by the fused
 * operations with every node a kernel of its own, and by compositions of elementary operations. Six optimizer steps
 * cross every threshold at which something is cached or reused.
 */
import { expect, test } from 'vitest'
import {
  AdamW,
  attention,
  clipScale,
  createDevice,
  div,
  embedding,
  eq,
  exp,
  ge,
  grad,
  linear,
  linearLogProb,
  logSoftmax,
  matmul,
  mul,
  ParameterSet,
  rmsNorm,
  rsqrt,
  sigmoid,
  softmax,
  swiglu,
  where,
  type DeviceOptions,
  type Tensor,
} from '../src/index.js'
import { assertClose, randomArray } from '../src/testing/index.js'

const [tokens, width, heads, vocabulary] = [12, 16, 2, 20]

/** The operations a layer needs; each twin brings its own. */
interface Kit {
  norm(x: Tensor, weight: Tensor): Tensor
  attend(q: Tensor, k: Tensor, v: Tensor): Tensor
  gate(gate: Tensor, up: Tensor): Tensor
  embed(table: Tensor, ids: Tensor): Tensor
  logProbs(hidden: Tensor, head: Tensor, targets: Tensor): { logProbs: Tensor; entropies: Tensor }
}

const fused: Kit = {
  norm: (x, weight) => rmsNorm(x, weight, 1e-6),
  attend: (q, k, v) => attention(q, k, v, { causal: true }),
  gate: swiglu,
  embed: embedding,
  logProbs: (hidden, head, targets) => linearLogProb(hidden, head, targets, { temperature: 0.9, chunkElements: 64 }),
}

function oneHot(ids: Tensor, classes: number): Tensor {
  return eq(ids.device.iota([ids.size, classes], 1), ids.reshape([ids.size, 1]))
}

const composed: Kit = {
  norm: (x, weight) => mul(mul(x, rsqrt(x.square().mean(-1, true).add(1e-6))), weight),
  attend: (q, k, v) => {
    const scores = div(matmul(q, k.transpose()), Math.sqrt(width / heads))
    const rows = q.device.iota([tokens, tokens], 0, 'f32')
    const hidden = rows.sub(q.device.iota([tokens, tokens], 1, 'f32'))
    return matmul(softmax(where(ge(hidden, 0), scores, -1e30)), v)
  },
  gate: (gate, up) => mul(mul(gate, sigmoid(gate)), up),
  embed: (table, ids) => matmul(oneHot(ids, vocabulary), table),
  logProbs: (hidden, head, targets) => {
    const all = logSoftmax(div(matmul(hidden, head.transpose()), 0.9))
    return { logProbs: mul(all, oneHot(targets, vocabulary)).sum(-1), entropies: mul(exp(all), all).sum(-1).neg() }
  },
}

const specs = [
  { name: 'table', shape: [vocabulary, width] },
  { name: 'norm', shape: [width] },
  { name: 'qkv', shape: [3 * width, width] },
  { name: 'gate', shape: [24, width] },
  { name: 'up', shape: [24, width] },
  { name: 'down', shape: [width, 24] },
]

function lossOf(kit: Kit, parameters: ParameterSet, ids: Tensor, targets: Tensor): Tensor {
  const p = (name: string) => parameters.get(name)
  let x = kit.embed(p('table'), ids)
  const split = linear(kit.norm(x, p('norm')), p('qkv')).reshape([tokens, 3, heads, width / heads])
  const [q, k, v] = [0, 1, 2].map((part) =>
    split
      .slice(1, part, part + 1)
      .squeeze(1)
      .permute([1, 0, 2])
      .unsqueeze(0),
  )
  if (!q || !k || !v) throw new Error('three parts')
  x = x.add(kit.attend(q, k, v).permute([0, 2, 1, 3]).reshape([tokens, width]))
  const inner = kit.norm(x, p('norm'))
  x = x.add(linear(kit.gate(linear(inner, p('gate')), linear(inner, p('up'))), p('down')))
  const { logProbs, entropies } = kit.logProbs(x, p('table'), targets)
  return logProbs.mean().neg().sub(entropies.mean().mul(0.01))
}

async function train(
  options: DeviceOptions,
  kit: Kit,
): Promise<{ losses: number[]; norms: number[]; values: Map<string, Float32Array> }> {
  const device = await createDevice(options)
  const parameters = new ParameterSet(device, specs)
  for (const [i, { name, shape }] of specs.entries()) {
    parameters.write(name, Float32Array.from(randomArray(shape, 10 + i, -0.4, 0.4).data))
  }
  const optimizer = new AdamW(parameters, { eps: 1e-4 })
  const losses: number[] = []
  const norms: number[] = []
  for (let step = 0; step < 6; step++) {
    using _scope = device.scope()
    const ids = device.tensor(Uint32Array.from({ length: tokens }, (_, i) => (i * 3 + step) % vocabulary))
    const targets = device.tensor(Uint32Array.from({ length: tokens }, (_, i) => (i * 5 + 1) % vocabulary))
    const loss = lossOf(kit, parameters, ids, targets)
    parameters.zeroGrad()
    const names = parameters.trainable
    const gradients = grad(
      loss,
      names.map((name) => parameters.get(name)),
    )
    gradients.forEach((gradient, i) => parameters.accumulate(names[i] ?? '', gradient))
    losses.push(await loss.item())
    const norm = await parameters.gradNorm()
    norms.push(norm)
    optimizer.update({ learningRate: 0.02 / (1 + step), weightDecay: 0.1, gradScale: clipScale(norm, 1) })
    await device.eval([])
  }
  const values = await parameters.values()
  device.destroy()
  return { losses, norms, values }
}

test('five ways of computing one training run agree after six steps', async () => {
  const fast = await train({}, fused)
  const plain = await train({ fusion: false }, fused)
  const elementary = await train({}, composed)
  // What every WebGPU device has: long chains are cut where a kernel would need more.
  const frugal = await train({ limits: { maxStorageBuffersPerShaderStage: 8 } }, composed)
  const plainGpu = await train({ emulate: 'plain-gpu' }, fused)
  expect(fast.losses.at(-1)).toBeLessThan((fast.losses[0] ?? 0) - 0.15)
  for (const [name, twin] of Object.entries({ plain, elementary, frugal, plainGpu })) {
    assertClose(twin.losses, fast.losses, { relative: 1e-4, absolute: 1e-5 }, `${name} losses`)
    assertClose(twin.norms, fast.norms, { relative: 1e-3, absolute: 1e-5 }, `${name} gradient norms`)
    for (const [parameter, values] of fast.values) {
      assertClose(twin.values.get(parameter) ?? [], values, { relative: 1e-3, absolute: 3e-4 }, `${name} ${parameter}`)
    }
  }
})

/** Losses of six steps of a perceptron whose products are large enough for every special kernel there is. */
async function trainWide(options: DeviceOptions): Promise<number[]> {
  const [rows, inputs, hidden] = [448, 452, 417]
  const device = await createDevice(options)
  const shapes = { up: [hidden, inputs], down: [inputs, hidden] }
  const parameters = new ParameterSet(
    device,
    Object.entries(shapes).map(([name, shape]) => ({ name, shape })),
  )
  for (const [name, shape] of Object.entries(shapes)) {
    parameters.write(name, Float32Array.from(randomArray(shape, name.length, -0.05, 0.05).data))
  }
  const x = device.tensor(Float32Array.from(randomArray([rows, inputs], 1).data), [rows, inputs])
  const optimizer = new AdamW(parameters, { eps: 1e-4 })
  const losses: number[] = []
  for (let step = 0; step < 6; step++) {
    using _scope = device.scope()
    const restored = linear(swiglu(linear(x, parameters.get('up')), x.slice(1, 0, hidden)), parameters.get('down'))
    const loss = restored.sub(x).square().sum().div(rows)
    parameters.zeroGrad()
    const gradients = grad(loss, [parameters.get('up'), parameters.get('down')])
    gradients.forEach((gradient, i) => parameters.accumulate(i === 0 ? 'up' : 'down', gradient))
    losses.push(await loss.item())
    optimizer.update({ learningRate: 0.003 })
    await device.eval([])
  }
  device.destroy()
  return losses
}

test('large products train the same in panels, and in the tiles of a GPU', async () => {
  const [own, plain] = [await trainWide({}), await trainWide({ emulate: 'plain-gpu' })]
  expect(own.at(-1)).toBeLessThan((own[0] ?? 0) * 0.9)
  assertClose(plain, own, { relative: 1e-5, absolute: 1e-6 })
})

test('the same run twice gives the same bits', async () => {
  const [first, second] = [await train({}, fused), await train({}, fused)]
  expect(second.losses).toEqual(first.losses)
  expect(second.values).toEqual(first.values)
})
