/**
 * Random programs as data, and what running them gives: on a device, and in the f64 reference executed step by step as
 * an eager library would. A step's index is the name of its value.
 */
import * as ops from '../../src/index.js'
import type { Device, Tensor } from '../../src/index.js'
import { map, randomArray, reference, zeros, type NdArray } from '../../src/testing/index.js'
import { operationOf, type Options } from './operations.js'

export type LeafDType = 'f32' | 'f16' | 'bf16' | 'i32'

export type Step =
  /** Random data. Only f32 leaves are differentiated. `view`: it reaches the GPU as a view of a larger tensor. */
  | {
      readonly kind: 'leaf'
      readonly shape: readonly number[]
      readonly dtype: LeafDType
      readonly seed: number
      readonly view: boolean
    }
  | { readonly kind: 'apply'; readonly op: string; readonly inputs: readonly number[]; readonly options: Options }
  /** A tensor of zeros that is written in place. It is looked at through `copy` steps. */
  | { readonly kind: 'buffer'; readonly shape: readonly number[] }
  | { readonly kind: 'copy'; readonly buffer: number }
  /** Adds a value to the rows `start`… of a buffer, in place. */
  | {
      readonly kind: 'accumulate'
      readonly buffer: number
      readonly value: number
      readonly start: number
      readonly rows: number
    }
  /** Writes a value, which may broadcast, over the places `start`… of an axis of a buffer. */
  | {
      readonly kind: 'assign'
      readonly buffer: number
      readonly value: number
      readonly axis: number
      readonly start: number
      readonly end: number
    }
  | { readonly kind: 'evaluate'; readonly values: readonly number[] }

export interface Program {
  readonly steps: readonly Step[]
  /** Steps whose values are read at the end. */
  readonly outputs: readonly number[]
  /** Whether the gradients of all f32 leaves are read, too. */
  readonly gradients: boolean
}

/** Values of the outputs, then gradients of the f32 leaves in order. */
export interface Result {
  readonly names: readonly string[]
  readonly values: readonly ArrayLike<number>[]
}

/** f32 leaves, which get gradients. */
export const learning = ({ steps }: Program): number[] =>
  steps.flatMap((step, index) => (step.kind === 'leaf' && step.dtype === 'f32' ? [index] : []))

export function leafArray({ shape, dtype, seed }: Extract<Step, { kind: 'leaf' }>): NdArray {
  if (dtype === 'i32') return map(randomArray(shape, seed, -3, 4), Math.floor)
  const array = randomArray(shape, seed)
  return dtype === 'f32' ? array : reference.cast.forward([array], dtype)[0]
}

const weightsOf = (array: { readonly shape: readonly number[] }, index: number) =>
  randomArray(array.shape, 7000 + index)

const slots = (program: Program) => [
  ...program.outputs.map((index) => `value v${index}`),
  ...(program.gradients ? learning(program).map((index) => `gradient of v${index}`) : []),
]

// ---------------------------------------------------------------------------------------------------- reference

interface Forward {
  readonly values: readonly NdArray[]
  /** Operands of every applied operation as they were then. */
  readonly operands: ReadonlyMap<number, readonly NdArray[]>
}

function forward(program: Program, noise: number): Forward {
  const values: NdArray[] = []
  const operands = new Map<number, readonly NdArray[]>()
  const at = (index: number) => values[index] as NdArray
  program.steps.forEach((step, index) => {
    if (step.kind === 'leaf') {
      const jitter = noise === 0 ? null : randomArray(step.shape, step.seed + 99_991)
      values[index] = map(leafArray(step), (value, i) => value * (1 + noise * (jitter?.data[i] ?? 0)))
    } else if (step.kind === 'apply') {
      const inputs = step.inputs.map(at)
      operands.set(index, inputs)
      values[index] = operationOf(step.op).forward(inputs, step.options)
    } else if (step.kind === 'buffer') values[index] = zeros(step.shape)
    else if (step.kind === 'copy') values[index] = at(step.buffer)
    else if (step.kind === 'accumulate') values[step.buffer] = accumulated(at(step.buffer), at(step.value), step.start)
    else if (step.kind === 'assign') values[step.buffer] = assigned(at(step.buffer), at(step.value), step)
  })
  return { values, operands }
}

/** Shapes of all values. */
export function shapesOf(program: Program): (readonly number[] | undefined)[] {
  return forward(program, 0).values.map((value) => (value as NdArray | undefined)?.shape)
}

/**
 * What the program gives in f64.
 *
 * @param noise Relative size of random changes of the leaves, to see how well conditioned the program is.
 */
