/**
 * What people add to the core by themselves, `customGrad`, `kernel` and `defineKernel`, given what it should not be given:
 * every mistake is an error that names the kernel, the place and the value, and none a wrong number.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as ops from '../src/index.js'
import { ShapeError, type Device, type KernelDefinition, type Tensor } from '../src/index.js'

let device: Device
let other: Device
beforeAll(async () => {
  device = await ops.createDevice()
  other = await ops.createDevice()
})
afterAll(() => {
  device.destroy()
  other.destroy()
})

type Definition = KernelDefinition<'x', 'y', void>

/** y = 2x, with some parts of the definition replaced. */
function twice(changed: Readonly<Record<string, unknown>> = {}) {
  const definition: Definition = {
    name: 'twice',
    inputs: { x: ['f32'] },
    outputs: ({ x }) => ({ y: { shape: x.shape, dtype: 'f32' } }),
    launch: ({ x }) => ({ params: { size: ['u32', x.shape[0] ?? 1] }, dispatch: [1, 1, 1] }),
    body: `fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  if (lidx < params.size) { store_y(lidx, 2.0 * load_x(lidx)); }
}`,
    vjp: ({ gradients }) => ({ x: gradients.y && gradients.y.mul(2) }),
  }
  return ops.defineKernel({ ...definition, ...changed })
}

const learning = () => device.tensor([1, 2, 3]).detached(true)
const differentiate = (operation: ReturnType<typeof twice>) => {
  const x = learning()
  return ops.grad(operation({ x }).y.sum(), [x])[0] as Tensor
}

describe('defineKernel', () => {
  test('gives values and gradients', async () => {
    expect([...(await twice()({ x: learning() }).y.read())]).toEqual([2, 4, 6])
    expect([...(await differentiate(twice()).read())]).toEqual([2, 2, 2])
  })

  test('refuses inputs that are missing, unknown, of another type', () => {
    const x = learning()
    const call = (inputs: unknown) => () => twice()(inputs as { x: Tensor })
    expect(call({})).toThrow(/'twice' needs an input 'x'/)
    expect(call({ x, z: x })).toThrow(/'twice' was given an input 'z'; its inputs are x/)
    expect(call({ x: device.tensor(Int32Array.of(1)) })).toThrow(/input 'x' is i32; allowed: f32/)
    expect(() => twice({ inputs: { 'my x': ['f32'] } })).toThrow(/'my x' becomes part of names in WGSL/)
  })

  test.each([
    [{ x: 'wide' }, /gave f32\[2\] as the gradient of 'x', which is \[3\]/],
    [{ x: 'whole' }, /gave i32\[3\] as the gradient of 'x'.*floats/],
    [{ w: 'fine' }, /was given a gradient of 'w'; its inputs are x/],
  ])('refuses gradients %j', (kinds, message) => {
    const made: Readonly<Record<string, () => Tensor>> = {
      wide: () => device.ones([2]),
      whole: () => device.tensor(Int32Array.of(1, 2, 3)),
      fine: () => device.ones([3]),
    }
    const vjp = () => Object.fromEntries(Object.entries(kinds).map(([name, kind]) => [name, made[kind]?.()]))
    expect(() => differentiate(twice({ vjp }))).toThrow(message)
    expect(() => differentiate(twice({ vjp }))).toThrow(ShapeError)
  })

  test.each([
    ['shape', { shape: [-1], dtype: 'f32' }, /output 'y': shape \[-1\] must consist of integers/],
    ['shape', { shape: [1.5], dtype: 'f32' }, /shape \[1.5\]/],
    ['type', { shape: [3], dtype: 'f64' }, /output 'y' cannot be stored as f64; allowed: f32, f16, bf16, i32, u32/],
    ['type', { shape: [3], dtype: 'q8' }, /output 'y' cannot be stored as q8/],
  ])('refuses outputs by %s: %j', (_, y, message) => {
    expect(() => twice({ outputs: () => ({ y }) })({ x: learning() })).toThrow(message)
  })

  test.each([
    [{ dispatch: [1.5, 1, 1] }, /'twice': a dispatch of \[1.5, 1, 1\]/],
    [{ dispatch: [-1, 1, 1] }, /must be three integers/],
    [{ dispatch: [1, 1] }, /must be three integers/],
    [{ dispatch: [1, 1, 1], workgroupSize: [0, 1, 1] }, /workgroups of \[0, 1, 1\]/],
    [{ dispatch: [1, 1, 1], params: { size: ['u32', -3] } }, /parameter 'size' is u32,-3; give/],
    [{ dispatch: [1, 1, 1], params: { size: ['i32', 2 ** 31] } }, /parameter 'size' is i32,2147483648/],
    [{ dispatch: [1, 1, 1], params: { size: ['u32', NaN] } }, /parameter 'size' is u32,NaN/],
    [{ dispatch: [1, 1, 1], params: { size: ['f64', 1] } }, /parameter 'size' is f64,1/],
    [{ dispatch: [1, 1, 1], params: { size: 3 } }, /parameter 'size' is 3/],
  ])('refuses a launch %j', (launch, message) => {
    expect(() => twice({ launch: () => launch })({ x: learning() })).toThrow(message)
  })
})

