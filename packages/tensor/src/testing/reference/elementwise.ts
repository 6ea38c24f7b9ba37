/**
 * Elementwise operations as functions of numbers, with their derivatives as functions of numbers.
 */
import { fromHalf, toHalfBits } from '../../graph/half.js'
import { at, broadcastShape, broadcastTo, generate, map, sumToShape, type NdArray } from '../ndarray.js'
import type { BinaryInputs, DifferentiableOp, ReferenceOp, UnaryInputs } from './operation.js'

type Of1 = (x: number) => number
type Of2 = (a: number, b: number) => number

function binaryValue([a, b]: BinaryInputs, fn: Of2): NdArray {
  const shape = broadcastShape(a.shape, b.shape)
  const x = broadcastTo(a, shape)
  const y = broadcastTo(b, shape)
  return generate(shape, (i) => fn(at(x, i), at(y, i)))
}

function binary(fn: Of2, byA: Of2, byB: Of2): DifferentiableOp<BinaryInputs> {
  return {
    forward: (inputs) => [binaryValue(inputs, fn)],
    vjp: (inputs, [gradient]) =>
      ([byA, byB] as const).map((derivative, operand) => {
        const slope = binaryValue(inputs, derivative)
        return sumToShape(
          map(slope, (value, i) => value * at(gradient, i)),
          (operand === 0 ? inputs[0] : inputs[1]).shape,
        )
      }),
  }
}

const comparison = (fn: (a: number, b: number) => boolean): ReferenceOp<BinaryInputs> => ({
  forward: (inputs) => [binaryValue(inputs, (a, b) => (fn(a, b) ? 1 : 0))],
})

function unary<Options = void>(
  fn: (x: number, options: Options) => number,
  derivative: (x: number, options: Options) => number,
): DifferentiableOp<UnaryInputs, Options> {
  return {
    forward: ([x], options) => [map(x, (value) => fn(value, options))],
    vjp: ([x], [gradient], options) => [map(x, (value, i) => derivative(value, options) * at(gradient, i))],
  }
}

const stepwise = (fn: Of1): ReferenceOp<UnaryInputs> => ({ forward: ([x]) => [map(x, fn)] })

/** erf x = 2/√π · e^(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!!, all terms of one sign (Abramowitz & Stegun 7.1.6). */
function erfOf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x)
  let term = x
  let sum = 0
  for (let n = 1; sum + term !== sum; n++) {
    sum += term
    term *= (2 * x * x) / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum
}

const sigmoidOf: Of1 = (x) => 1 / (1 + Math.exp(-x))
const normalCdf: Of1 = (x) => 0.5 * (1 + erfOf(x * Math.SQRT1_2))
const normalPdf: Of1 = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI)
const geluInner: Of1 = (x) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)

function roundHalfEven(x: number): number {
  const below = Math.floor(x)
  const rest = x - below
  if (rest !== 0.5) return Math.round(x)
  return below % 2 === 0 ? below : below + 1
}

/** bfloat16: eight bits of significand; subnormals are multiples of 2⁻¹³³. Ties to even. */
function roundToBfloat16(x: number): number {
  if (!Number.isFinite(x) || x === 0) return x
  const exponent = Math.max(-126, Math.floor(Math.log2(Math.abs(x))))
  const step = 2 ** (exponent - 7)
  return roundHalfEven(x / step) * step
}

const roundings = {
  f32: Math.fround,
  f16: (x: number) => fromHalf(toHalfBits([x]))[0] ?? NaN,
  bf16: roundToBfloat16,
  i32: Math.trunc,
  u32: Math.trunc,
}

