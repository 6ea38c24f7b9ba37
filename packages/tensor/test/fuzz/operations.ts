/**
 * What random programs are made of: for each operation how it is called, what the f64 reference says of it, and how the
 * call is written in a program that a person can run.
 */
import * as ops from '../../src/index.js'
import type { Tensor } from '../../src/index.js'
import { ndarray, reference as r, type NdArray } from '../../src/testing/index.js'
import { fusedOperations } from './fused-operations.js'

/** Options of a step as plain data. */
export type Options = Readonly<Record<string, number | boolean | string | readonly number[]>>

export interface Operation {
  run(inputs: readonly Tensor[], options: Options): Tensor
  forward(inputs: readonly NdArray[], options: Options): NdArray
  /** Absent: the operation has no gradient. */
  vjp?(inputs: readonly NdArray[], gradient: NdArray, options: Options): readonly (NdArray | null)[]
  code(names: readonly string[], options: Options): string
}

/** An operation of the reference, for which only the translation of the options is missing. */
interface Known {
  forward(inputs: readonly NdArray[], options: unknown): readonly NdArray[]
  vjp?(inputs: readonly NdArray[], gradients: readonly NdArray[], options: unknown): readonly (NdArray | null)[]
}

const list = (value: unknown): number[] => [...(value as readonly number[])]
const number = (value: unknown): number => value as number
const text = (value: unknown) => JSON.stringify(value)

function known(
  reference: unknown,
  run: Operation['run'],
  code: Operation['code'],
  translate: (options: Options) => unknown = (options) => options,
): Operation {
  const operation = reference as Known
  const value = (outputs: readonly NdArray[]) => outputs[0] as NdArray
  return {
    run,
    code,
    forward: (inputs, options) => value(operation.forward(inputs, translate(options))),
    ...(operation.vjp
      ? { vjp: (inputs, gradient, options) => operation.vjp?.(inputs, [gradient], translate(options)) ?? [] }
      : {}),
  }
}

const first = (inputs: readonly Tensor[]) => inputs[0] as Tensor
const two = (inputs: readonly Tensor[]) => [inputs[0] as Tensor, inputs[1] as Tensor] as const
const three = (inputs: readonly Tensor[]) => [inputs[0] as Tensor, inputs[1] as Tensor, inputs[2] as Tensor] as const

const unaryNames = [
  'neg',
  'abs',
  'exp',
  'square',
  'sin',
  'cos',
  'tanh',
  'sigmoid',
  'relu',
  'silu',
  'softplus',
  'erf',
] as const
const unary = Object.fromEntries(
  unaryNames.map((name) => [
    name,
    known(
      r[name],
      (inputs) => ops[name](first(inputs)),
      ([x]) => `${name}(${x})`,
      () => undefined,
    ),
  ]),
)

const binaryNames = ['add', 'sub', 'mul', 'maximum', 'minimum', 'lt', 'ge'] as const
const binary = Object.fromEntries(
  binaryNames.map((name) => [
    name,
    known(
      r[name],
      (inputs) => ops[name](...two(inputs)),
      ([a, b]) => `${name}(${a}, ${b})`,
    ),
  ]),
)

const reductionNames = ['sum', 'mean', 'max', 'min'] as const
const reductions = Object.fromEntries(
  reductionNames.map((name) => [
    name,
    known(
      r[name],
      (inputs, { axes, keepDims }) => ops[name](first(inputs), list(axes), keepDims as boolean),
      ([x], { axes, keepDims }) => `${name}(${x}, ${text(axes)}, ${text(keepDims)})`,
    ),
  ]),
)

const ids = (inputs: readonly Tensor[], rows: unknown) => first(inputs).device.tensor(Uint32Array.from(list(rows)))
const idsCode = (rows: unknown) => `device.tensor(new Uint32Array(${text(rows)}))`
const eps = 1e-5