describe('customGrad', () => {
  const custom = (fn: unknown) => {
    const x = learning()
    return () =>
      ops.grad(
        ops
          .customGrad(fn as (x?: Tensor) => { value: Tensor; vjp: () => [] })(x)
          .sum(),
        [x],
      )
  }

  test('refuses what is no value with a product, and products that do not fit the inputs', () => {
    expect(custom(() => undefined)).toThrow(/must return \{ value, vjp \}/)
    expect(custom((x: Tensor) => ({ value: x.mul(2) }))).toThrow(/must return \{ value, vjp \}/)
    expect(custom((x: Tensor) => ({ value: x.mul(2), vjp: (g: Tensor) => g }))).toThrow(/for 1 inputs; return an array/)
    expect(custom((x: Tensor) => ({ value: x.mul(2), vjp: () => [] }))).toThrow(/an array of 0 for 1 inputs/)
    expect(custom((x: Tensor) => ({ value: x.mul(2), vjp: () => [device.ones([5])] }))).toThrow(
      /f32\[5\] as the gradient of input 0, which is \[3\]/,
    )
  })

  test('takes an input, or what has a history, for its value', async () => {
    const x = learning()
    const scaled = ops.customGrad((input) => ({ value: input, vjp: (g) => [g && g.mul(3)] }))
    const [first] = ops.grad(scaled(x).sum(), [x]) as [Tensor]
    expect([...(await first.read())]).toEqual([3, 3, 3])
    const y = x.mul(2)
    const replaced = ops.customGrad(() => ({ value: y, vjp: (g) => [g && g.mul(5)] }))
    const [through, own] = [ops.grad(replaced(x).sum(), [x])[0], ops.grad(y.sum(), [x])[0]] as [Tensor, Tensor]
    const values = await device.read([through, own])
    expect(values.map((value) => [...value])).toEqual([
      [5, 5, 5],
      [2, 2, 2],
    ])
  })
})

test('tensors of two devices are refused by every operation that takes several', () => {
  const [a, b] = [device.ones([2, 2]), other.ones([2, 2])]
  const calls: (() => unknown)[] = [
    () => a.add(b),
    () => ops.matmul(a, b),
    () => ops.linear(a, b),
    () => ops.concat([a, b], 0),
    () => ops.where(a, a, b),
    () => ops.gather(a, other.tensor(Uint32Array.of(0))),
    () => ops.rmsNorm(a, other.ones([2]), 1e-5),
    () => ops.swiglu(a, b),
    () => {
      ops.assign(device.buffer([2, 2]), b)
    },
    () => ops.linearLogProb(a, b, device.tensor(Uint32Array.of(0, 1))),
  ]
  for (const call of calls) expect(call).toThrow(/different devices/)
})
