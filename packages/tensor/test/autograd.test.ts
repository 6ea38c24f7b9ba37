import { describe, expect, test } from 'vitest'
import * as ops from '../src/index.js'
import { assertClose, checkGradients, randomArray, upload } from '../src/testing/index.js'
import { useDevice } from './ops/support.js'

const device = useDevice()
type T = ops.Tensor

describe('finite differences through compositions', () => {
  const r = randomArray
  const positive = (shape: number[], seed: number) => r(shape, seed, 0.5, 2)
  const cases: [string, (...xs: T[]) => T | readonly T[], ReturnType<typeof r>[]][] = [
    ['arithmetic', (a, b) => a.mul(b).add(ops.div(a, b)).sub(ops.pow(b, a)), [r([3, 4], 1), positive([4], 2)]],
    ['transcendental', (x) => ops.tanh(ops.sin(x).add(ops.exp(x)).mul(ops.cos(x))), [r([7], 1)]],
    [
      'roots and logs',
      (x) =>
        ops
          .sqrt(x)
          .mul(ops.rsqrt(x.add(1)))
          .add(ops.log(x))
          .add(ops.reciprocal(x)),
      [positive([7], 1)],
    ],
    [
      'activations',
      (x) => [ops.gelu(x), ops.gelu(x, 'tanh'), ops.silu(x), ops.softplus(x), ops.sigmoid(x), ops.erf(x)],
      [r([9], 1, -2, 2)],
    ],
    ['reductions', (x) => x.sub(x.mean(1, true)).square().mean([0, 2]).add(x.max(2).sum()), [r([2, 3, 4], 1)]],
    [
      'views',
      (x) => ops.concat([x.transpose(), ops.pad(x, 1, 1, 0).slice(1, 0, 3).reshape([3, 3])], 0).mul(2),
      [r([3, 3], 1)],
    ],
    ['a tensor used many times', (x) => x.mul(x).mul(x).add(x.matmul(x)).add(x.transpose().matmul(x)), [r([4, 4], 1)]],
    ['matmul, bias, activation', (x, w, b) => ops.gelu(ops.linear(x, w, b)), [r([5, 6], 1), r([3, 6], 2), r([3], 3)]],
    ['batched matmul with broadcasting', (a, b) => ops.matmul(a, b).square(), [r([2, 1, 3, 4], 1), r([3, 4, 2], 2)]],
    ['softmaxes', (x) => [ops.softmax(x), ops.logSoftmax(x)], [r([3, 5], 1, -2, 2)]],
    [
      'norms',
      (x, w, b) => [ops.rmsNorm(x, w, 1e-3), ops.layerNorm(x, w, b, 1e-3)],
      [r([3, 8], 1), r([8], 2), r([8], 3)],
    ],
    [
      'attention',
      (q, k, v) => ops.attention(q, k, v, { causal: true }),
      [r([1, 4, 3, 4], 1), r([1, 2, 3, 4], 2), r([1, 2, 3, 4], 3)],
    ],
    ['swiglu', (g, u) => ops.swiglu(g, u), [r([3, 4], 1), r([3, 4], 2)]],
  ]

  test.each(cases)('%s', async (_, fn, inputs) => checkGradients(device.current, fn, inputs))

  test('rotary', async () => {
    const { current } = device
    const [cos, sin] = [upload(current, randomArray([3, 2], 2)), upload(current, randomArray([3, 2], 3))]
    await checkGradients(current, (x) => ops.rotary(x, cos, sin).square(), [randomArray([3, 2, 4], 1)])
  })

  test('gather, indexPut, embedding', async () => {
    const { current } = device
    const ids = current.tensor(new Uint32Array([2, 0, 2]))
    const places = current.tensor(new Uint32Array([3, 1]))
    const fn = (table: T, rows: T) => ops.embedding(ops.indexPut(table, places, rows), ids).square()
    await checkGradients(current, fn, [randomArray([4, 3], 1), randomArray([2, 3], 2)])
  })

  test('linearLogProb: log-probs and entropies', async () => {
    const { current } = device
    const targets = current.tensor(new Uint32Array([1, 4, 0]))
    const fn = (hidden: T, weight: T) => {
      const { logProbs, entropies } = ops.linearLogProb(hidden, weight, targets, { temperature: 0.8, chunkElements: 8 })
      return [logProbs, entropies]
    }
    await checkGradients(current, fn, [randomArray([3, 4], 1), randomArray([6, 4], 2)])
  })

  test('and a wrong gradient is found', async () => {
    const wrong = ops.customGrad((x) => ({ value: x ? ops.sin(x) : device.current.zeros([]), vjp: (g) => [g] }))
    await expect(checkGradients(device.current, wrong, [randomArray([5], 1)])).rejects.toThrow(/gradient of input 0/)
  })
})

describe('what grad() means', () => {
  test('zeros where there is no path; nothing through detached values or noGrad', async () => {
    const { current } = device
    const [x, y] = [current.tensor([2]).detached(true), current.tensor([3]).detached(true)]
    const z = x
      .detached()
      .mul(y)
      .add(ops.noGrad(() => x.mul(x)))
    const [dx, dy] = await current.read(ops.grad(z.sum(), [x, y]))
    expect([...(dx ?? []), ...(dy ?? [])]).toEqual([0, 2])
  })

  test('outputs of several elements need output gradients', async () => {
    const { current } = device
    const x = current.tensor([1, 2]).detached(true)
    expect(() => ops.grad(x.mul(2), [x])).toThrow(/give gradOutputs/)
    const [dx] = await current.read(
      ops.grad([x.mul(2), x.square()], [x], { gradOutputs: [current.tensor([1, 10]), current.tensor([1, 1])] }),
    )
    expect([...(dx ?? [])]).toEqual([4, 24])
  })

  test('gradients of intermediate values', async () => {
    const x = device.current.tensor([3]).detached(true)
    const middle = x.square()
    const [dm, dx] = await device.current.read(ops.grad(middle.mul(middle).sum(), [middle, x]))
    expect([...(dm ?? []), ...(dx ?? [])]).toEqual([18, 108])
  })

  test('onGradient reports each input once, when it is complete', async () => {
    const { current } = device
    const [a, b] = [current.tensor([2]).detached(true), current.tensor([5]).detached(true)]
    const seen: number[] = []
    ops.grad(a.mul(b).mul(b).sum(), [a, b], { onGradient: (index) => seen.push(index) })
    expect(seen.sort()).toEqual([0, 1])
  })
})

