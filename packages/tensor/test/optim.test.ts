import { describe, expect, test } from 'vitest'
import { AdamW, clipScale, createDevice, gelu, grad, linear, ParameterSet, type Device } from '../src/index.js'
import { assertClose, randomArray, reference } from '../src/testing/index.js'
import { useDevice } from './ops/support.js'

const device = useDevice()

const specs = [
  { name: 'weight', shape: [5, 70] },
  { name: 'bias', shape: [70], decay: false },
  { name: 'frozen', shape: [3, 3], group: 'vision' },
]

const values = (name: string, size: number) => Float32Array.from(randomArray([size], name.length, -1, 1).data)

function parameterSet(on: Device): ParameterSet {
  const set = new ParameterSet(on, specs)
  for (const { name, shape } of specs)
    set.write(
      name,
      values(
        name,
        shape.reduce((a, b) => a * b, 1),
      ),
    )
  return set
}

describe('AdamW', () => {
  test('six steps as the reference computes them; frozen groups stay', async () => {
    const { current } = device
    const set = parameterSet(current)
    set.setTrainable(['default'])
    const optimizer = new AdamW(set, { betas: [0.9, 0.95], eps: 1e-6 })
    const states = new Map(
      specs.map(({ name, shape }) => {
        const size = shape.reduce((a, b) => a * b, 1)
        const zeros = new Array<number>(size).fill(0)
        return [name, { step: 0, values: [...values(name, size)], firstMoments: zeros, secondMoments: zeros }]
      }),
    )
    for (let step = 0; step < 6; step++) {
      set.zeroGrad()
      const learningRate = 0.05 / (1 + step)
      for (const { name, shape, decay } of specs) {
        const gradient = randomArray(shape, 100 * step + name.length)
        set.accumulate(name, current.tensor(Float32Array.from(gradient.data), shape))
        const state = states.get(name)
        if (!state || name === 'frozen') continue
        const options = { learningRate, betas: [0.9, 0.95] as const, eps: 1e-6, weightDecay: decay === false ? 0 : 0.1 }
        states.set(name, reference.adamW(state, [...gradient.data.map((g) => g * 0.5)], options) as typeof state)
      }
      optimizer.update({ learningRate, weightDecay: 0.1, gradScale: 0.5 })
      await current.eval([])
    }
    expect(optimizer.step).toBe(6)
    for (const [name, actual] of await set.values())
      assertClose(actual, states.get(name)?.values ?? [], { relative: 1e-5, absolute: 2e-6 }, name)
    set.dispose()
  })

  test('saved and loaded in the middle, it goes on bit for bit', async () => {
    const { current } = device
    const steps = async (optimizer: AdamW, set: ParameterSet, from: number, to: number) => {
      for (let step = from; step < to; step++) {
        set.zeroGrad()
        for (const { name, shape } of specs)
          set.accumulate(name, current.tensor(Float32Array.from(randomArray(shape, step).data), shape))
        optimizer.update({ learningRate: 0.01 })
        await current.eval([])
      }
    }
    const [whole, first, second] = [parameterSet(current), parameterSet(current), parameterSet(current)]
    await steps(new AdamW(whole), whole, 0, 5)
    const before = new AdamW(first)
    await steps(before, first, 0, 2)
    for (const [name, data] of await first.values()) second.write(name, data)
    const after = new AdamW(second)
    after.load(await before.state())
    await steps(after, second, 2, 5)
    expect(await second.values()).toEqual(await whole.values())
    after.reset()
    expect(after.step).toBe(0)
    expect([...((await after.state()).firstMoments.get('bias') ?? [1])].every((moment) => moment === 0)).toBe(true)
    for (const set of [whole, first, second]) set.dispose()
  })

  test('accumulated gradients add up, their norm is global, clipping is torch’s', async () => {
    const { current } = device
    const set = parameterSet(current)
    set.zeroGrad()
    set.accumulate('bias', current.full([70], 3))
    set.accumulate('bias', current.full([70], -1))
    set.accumulate('frozen', current.full([3, 3], 1))
    expect(await set.gradNorm()).toBeCloseTo(Math.sqrt(70 * 4 + 9), 4)
    expect([...(await set.gradient('bias').read())]).toEqual(new Array(70).fill(2))
    expect(clipScale(10, 1)).toBeCloseTo(0.1, 6)
    expect(clipScale(0.5, 1)).toBe(1)
    set.dispose()
  })
})

test('parameters that exceed one binding are spread over several arenas', async () => {
  const small = await createDevice({ limits: { maxStorageBufferBindingSize: 4096 } })
  const set = new ParameterSet(small, [
    { name: 'a', shape: [30, 30] },
    { name: 'b', shape: [20, 40] },
    { name: 'c', shape: [9] },
  ])
  set.accumulate('a', small.full([30, 30], 1))
  set.accumulate('c', small.full([9], 2))
  expect(set.arenas.length).toBeGreaterThan(1)
  expect(await set.gradNorm()).toBeCloseTo(Math.sqrt(900 + 36), 4)
  new AdamW(set).update({ learningRate: 0.1 })
  const updated = await set.values()
  assertClose(updated.get('a') ?? [], new Array<number>(900).fill(-0.1), { relative: 1e-4 })
  assertClose(updated.get('b') ?? [], new Array<number>(800).fill(0))
  assertClose(updated.get('c') ?? [], new Array<number>(9).fill(-0.1), { relative: 1e-4 })
  small.destroy()
})

