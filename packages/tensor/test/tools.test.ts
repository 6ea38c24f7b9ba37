/**
 * What tells a person what the core does: plans made before anything is allocated, accounting, leaks, explanations,
 * profiles. Plans are compared with what evaluations then really take.
 */
import { afterAll, describe, expect, test } from 'vitest'
import {
  AdamW,
  createDevice,
  gelu,
  grad,
  linear,
  matmul,
  ParameterSet,
  rmsNorm,
  softmax,
  type Device,
  type Tensor,
} from '../src/index.js'

const devices: Device[] = [await createDevice(), await createDevice({ fusion: false })]
const [device] = devices as [Device]
afterAll(() => {
  for (const opened of devices) opened.destroy()
})

const random = (on: Device, shape: readonly number[]) =>
  on.tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 1.3) * 0.3),
    shape,
  )

describe('a plan', () => {
  /** Evaluates and compares with what was planned just before. */
  async function planned(on: Device, tensors: readonly Tensor[], retainFor: readonly Tensor[] = []) {
    const plan = on.plan(tensors, { retainFor })
    on.memory.resetPeak()
    await on.eval(tensors, { retainFor })
    expect(plan.peakBytes).toBe(on.memory.peakBytes)
    expect(plan.peakAllocatedBytes).toBe(on.memory.peakAllocatedBytes)
    const parts = plan.parts.reduce((sum, { bytes }) => sum + bytes, 0)
    expect(parts).toBe(plan.peakBytes)
    expect([...plan.byTag.values()].reduce((a, b) => a + b, 0)).toBe(plan.peakBytes)
    return plan
  }

  test.each([0, 1])('takes what the evaluation then takes: forward, backward, update (device %i)', async (index) => {
    const on = devices[index] as Device
    const parameters = new ParameterSet(on, [
      { name: 'w1', shape: [96, 64] },
      { name: 'w2', shape: [64, 96] },
      { name: 'scale', shape: [64] },
    ])
    for (const name of parameters.names) {
      parameters.write(name, (await random(on, parameters.shape(name)).read()) as Float32Array)
    }
    const optimizer = new AdamW(parameters)
    const names = parameters.names
    for (const rows of [48, 17, 48, 90]) {
      using scope = on.scope()
      const x = random(on, [rows, 64])
      const loss = on.tag('activations', () => {
        const hidden = gelu(linear(rmsNorm(x, parameters.get('scale'), 1e-5), parameters.get('w1')))
        return softmax(linear(hidden, parameters.get('w2')))
          .square()
          .sum()
      })
      const gradients = grad(
        loss,
        names.map((name) => parameters.get(name)),
      )
      // Twice: a plan changes nothing.
      expect(on.plan([loss], { retainFor: gradients })).toEqual(on.plan([loss], { retainFor: gradients }))
      const forward = await planned(on, [loss], gradients)
      expect(forward.byTag.get('activations')).toBeGreaterThan(rows * 64 * 4)
      expect(forward.byTag.get('parameters')).toBeGreaterThanOrEqual(2 * 96 * 64 * 4)
      gradients.forEach((gradient, i) => parameters.accumulate(names[i] as string, gradient))
      optimizer.update({ learningRate: 0.01 })
      await planned(on, [])
      scope.keep(loss)
      expect(await loss.item()).toBeGreaterThan(0)
      loss.dispose()
      parameters.zeroGrad()
    }
    parameters.dispose()
  })

  test('names the largest parts before anything is allocated', () => {
    using _scope = device.scope()
    const before = device.memory.allocatedBytes
    const x = device.full([512, 512], 1).named('ones')
    const plan = device.plan([device.tag('attention', () => matmul(x.add(1), x).named('scores'))])
    expect(device.memory.allocatedBytes).toBe(before)
    expect(plan.parts.slice(0, 3).map(({ label, tag, bytes }) => [label, tag, bytes])).toContainEqual([
      'scores f32[512, 512]',
      'attention',
      512 * 512 * 4,
    ])
    expect(plan.kernels).toBe(3)
  })
})

test('memory is accounted by tag, for what is computed as for what is uploaded', async () => {
  const on = await createDevice()
  devices.push(on)
  const x = on.tag('inputs', () => random(on, [64, 64]))
  const y = on.tag('outputs', () => matmul(x, x).add(1))
  await on.eval([y])
  expect(on.memory.byTag.get('inputs')).toEqual({ liveBytes: 64 * 64 * 4, peakBytes: 64 * 64 * 4 })
  expect(on.memory.byTag.get('outputs')?.liveBytes).toBe(64 * 64 * 4)
  y.dispose()
  expect(on.memory.byTag.get('outputs')).toEqual({ liveBytes: 0, peakBytes: 64 * 64 * 4 })
  expect(on.memory.liveTensors()[0]?.tag).toBe('inputs')
})