const operations: Readonly<Record<string, Operation>> = {
  ...fusedOperations,
  ...unary,
  ...binary,
  ...reductions,
  gelu: known(
    r.gelu,
    (inputs) => ops.gelu(first(inputs)),
    ([x]) => `gelu(${x})`,
    () => 'erf',
  ),
  /** x · scale + shift: numbers as operands. */
  affine: {
    run: (inputs, { scale, shift }) => first(inputs).mul(number(scale)).add(number(shift)),
    forward: ([x], { scale, shift }) => ({
      shape: (x as NdArray).shape,
      data: (x as NdArray).data.map((value) => value * number(scale) + number(shift)),
    }),
    vjp: (_, gradient, { scale }) => [{ ...gradient, data: gradient.data.map((value) => value * number(scale)) }],
    code: ([x], { scale, shift }) => `add(mul(${x}, ${number(scale)}), ${number(shift)})`,
  },
  /** a / (1 + b²), so that nothing is divided by 0. */
  ratio: {
    run: (inputs) => ops.div(two(inputs)[0], two(inputs)[1].square().add(1)),
    forward: ([a, b]) => r.div.forward([a as NdArray, below(b as NdArray)])[0],
    vjp: ([a, b], gradient) => {
      const [byA, byBelow] = r.div.vjp([a as NdArray, below(b as NdArray)], [gradient])
      const byB = byBelow && { ...byBelow, data: byBelow.data.map((g, i) => 2 * g * ((b as NdArray).data[i] ?? NaN)) }
      return [byA ?? null, byB ?? null]
    },
    code: ([a, b]) => `div(${a}, add(square(${b}), 1))`,
  },
  where: known(
    r.where,
    (inputs) => ops.where(...three(inputs)),
    ([c, a, b]) => `where(${c}, ${a}, ${b})`,
  ),
  /** Through another storage type and back, for values it can hold. */
  widen: known(
    r.cast,
    (inputs) => first(inputs).cast('f32'),
    ([x]) => `cast(${x}, 'f32')`,
    () => 'f32',
  ),
  permute: known(
    r.permute,
    (inputs, { axes }) => ops.permute(first(inputs), list(axes)),
    ([x], { axes }) => `permute(${x}, ${text(axes)})`,
    ({ axes }) => axes,
  ),
  reshape: known(
    r.reshape,
    (inputs, { shape }) => ops.reshape(first(inputs), list(shape)),
    ([x], { shape }) => `reshape(${x}, ${text(shape)})`,
    ({ shape }) => shape,
  ),
  expand: known(
    r.expand,
    (inputs, { shape }) => ops.expand(first(inputs), list(shape)),
    ([x], { shape }) => `expand(${x}, ${text(shape)})`,
    ({ shape }) => shape,
  ),
  slice: known(
    r.slice,
    (inputs, { axis, start, end }) => ops.slice(first(inputs), number(axis), number(start), number(end)),
    ([x], { axis, start, end }) => `slice(${x}, ${number(axis)}, ${number(start)}, ${number(end)})`,
  ),
  pad: known(
    r.pad,
    (inputs, { axis, before, after }) => ops.pad(first(inputs), number(axis), number(before), number(after)),
    ([x], { axis, before, after }) => `pad(${x}, ${number(axis)}, ${number(before)}, ${number(after)})`,
  ),
  concat: known(
    r.concat,
    (inputs, { axis }) => ops.concat(inputs, number(axis)),
    (names, { axis }) => `concat([${names.join(', ')}], ${number(axis)})`,
    ({ axis }) => axis,
  ),
  matmul: known(
    r.matmul,
    (inputs) => ops.matmul(...two(inputs)),
    ([a, b]) => `matmul(${a}, ${b})`,
  ),
  linear: known(
    r.linear,
    (inputs) => ops.linear(...three(inputs)),
    ([x, w, b]) => `linear(${x}, ${w}, ${b})`,
  ),
  softmax: known(
    r.softmax,
    (inputs) => ops.softmax(first(inputs)),
    ([x]) => `softmax(${x})`,
  ),
  logSoftmax: known(
    r.logSoftmax,
    (inputs) => ops.logSoftmax(first(inputs)),
    ([x]) => `logSoftmax(${x})`,
  ),
  rmsNorm: known(
    r.rmsNorm,
    (inputs) => ops.rmsNorm(...two(inputs), eps),
    ([x, w]) => `rmsNorm(${x}, ${w}, ${eps})`,
    () => ({ eps }),
  ),
  layerNorm: known(
    r.layerNorm,
    (inputs) => ops.layerNorm(...three(inputs), eps),
    ([x, w, b]) => `layerNorm(${x}, ${w}, ${b}, ${eps})`,
    () => ({ eps }),
  ),
  swiglu: known(
    r.swiglu,
    (inputs) => ops.swiglu(...two(inputs)),
    ([a, b]) => `swiglu(${a}, ${b})`,
  ),
  gather: known(
    r.gather,
    (inputs, { rows }) => ops.gather(first(inputs), ids(inputs, rows)),
    ([x], { rows }) => `gather(${x}, ${idsCode(rows)})`,
    ({ rows }) => rows,
  ),
  embedding: known(
    r.embedding,
    (inputs, { rows }) => ops.embedding(first(inputs), ids(inputs, rows)),
    ([x], { rows }) => `embedding(${x}, ${idsCode(rows)})`,
    ({ rows }) => rows,
  ),
  attention: known(
    r.attention,
    (inputs, { causal }) => ops.attention(...three(inputs), { causal: causal as boolean }),
    ([q, k, v], { causal }) => `attention(${q}, ${k}, ${v}, { causal: ${text(causal)} })`,
  ),
  /** The same function with and without keeping what its gradient needs. */
  checkpointed: {
    run: (inputs) => ops.checkpoint((a, b) => ops.sin(a.mul(b)).add(a), ...two(inputs)),
    forward: ([a, b]) => {
      const data = (a as NdArray).data.map((x, i) => Math.sin(x * ((b as NdArray).data[i] ?? NaN)) + x)
      return ndarray(data, (a as NdArray).shape)
    },
    vjp: ([a, b], gradient) => {
      const cosine = (i: number) => Math.cos(((a as NdArray).data[i] ?? NaN) * ((b as NdArray).data[i] ?? NaN))
      return [
        { ...gradient, data: gradient.data.map((g, i) => g * (cosine(i) * ((b as NdArray).data[i] ?? NaN) + 1)) },
        { ...gradient, data: gradient.data.map((g, i) => g * cosine(i) * ((a as NdArray).data[i] ?? NaN)) },
      ]
    },
    code: ([a, b]) => `checkpoint((a, b) => add(sin(mul(a, b)), a), ${a}, ${b})`,
  },
}

const below = (b: NdArray): NdArray => ({ ...b, data: b.data.map((value) => 1 + value * value) })

export function operationOf(name: string): Operation {
  const operation = operations[name]
  if (!operation) throw new Error(`There is no operation '${name}'.`)
  return operation
}