describe('customGrad and checkpoint', () => {
  test('a custom gradient replaces the own one; missing ones are zero', async () => {
    const { current } = device
    const clipped = ops.customGrad((x, y) => {
      if (!x || !y) throw new Error('two operands')
      return { value: [x.mul(y), x.add(y)], vjp: (g) => [g && g.mul(100), null] }
    })
    const [x, y] = [current.tensor([2]).detached(true), current.tensor([3]).detached(true)]
    const [product, total] = clipped(x, y)
    const [dx, dy] = await current.read(ops.grad([product ?? x, total ?? x], [x, y]))
    expect([...(dx ?? []), ...(dy ?? [])]).toEqual([100, 0])
  })

  const block = (x: T, w: T) => ops.gelu(x.matmul(w)).matmul(w)

  test('a checkpoint has the gradients of what it wraps, in fewer bytes', async () => {
    const { current } = device
    const x0 = randomArray([256, 64], 1)
    const w0 = randomArray([64, 64], 2, -0.2, 0.2)
    const run = async (wrap: (x: T, w: T) => T) => {
      using _scope = current.scope()
      const [x, w] = [upload(current, x0).detached(true), upload(current, w0).detached(true)]
      let y: T = x
      for (let layer = 0; layer < 6; layer++) y = wrap(y, w)
      await current.sync()
      current.memory.trim()
      current.memory.resetPeak()
      const before = current.memory.liveBytes
      const values = await current.read(ops.grad(y.square().sum(), [x, w]))
      return { values, bytes: current.memory.peakBytes - before }
    }
    const plain = await run(block)
    const checkpointed = await run((x, w) => ops.checkpoint(block, x, w))
    plain.values.forEach((value, i) =>
      assertClose(checkpointed.values[i] ?? [], value, { relative: 1e-4, absolute: 1e-4 }),
    )
    expect(checkpointed.bytes).toBeLessThan(plain.bytes * 0.8)
  })
})

test('two runs of a training graph give the same bits', async () => {
  const { current } = device
  const run = async () => {
    using _scope = current.scope()
    const [x, w, table] = [randomArray([40, 24], 1), randomArray([30, 24], 2), randomArray([9, 24], 3)].map((a) =>
      upload(current, a).detached(true),
    )
    if (!x || !w || !table) throw new Error('three tensors')
    const ids = current.tensor(Uint32Array.from({ length: 40 }, (_, i) => (i * 7) % 9))
    const targets = current.tensor(Uint32Array.from({ length: 40 }, (_, i) => (i * 11) % 30))
    const hidden = ops.rmsNorm(x.add(ops.embedding(table, ids)), current.ones([24]), 1e-6)
    const { logProbs } = ops.linearLogProb(hidden, w, targets)
    return await current.read([logProbs, ...ops.grad(logProbs.sum(), [x, w, table])])
  }
  const [first, second] = [await run(), await run()]
  expect(
    first.map((values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64')),
  ).toEqual(second.map((values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64')))
})

test('checkpoint differentiates what its function closes over, parameters and activations alike, for less memory', async () => {
  const on = await ops.createDevice()
  const width = 64
  const [x, ...weights] = Array.from({ length: 5 }, (_, i) =>
    upload(on, randomArray([width, width], i, -0.2, 0.2)).detached(true),
  )
  const build = (kept: boolean) => {
    const shift = (x as T).mul(0.5)
    let h = x as T
    for (const w of weights) {
      const layer = (input: T) => ops.sin(ops.linear(input, w)).mul(shift).exp().add(input)
      h = kept ? layer(h) : ops.checkpoint(layer, h)
    }
    const loss = h.square().mean()
    return { loss, gradients: ops.grad(loss, [x as T, ...weights]) }
  }
  const [plain, saving] = [build(true), build(false)]
  const retained = (of: typeof plain) => on.plan([of.loss], { retainFor: of.gradients }).peakBytes
  expect(retained(saving)).toBeLessThan(retained(plain) - 4 * width * width * 4)
  const wanted = await on.read([plain.loss, ...plain.gradients])
  const actual = await on.read([saving.loss, ...saving.gradients])
  actual.forEach((values, i) => assertClose(values, wanted[i] ?? [], { relative: 1e-4, absolute: 1e-7 }, `value ${i}`))
  expect(Math.max(...(wanted[1] ?? [0]))).toBeGreaterThan(0)
  on.destroy()
})

test('what was written in place after it was used is not differentiated with other values', async () => {
  const on = await ops.createDevice()
  const x = on.tensor([1, 2, 3]).detached(true)
  const factor = on.tensor([2, 2, 2]).named('factor')
  const loss = x.mul(factor).sum()
  ops.assign(factor, factor.add(1))
  expect(() => ops.grad(loss, [x])).toThrow(/factor f32\[3\] was written in place after it was used/)
  const again = x.mul(factor).sum()
  const [gradient] = ops.grad(again, [x])
  expect([...((await gradient?.read()) ?? [])]).toEqual([3, 3, 3])
  on.destroy()
})