test('a parameter larger than one binding is updated in pieces, one larger than a buffer is refused', async () => {
  const small = await createDevice({ limits: { maxStorageBufferBindingSize: 4096 } })
  const set = new ParameterSet(small, [
    { name: 'huge', shape: [60, 50] },
    { name: 'b', shape: [7] },
  ])
  const gradient = randomArray([60, 50], 3)
  set.accumulate('huge', small.tensor(Float32Array.from(gradient.data), [60, 50]))
  set.accumulate('b', small.full([7], -1))
  expect(await set.gradNorm()).toBeCloseTo(Math.hypot(...gradient.data, Math.sqrt(7)), 3)
  new AdamW(set).update({ learningRate: 0.1 })
  const updated = await set.values()
  assertClose(
    updated.get('huge') ?? [],
    gradient.data.map((g) => -0.1 * Math.sign(g)),
    { relative: 1e-3, absolute: 1e-4 },
  )
  assertClose(updated.get('b') ?? [], new Array<number>(7).fill(0.1), { relative: 1e-4 })
  small.destroy()
  const tiny = await createDevice({ limits: { maxBufferSize: 4096 } })
  expect(() => new ParameterSet(tiny, [{ name: 'huge', shape: [2000] }])).toThrow(/'huge' \[2000\] takes \d+ bytes/)
  tiny.destroy()
})

test('names that do not exist are refused with some that do', () => {
  const set = parameterSet(device.current)
  expect(() => set.get('wieght')).toThrow(/no parameter 'wieght'; names look like 'weight'/)
  expect(() => set.setTrainable(['audio'])).toThrow(/no parameter group 'audio'; there are default, vision/)
  expect(
    () => new ParameterSet(device.current, [specs[0] ?? { name: '', shape: [] }, specs[0] ?? { name: '', shape: [] }]),
  ).toThrow(/Two parameters are named 'weight'/)
  set.dispose()
})

describe('updates as gradients arrive', () => {
  const layers = 6
  const width = 64
  const names = [...Array.from({ length: layers }, (_, i) => `w${i}`), 'tied', 'bias']

  async function train(arriving: boolean) {
    const on = await createDevice()
    const set = new ParameterSet(on, [
      ...Array.from({ length: layers }, (_, i) => ({ name: `w${i}`, shape: [width, width] })),
      { name: 'tied', shape: [width, width] },
      { name: 'bias', shape: [width] },
      { name: 'frozen', shape: [7], group: 'vision' },
    ])
    for (const name of names)
      set.write(
        name,
        values(name, set.get(name).size).map((v) => v * 0.2),
      )
    set.setTrainable(['default'])
    const optimizer = new AdamW(set)
    const losses: number[] = []
    for (let step = 0; step < 5; step++) {
      using _scope = on.scope()
      if (step === 4) on.memory.resetPeak()
      const input = on.tensor(values('input', 8 * width), [8, width])
      // The tied weight is used first and last: its gradient is complete when the backward pass is nearly over.
      let x = linear(input, set.get('tied'))
      for (let i = 0; i < layers; i++) x = gelu(linear(x, set.get(`w${i}`), set.get('bias')))
      const loss = linear(x, set.get('tied')).square().mean()
      const options = { learningRate: 0.01, weightDecay: 0.1 }
      const inputs = names.map((name) => set.get(name))
      if (arriving) {
        const apply = optimizer.arriving(options)
        grad(loss, inputs, { onGradient: (index, gradient) => apply(names[index] as string, gradient) })
      } else {
        set.zeroGrad()
        grad(loss, inputs).forEach((gradient, index) => set.accumulate(names[index] as string, gradient))
        optimizer.update(options)
      }
      await on.eval([loss])
      losses.push(await loss.item())
    }
    const { peakBytes, byTag } = on.memory
    const weights = await set.values()
    on.destroy()
    return { losses, weights, peakBytes, gradientBytes: byTag.get('gradients')?.peakBytes ?? 0 }
  }

  test('gives the same bits, without memory for all gradients', async () => {
    const [held, arrived] = [await train(false), await train(true)]
    expect(arrived.losses).toEqual(held.losses)
    expect(held.losses[4]).toBeLessThan((held.losses[0] as number) * 0.9)
    for (const [name, weights] of held.weights) expect(arrived.weights.get(name), name).toEqual(weights)
    expect(held.gradientBytes).toBeGreaterThanOrEqual(7 * width * width * 4)
    expect(arrived.gradientBytes).toBe(0)
    expect(arrived.peakBytes).toBeLessThan(held.peakBytes - 5 * width * width * 4)
  })
})