test('leaks since a moment are listed, largest first', async () => {
  const on = await createDevice()
  devices.push(on)
  random(on, [4])
  const mark = on.memory.mark()
  expect(on.memory.leakReport(mark)).toBe('')
  {
    using scope = on.scope()
    const x = random(on, [3])
    scope.keep(x.named('kept'))
    await on.eval([x.add(1), scope.keep(on.tag('caches', () => matmul(x.reshape([3, 1]), x.reshape([1, 3]))))])
  }
  expect(on.memory.leakReport(mark)).toBe('tensor f32[3, 3] 36 bytes (caches)\nkept f32[3] 12 bytes (untagged)')
  expect(on.memory.leaksSince(on.memory.mark())).toEqual([])
})

describe('explanations', () => {
  const graph = (on: Device) => {
    const [x, w] = [random(on, [8, 4]).named('x'), random(on, [4, 4]).named('w')]
    return matmul(x, w).add(1).exp().sum(1).named('result')
  }

  test('show what is fused into what', () => {
    using _scope = device.scope()
    const y = graph(device)
    const { kernels } = device.explain(y)
    expect(kernels.map(({ members }) => members)).toEqual([['matmul'], ['add', 'exp', 'sum']])
    expect(kernels[0]?.reads).toEqual(["'x' f32[8, 4]", "'w' f32[4, 4]"])
    expect(kernels[1]).toMatchObject({
      readBytes: 128,
      writtenBytes: 32,
      savedBytes: 2 * 2 * 128,
      writes: ["'result' f32[8, 1]"],
    })
    expect(String(device.explain(y))).toMatch(
      /^kernel 0: matmul\n {2}reads {3}'x' f32\[8, 4\], 'w' f32\[4, 4\] \(192 bytes\)\n.*\nkernel 1: add → exp → sum/,
    )
    const unfused = devices[1] as Device
    using _other = unfused.scope()
    expect(unfused.explain(graph(unfused)).kernels.length).toBe(4)
  })

  test('print the graph, operands before what is made of them', async () => {
    using _scope = device.scope()
    const y = graph(device)
    const lines = device.graph(y).split('\n')
    expect(lines.length).toBe(6)
    expect(lines[0]).toBe("'x' = source() f32[8, 4] (computed)")
    expect(lines[2]).toMatch(/^%\d+ = matmul\('x'.*, 'w'.*\) f32\[8, 4\]$/)
    expect(lines[3]).toMatch(/^%\d+ = add\(%\d+, 1\) f32\[8, 4\]$/)
    expect(lines.at(-1)).toMatch(/^'result' = sum\(%\d+\) f32\[8, 1\]$/)
    await device.eval([y])
    expect(device.graph(y)).toBe("'result' = sum() f32[8, 1] (computed)")
  })
})

test('a profile has a table, and a trace that viewers can open', async () => {
  using _scope = device.scope()
  const [a, b] = [random(device, [128, 64]), random(device, [64, 128])]
  const work = async () => {
    for (let i = 0; i < 3; i++) await device.eval([matmul(a, b).add(i), a.exp()])
    await device.sync()
  }
  await work()
  const profile = await device.profile(work)
  expect(profile.events.length).toBe(6)
  expect(profile.kernels.map(({ dispatches }) => dispatches)).toEqual([3, 3])
  const product = profile.kernels.find(({ operations }) => operations > 0)
  expect(product?.operations).toBe(3 * 2 * 128 * 64 * 128)
  expect(product?.bytes).toBe(3 * (2 * 128 * 64 + 128 * 128) * 4)
  expect(product?.milliseconds).toBeGreaterThan(0)
  expect(profile.table()).toMatch(/^kernel +calls +ms +share +GB\/s +GFLOP\/s\n.* 3 +\d+\.\d\d +\d+\.\d %/)
  expect(profile.table(1).split('\n').at(-1)).toMatch(/^1 others +3/)

  const { traceEvents } = JSON.parse(JSON.stringify(profile.chromeTrace())) as {
    traceEvents: { ph: string; name: string; ts: number; dur: number }[]
  }
  const slices = traceEvents.filter(({ ph }) => ph === 'X')
  expect(slices.length).toBe(6)
  expect(slices[0]?.ts).toBe(0)
  slices.forEach(({ ts, dur }, i) => expect(ts + dur).toBeLessThanOrEqual((slices[i + 1]?.ts ?? Infinity) + 1e-3))

  // More dispatches than one set of queries holds, and none beyond the limit.
  const many = await device.profile(
    async () => {
      for (let i = 0; i < 2200; i++) await device.eval([a.exp()])
    },
    { mostDispatches: 2100 },
  )
  expect(many.events.length).toBe(2100)
  expect(many.events.every(({ start, end }, i) => end >= start && start >= (many.events[i - 1]?.start ?? 0))).toBe(true)
})
