/**
 * Moments in eight bits: within a code of the exact ones, right on average, the same bits every run and after loading,
 * and a training that goes as it does in f32.
 */
import { expect, test } from 'vitest'
import { AdamW, grad, linear, ParameterSet, silu, type Device } from '../src/index.js'
import { assertClose, randomArray } from '../src/testing/index.js'
import { useDevice } from './ops/support.js'

const device = useDevice()

const specs = [
  { name: 'in', shape: [48, 20] },
  { name: 'bias', shape: [48] },
  { name: 'out', shape: [10, 48] },
  { name: 'frozen', shape: [3, 3], group: 'vision' },
]

function parameterSet(on: Device): ParameterSet {
  const set = new ParameterSet(on, specs)
  for (const { name, shape } of specs)
    set.write(name, Float32Array.from(randomArray(shape, name.length, -0.4, 0.4).data))
  set.setTrainable(['default'])
  return set
}

/** Fits a small network to a fixed batch. */
async function train(
  set: ParameterSet,
  optimizer: AdamW,
  from: number,
  to: number,
  arriving = false,
): Promise<number[]> {
  const { device: on } = set
  const losses: number[] = []
  for (let step = from; step < to; step++) {
    using _scope = on.scope()
    const x = on.tensor(Float32Array.from(randomArray([32, 20], 3).data), [32, 20])
    const y = on.tensor(Float32Array.from(randomArray([32, 10], 4).data), [32, 10])
    const hidden = silu(linear(x, set.get('in'), set.get('bias')))
    const loss = linear(hidden, set.get('out')).sub(y).square().mean()
    const names = set.trainable
    const rate = { learningRate: 0.01, weightDecay: 0.01 }
    const apply = arriving ? optimizer.arriving(rate) : null
    const gradients = grad(
      loss,
      names.map((name) => set.get(name)),
      {
        onGradient: (index, gradient) => apply?.(names[index] ?? '', gradient),
      },
    )
    if (!apply) {
      set.zeroGrad()
      gradients.forEach((gradient, i) => set.accumulate(names[i] ?? '', gradient))
      optimizer.update(rate)
    }
    losses.push(await loss.item())
    await on.eval([])
  }
  return losses
}

test('a first step is within a code of the exact moments, and right on average', async () => {
  const { current } = device
  const set = new ParameterSet(current, [{ name: 'w', shape: [4096] }])
  const gradient = randomArray([4096], 9)
  // Most gradients are small beside the largest of their block.
  gradient.data.forEach((g, i) => (gradient.data[i] = Math.fround(g ** 5)))
  set.accumulate('w', current.tensor(Float32Array.from(gradient.data)))
  const optimizer = new AdamW(set, { momentBits: 8 })
  optimizer.update({ learningRate: 0.1 })
  const { firstMoments, secondMoments } = await optimizer.state()
  const [m, v] = [firstMoments.get('w') ?? [], secondMoments.get('w') ?? []]
  let [sum, exactSum] = [0, 0]
  for (let block = 0; block < 16; block++) {
    const own = gradient.data.subarray(block * 256, block * 256 + 256)
    const top = Math.max(...own.map(Math.abs))
    own.forEach((g, j) => {
      const i = block * 256 + j
      const [exactM, exactV] = [0.1 * g, 0.001 * g * g]
      const gapM = (0.1 * top * (2 * 127 * Math.sqrt(Math.abs(g) / top) + 1)) / 127 ** 2
      expect(Math.abs((m[i] ?? NaN) - exactM), `first ${i}`).toBeLessThanOrEqual(gapM * 1.01)
      const y = 255 * Math.sqrt(Math.abs(g) / top)
      const gapV = 0.001 * top * top * (((y + 1) / 255) ** 4 - (Math.max(0, y - 1) / 255) ** 4)
      expect(Math.abs((v[i] ?? NaN) - exactV), `second ${i}`).toBeLessThanOrEqual(gapV * 1.01)
      expect((v[i] ?? 0) > 0).toBe(g !== 0)
      sum += Math.abs(m[i] ?? NaN)
      exactSum += Math.abs(exactM)
    })
  }
  expect(Math.abs(sum / exactSum - 1)).toBeLessThan(0.005)
  // The first step of AdamW goes by the sign of the gradient, for the step is made before moments are rounded.
  const values = (await set.values()).get('w') ?? new Float32Array()
  const isClear = (_: number, i: number) => Math.abs(gradient.data[i] ?? 0) > 1e-5
  const signs = gradient.data.filter(isClear).map((g) => -0.1 * Math.sign(g))
  expect(signs.length).toBeGreaterThan(3000)
  assertClose(values.filter(isClear), signs, { relative: 2e-3 })
  set.dispose()
})

