/**
 * Random programs: operations, views, in-place writes and evaluations in any order, on a fusing device and on one that
 * runs every node by itself, against the f64 reference executed eagerly. This is where the scheduler is tested: what is
 * fused, in which order kernels run, when buffers are reused.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as ops from '../src/index.js'
import { assertClose, map, randomArray, reference, upload, type NdArray } from '../src/testing/index.js'

const side = 4
/** A value of the program in both worlds. All have shape [4, 4]. */
interface Value {
  readonly tensor: ops.Tensor
  readonly array: NdArray
}

type Instruction = readonly [kind: number, first: number, second: number]

const r = reference
/** Keeps values of long programs near 1. */
const tame = ({ tensor, array }: Value): Value => ({ tensor: ops.sin(tensor), array: map(array, Math.sin) })

const binary: ((a: Value, b: Value) => Value)[] = [
  (a, b) => ({ tensor: a.tensor.add(b.tensor), array: r.add.forward([a.array, b.array])[0] }),
  (a, b) => ({ tensor: a.tensor.mul(b.tensor), array: r.mul.forward([a.array, b.array])[0] }),
  (a, b) => ({
    tensor: a.tensor.sub(b.tensor.transpose()),
    array: r.sub.forward([a.array, r.transpose.forward([b.array])[0]])[0],
  }),
  (a, b) => tame({ tensor: a.tensor.matmul(b.tensor), array: r.matmul.forward([a.array, b.array])[0] }),
  (a, b) =>
    tame({
      tensor: a.tensor.transpose().matmul(b.tensor).add(a.tensor),
      array: r.add.forward([r.matmul.forward([r.transpose.forward([a.array])[0], b.array])[0], a.array])[0],
    }),
  (a, b) =>
    tame({
      tensor: a.tensor.add(b.tensor.sum(1, true)),
      array: r.add.forward([a.array, r.sum.forward([b.array], { axes: [1], keepDims: true })[0]])[0],
    }),
  (a, b) =>
    tame({
      tensor: a.tensor.mul(b.tensor).sum(0, true).add(a.tensor),
      array: r.add.forward([
        r.sum.forward([r.mul.forward([a.array, b.array])[0]], { axes: [0], keepDims: true })[0],
        a.array,
      ])[0],
    }),
  (a, b) => {
    const tops = { axis: 0, start: 0, end: 2 }
    const array = r.concat.forward([r.slice.forward([a.array], tops)[0], r.slice.forward([b.array], tops)[0]], 0)[0]
    return { tensor: ops.concat([a.tensor.slice(0, 0, 2), b.tensor.slice(0, 0, 2)], 0), array }
  },
  (a, b) => ({
    tensor: ops.softmax(a.tensor.sub(b.tensor)),
    array: r.softmax.forward([r.sub.forward([a.array, b.array])[0]])[0],
  }),
  (a) => ({
    tensor: a.tensor.reshape([2, 8]).transpose().reshape([side, side]),
    array: r.reshape.forward([r.transpose.forward([r.reshape.forward([a.array], [2, 8])[0]])[0]], [side, side])[0],
  }),
  (a) =>
    tame({
      tensor: a.tensor.max().expand([side, side]).mul(a.tensor),
      array: map(a.array, (value) => value * Math.max(...a.array.data)),
    }),
]

async function run(device: ops.Device, program: readonly Instruction[], seed: number): Promise<void> {
  using _scope = device.scope()
  const values: Value[] = [1, 2, 3].map((n) => {
    const array = randomArray([side, side], seed + n)
    return { tensor: upload(device, array), array }
  })
  /** A buffer that is written in place; it is read through a sum, never aliased. */
  const buffer = device.buffer([side, side])
  let contents = map(randomArray([side, side], 0), () => 0)
  const pick = (index: number) => values[index % values.length] as Value
  for (const [kind, first, second] of program) {
    const operation = binary[kind]
    if (operation) values.push(operation(pick(first), pick(second)))
    else if (kind === binary.length) {
      ops.assign(buffer, buffer.add(pick(first).tensor))
      contents = r.add.forward([contents, pick(first).array])[0]
    } else if (kind === binary.length + 1) {
      values.push(
        tame({ tensor: buffer.add(pick(first).tensor), array: r.add.forward([contents, pick(first).array])[0] }),
      )
    } else if (kind === binary.length + 2) {
      const half = { axis: 0, start: 2, end: 4 }
      ops.assign(buffer.slice(0, 0, 2), pick(first).tensor.slice(0, 2, 4))
      contents = r.concat.forward(
        [r.slice.forward([pick(first).array], half)[0], r.slice.forward([contents], half)[0]],
        0,
      )[0]
    } else {
      // Whatever is not asked for at an evaluation may not be computable after it: writes have run.
      const asked = values.filter((_, i) => i < 3 || (i * 7 + first) % 3 !== 0)
      await device.eval(asked.map(({ tensor }) => tensor))
      values.splice(0, values.length, ...asked)
    }
  }
  const actual = await device.read([...values.map(({ tensor }) => tensor), buffer])
  values.forEach(({ array }, i) =>
    assertClose(actual[i] ?? [], array.data, { relative: 2e-4, absolute: 2e-4 }, `value ${i}`),
  )
  assertClose(actual.at(-1) ?? [], contents.data, { relative: 2e-4, absolute: 2e-4 }, 'the buffer written in place')
}

let devices: ops.Device[] = []
beforeAll(async () => {
  devices = [await ops.createDevice(), await ops.createDevice({ fusion: false })]
})
afterAll(() => {
  for (const device of devices) device.destroy()
})

test('random programs give what an eager library gives, fused and unfused', async () => {
  const instruction = fc.tuple(fc.nat(binary.length + 3), fc.nat(50), fc.nat(50))
  const programs = fc.array(instruction, { minLength: 4, maxLength: 14 })
  const seed = Number(process.env['REVISUAL_TEST_SEED'] ?? 20260)
  await fc.assert(
    fc.asyncProperty(programs, fc.nat(1000), async (program, arraySeed) => {
      for (const device of devices) {
        await run(device, program, arraySeed)
        expect(device.memory.liveTensors()).toEqual([])
      }
    }),
    { numRuns: Number(process.env['REVISUAL_TEST_PROGRAMS'] ?? 20), seed },
  )
})