export const elementwise = {
  add: binary(
    (a, b) => a + b,
    () => 1,
    () => 1,
  ),
  sub: binary(
    (a, b) => a - b,
    () => 1,
    () => -1,
  ),
  mul: binary(
    (a, b) => a * b,
    (_, b) => b,
    (a) => a,
  ),
  div: binary(
    (a, b) => a / b,
    (_, b) => 1 / b,
    (a, b) => -a / (b * b),
  ),
  /** For a ≥ 0. */
  pow: binary(
    (a, b) => a ** b,
    (a, b) => b * a ** (b - 1),
    (a, b) => a ** b * Math.log(a),
  ),
  /** The first of equal operands gets the gradient. */
  maximum: binary(
    Math.max,
    (a, b) => (a >= b ? 1 : 0),
    (a, b) => (a < b ? 1 : 0),
  ),
  /** The first of equal operands gets the gradient. */
  minimum: binary(
    Math.min,
    (a, b) => (a <= b ? 1 : 0),
    (a, b) => (a > b ? 1 : 0),
  ),
  eq: comparison((a, b) => a === b),
  ne: comparison((a, b) => a !== b),
  lt: comparison((a, b) => a < b),
  le: comparison((a, b) => a <= b),
  gt: comparison((a, b) => a > b),
  ge: comparison((a, b) => a >= b),
  neg: unary(
    (x) => -x,
    () => -1,
  ),
  abs: unary(Math.abs, Math.sign),
  exp: unary(Math.exp, Math.exp),
  log: unary(Math.log, (x) => 1 / x),
  sqrt: unary(Math.sqrt, (x) => 0.5 / Math.sqrt(x)),
  rsqrt: unary(
    (x) => 1 / Math.sqrt(x),
    (x) => -0.5 * x ** -1.5,
  ),
  square: unary(
    (x) => x * x,
    (x) => 2 * x,
  ),
  reciprocal: unary(
    (x) => 1 / x,
    (x) => -1 / (x * x),
  ),
  sin: unary(Math.sin, Math.cos),
  cos: unary(Math.cos, (x) => -Math.sin(x)),
  tanh: unary(Math.tanh, (x) => 1 - Math.tanh(x) ** 2),
  sigmoid: unary(sigmoidOf, (x) => sigmoidOf(x) * sigmoidOf(-x)),
  relu: unary(
    (x) => Math.max(x, 0),
    (x) => (x >= 0 ? 1 : 0),
  ),
  silu: unary(
    (x) => x * sigmoidOf(x),
    (x) => sigmoidOf(x) * (1 + x * sigmoidOf(-x)),
  ),
  softplus: unary((x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), sigmoidOf),
  erf: unary(erfOf, (x) => (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x)),
  gelu: unary<'erf' | 'tanh'>(
    (x, kind) => (kind === 'erf' ? x * normalCdf(x) : 0.5 * x * (1 + Math.tanh(geluInner(x)))),
    (x, kind) => {
      if (kind === 'erf') return normalCdf(x) + x * normalPdf(x)
      const t = Math.tanh(geluInner(x))
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x)
    },
  ),
  clamp: unary<{ low: number; high: number }>(
    (x, { low, high }) => Math.min(Math.max(x, low), high),
    (x, { low, high }) => (x >= low && x <= high ? 1 : 0),
  ),
  floor: stepwise(Math.floor),
  /** Ties to even. */
  round: stepwise(roundHalfEven),
  sign: stepwise(Math.sign),
  /** Rounded to the float types, truncated to the integer types. The gradient passes unchanged. */
  cast: unary<'f32' | 'f16' | 'bf16' | 'i32' | 'u32'>(
    (x, dtype) => roundings[dtype](x),
    () => 1,
  ),
  /** Inputs: condition, a, b. */
  where: {
    forward: ([condition, a, b]) => {
      const shape = broadcastShape(condition.shape, a.shape, b.shape)
      const [c, x, y] = [broadcastTo(condition, shape), broadcastTo(a, shape), broadcastTo(b, shape)]
      return [generate(shape, (i) => (at(c, i) !== 0 ? at(x, i) : at(y, i)))]
    },
    vjp: ([condition, a, b], [gradient]) => {
      const c = broadcastTo(condition, gradient.shape)
      return [
        null,
        sumToShape(
          map(gradient, (value, i) => (at(c, i) !== 0 ? value : 0)),
          a.shape,
        ),
        sumToShape(
          map(gradient, (value, i) => (at(c, i) !== 0 ? 0 : value)),
          b.shape,
        ),
      ]
    },
  } satisfies DifferentiableOp<readonly [NdArray, NdArray, NdArray]>,
}