test('a moment that decays by less than a code a step does decay', async () => {
  const { current } = device
  const set = new ParameterSet(current, [{ name: 'w', shape: [2048] }])
  const optimizer = new AdamW(set, { momentBits: 8 })
  const ones = new Float32Array(2048).fill(1)
  // The first element of every block keeps its scale where it is.
  const pulse = Float32Array.from(ones, (_, i) => (i % 256 === 0 ? 1 : 0))
  for (let step = 0; step < 200; step++) {
    set.zeroGrad()
    set.accumulate('w', current.tensor(step === 0 ? ones : pulse))
    optimizer.update({ learningRate: 0 })
    await current.eval([])
  }
  const v = (await optimizer.state()).secondMoments.get('w') ?? new Float32Array()
  const mean = v.filter((_, i) => i % 256 !== 0).reduce((a, b) => a + b, 0) / (2048 - 8)
  expect(mean / (0.001 * 0.999 ** 199)).toBeCloseTo(1, 1)
  set.dispose()
})

test('training goes as with f32 moments, at a quarter of their memory', async () => {
  const { current } = device
  const [plain, coded] = [parameterSet(current), parameterSet(current)]
  const before = current.memory.liveBytes
  const optimizer = new AdamW(plain)
  const between = current.memory.liveBytes
  const eight = new AdamW(coded, { momentBits: 8 })
  // Below four thousand numbers the smallest buffers weigh something too.
  expect(current.memory.liveBytes - between).toBeLessThan((between - before) * 0.4)
  const losses = await train(plain, optimizer, 0, 40)
  const other = await train(coded, eight, 0, 40)
  expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) * 0.6)
  assertClose(other.slice(0, 8), losses.slice(0, 8), { relative: 0.01 })
  assertClose(other, losses, { relative: 0.05 })
  const frozen = (await coded.values()).get('frozen')
  expect([...(frozen ?? [])]).toEqual([...randomArray([3, 3], 6, -0.4, 0.4).data])
  for (const set of [plain, coded]) set.dispose()
})

test('the same bits every run, after loading, and as gradients arrive', async () => {
  const { current } = device
  const sets = [0, 1, 2, 3].map(() => parameterSet(current))
  const [whole, first, second, streamed] = sets
  if (!whole || !first || !second || !streamed) throw new Error('four sets')
  const reference = new AdamW(whole, { momentBits: 8 })
  await train(whole, reference, 0, 6)
  const before = new AdamW(first, { momentBits: 8 })
  await train(first, before, 0, 3)
  for (const [name, data] of await first.values()) second.write(name, data)
  const after = new AdamW(second, { momentBits: 8 })
  after.load(await before.state())
  expect(await after.state()).toEqual(await before.state())
  await train(second, after, 3, 6)
  expect(await second.values()).toEqual(await whole.values())
  await train(streamed, new AdamW(streamed, { momentBits: 8 }), 0, 6, true)
  expect(await streamed.values()).toEqual(await whole.values())
  after.reset()
  const { firstMoments } = await after.state()
  expect(firstMoments.get('in')?.length).toBe(960)
  expect((firstMoments.get('in') ?? []).every((value) => value === 0)).toBe(true)
  for (const set of sets) set.dispose()
})