export function expected(program: Program, noise = 0): Result {
  const { values, operands } = forward(program, noise)
  const at = (index: number) => values[index] as NdArray
  const outputs = program.outputs.map((index) => at(index).data)
  if (!program.gradients) return { names: slots(program), values: outputs }
  const gradients = new Map<number, Float64Array>()
  const add = (index: number, gradient: NdArray) => {
    const held = gradients.get(index)
    gradients.set(index, held ? held.map((value, i) => value + (gradient.data[i] ?? NaN)) : gradient.data)
  }
  for (const index of program.outputs) add(index, weightsOf(at(index), index))
  for (let index = program.steps.length - 1; index >= 0; index--) {
    const step = program.steps[index] as Step
    const data = gradients.get(index)
    if (step.kind !== 'apply' || !data) continue
    const byInput = operationOf(step.op).vjp?.(
      operands.get(index) ?? [],
      { shape: at(index).shape, data },
      step.options,
    )
    byInput?.forEach((one, input) => one && add(step.inputs[input] as number, one))
  }
  const ofLeaves = learning(program).map((index) => gradients.get(index) ?? new Float64Array(at(index).data.length))
  return { names: slots(program), values: [...outputs, ...ofLeaves] }
}

function accumulated(buffer: NdArray, value: NdArray, start: number): NdArray {
  const width = buffer.data.length / (buffer.shape[0] ?? 1)
  const data = buffer.data.slice()
  value.data.forEach((v, i) => (data[start * width + i] = (data[start * width + i] ?? NaN) + v))
  return { shape: buffer.shape, data }
}

function assigned(
  buffer: NdArray,
  value: NdArray,
  { axis, start, end }: { readonly axis: number; readonly start: number; readonly end: number },
): NdArray {
  const part = buffer.shape.map((size, at) => (at === axis ? end - start : size))
  const [whole] = reference.expand.forward([value], part)
  const inner = part.slice(axis + 1).reduce((a, b) => a * b, 1)
  const [run, row] = [(end - start) * inner, (buffer.shape[axis] ?? 1) * inner]
  const data = buffer.data.slice()
  for (let from = 0; from < whole.data.length; from += run) {
    data.set(whole.data.subarray(from, from + run), (from / run) * row + start * inner)
  }
  return { shape: buffer.shape, data }
}

// ---------------------------------------------------------------------------------------------------- device

/** What the program gives on a device. */
export async function actual(device: Device, program: Program): Promise<Result> {
  using _scope = device.scope()
  const values: Tensor[] = []
  const at = (index: number) => values[index] as Tensor
  for (const [index, step] of program.steps.entries()) {
    if (step.kind === 'leaf') values[index] = uploadLeaf(device, step).detached(step.dtype === 'f32')
    else if (step.kind === 'apply') {
      values[index] = operationOf(step.op).run(step.inputs.map(at), step.options)
    } else if (step.kind === 'buffer') values[index] = device.buffer(step.shape)
    else if (step.kind === 'copy') values[index] = ops.copy(at(step.buffer))
    else if (step.kind === 'accumulate') {
      const rows = at(step.buffer).slice(0, step.start, step.start + step.rows)
      ops.assign(rows, rows.add(at(step.value).detached()))
    } else if (step.kind === 'assign') {
      ops.assign(at(step.buffer).slice(step.axis, step.start, step.end), at(step.value).detached())
    } else await device.eval(step.values.map(at))
  }
  const outputs = program.outputs.map(at)
  const leaves = learning(program).map(at)
  const used = program.outputs.filter((index) => at(index).requiresGrad)
  const weight = (index: number) => device.tensor(Float32Array.from(weightsOf(at(index), index).data), at(index).shape)
  const gradients = program.gradients ? ops.grad(used.map(at), leaves, { gradOutputs: used.map(weight) }) : []
  return { names: slots(program), values: await device.read([...outputs, ...gradients]) }
}

function uploadLeaf(device: Device, step: Extract<Step, { kind: 'leaf' }>): Tensor {
  const array = leafArray(step)
  const { dtype, view } = step
  const upload = (data: Float64Array, shape: readonly number[]) =>
    device.tensor(dtype === 'i32' ? Int32Array.from(data) : Float32Array.from(data), shape, dtype)
  if (!view || step.shape.length === 0) return upload(array.data, step.shape)
  // The middle of a tensor whose other rows are huge: reading beyond the view shows.
  const width = array.data.length / (step.shape[0] ?? 1)
  const padded = new Float64Array(array.data.length + 2 * width).fill(dtype === 'i32' ? 2 ** 30 : 3e4)
  padded.set(array.data, width)
  const larger = upload(padded, [(step.shape[0] ?? 1) + 2, ...step.shape.slice(1)])
  return larger.slice(0, 1, (step.shape[0] ?? 1) + 1)
}
