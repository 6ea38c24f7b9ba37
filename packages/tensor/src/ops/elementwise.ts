/**
 * Elementwise operations with NumPy broadcasting, each beside its gradient. Everything is computed in f32; two f16 (or
 * bf16) operands give an f16 (bf16) result, mixed floats and quantised ones give f32. Comparisons give f32 zeros and ones.
 */
import { record } from '../autograd/tape.js'
import { ShapeError } from '../device/errors.js'
import { Node, readOf } from '../graph/node.js'
import {
  broadcastShapes,
  contiguousLayout,
  expandLayout,
  isFloat,
  isQuantised,
  sameShape,
  writable,
  type DType,
  type Shape,
} from '../graph/shape.js'
import { deviceOf, Tensor } from '../graph/tensor.js'
import { sum } from './reduce.js'
import { reshape } from './view.js'

export type Operand = Tensor | number

function build(op: string, inputs: readonly Tensor[], shape: Shape, dtype: DType): Tensor {
  const device = deviceOf(inputs, `${op}()`)
  const reads = inputs.map((input) => readOf(input.node, expandLayout(input.layout, shape, `${op}()`)))
  const node = new Node({ kind: 'elementwise', op }, reads, shape, dtype)
  return new Tensor(device, node, contiguousLayout(shape))
}

/** Sums a gradient over the axes along which an operand of `shape` was broadcast. */
export function sumTo(gradient: Tensor, shape: Shape): Tensor {
  if (sameShape(gradient.shape, shape)) return gradient
  const lead = gradient.rank - shape.length
  const axes: number[] = []
  gradient.shape.forEach((dimension, axis) => {
    if (axis < lead || (shape[axis - lead] === 1 && dimension !== 1)) axes.push(axis)
  })
  return reshape(sum(gradient, axes, true), shape)
}

function operands(name: string, a: Operand, b: Operand): [Tensor, Tensor] {
  if (typeof a === 'number' && typeof b === 'number') throw new ShapeError(`${name}(): one operand must be a tensor.`)
  const x = typeof a === 'number' ? (b as Tensor).device.full([], a, writable((b as Tensor).dtype)) : a
  const y = typeof b === 'number' ? x.device.full([], b, writable(x.dtype)) : b
  if (x.dtype !== y.dtype && !(isFloat(x.dtype) && isFloat(y.dtype))) {
    throw new ShapeError(`${name}(): dtypes ${x.dtype} and ${y.dtype} do not mix; cast one of them first.`)
  }
  return [x, y]
}

/** Two narrow floats of one kind keep their kind, everything else is f32. */
function joined(a: Tensor, b: Tensor): DType {
  return a.dtype === b.dtype ? writable(a.dtype) : 'f32'
}

type BinaryVjp = (gradient: Tensor, a: Tensor, b: Tensor, result: Tensor) => [() => Tensor | null, () => Tensor | null]

function binary(op: string, vjp: BinaryVjp | null, resultType?: DType): (a: Operand, b: Operand) => Tensor {
  return (left, right) => {
    const [a, b] = operands(op, left, right)
    const dtype = resultType ?? joined(a, b)
    const result = build(op, [a, b], broadcastShapes(a.shape, b.shape, `${op}()`), dtype)
    if (vjp) {
      record([result], [a, b], ([gradient]) => {
        if (!gradient) return [null, null]
        const [toA, toB] = vjp(gradient, a, b, result)
        const da = a.requiresGrad ? toA() : null
        const db = b.requiresGrad ? toB() : null
        return [da && sumTo(da, a.shape), db && sumTo(db, b.shape)]
      })
    }
    return result
  }
}

type UnaryVjp = (gradient: Tensor, x: Tensor, result: Tensor) => Tensor

function unary(op: string, vjp: UnaryVjp | null): (x: Tensor) => Tensor {
  return (x) => {
    if (!isFloat(x.dtype) && !['neg', 'abs', 'sign'].includes(op)) {
      throw new ShapeError(`${op}(): needs a float tensor, got ${x.dtype}; cast it first.`)
    }
    const result = build(op, [x], x.shape, writable(x.dtype))
    if (vjp) record([result], [x], ([gradient]) => [gradient ? vjp(gradient, x, result) : null])
    return result
  }
}

export const add = binary('add', (g) => [() => g, () => g])
export const sub = binary('sub', (g) => [() => g, () => neg(g)])
export const mul = binary('mul', (g, a, b) => [() => mul(g, b), () => mul(g, a)])
export const div = binary('div', (g, _a, b, y) => [() => div(g, b), () => neg(div(mul(g, y), b))])
/** a^b for a ≥ 0; WGSL's pow is undefined for negative bases, use {@link square} or mul there. */
export const pow = binary('pow', (g, a, b, y) => [
  () => mul(g, mul(b, pow(a, sub(b, 1)))),
  () => mul(g, mul(y, log(a))),
])
/** Where operands are equal the first one gets the gradient. */
export const maximum = binary('maximum', (g, a, b) => [() => mul(g, ge(a, b)), () => mul(g, lt(a, b))])
/** Where operands are equal the first one gets the gradient. */
export const minimum = binary('minimum', (g, a, b) => [() => mul(g, le(a, b)), () => mul(g, gt(a, b))])
export const eq = binary('eq', null, 'f32')
export const ne = binary('ne', null, 'f32')
export const lt = binary('lt', null, 'f32')
export const le = binary('le', null, 'f32')
export const gt = binary('gt', null, 'f32')
export const ge = binary('ge', null, 'f32')

export const neg = unary('neg', (g) => neg(g))
export const abs = unary('abs', (g, x) => mul(g, sign(x)))
export const exp = unary('exp', (g, _x, y) => mul(g, y))
export const log = unary('log', (g, x) => div(g, x))
export const sqrt = unary('sqrt', (g, _x, y) => div(mul(g, 0.5), y))
/** 1/√x. */
export const rsqrt = unary('rsqrt', (g, x, y) => mul(mul(g, -0.5), div(y, x)))
export const sin = unary('sin', (g, x) => mul(g, cos(x)))
export const cos = unary('cos', (g, x) => neg(mul(g, sin(x))))
export const tanh = unary('tanh', (g, _x, y) => mul(g, sub(1, mul(y, y))))
export const sigmoid = unary('sigmoid', (g, _x, y) => mul(g, mul(y, sub(1, y))))
/** Gauss error function, absolute error below 1.5e-7. */
export const erf = unary('erf', (g, x) => mul(g, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI))))
export const floor = unary('floor', null)
/** Nearest integer, ties to even. */
export const round = unary('round', null)
export const sign = unary('sign', null)

export const square = (x: Tensor): Tensor => mul(x, x)
export const reciprocal = (x: Tensor): Tensor => div(1, x)
/** max(x, 0), with gradient 0 at 0 as in torch. */
export const relu = (x: Tensor): Tensor => where(gt(x, 0), x, 0)
/** x·σ(x). */
export const silu = (x: Tensor): Tensor => mul(x, sigmoid(x))
/** log(1 + eˣ), without overflow. */
export const softplus = (x: Tensor): Tensor => add(maximum(x, 0), log(add(1, exp(neg(abs(x))))))
export const clamp = (x: Tensor, low: number, high: number): Tensor => minimum(maximum(x, low), high)

/** Gaussian error linear unit: exact (`erf`), or the tanh approximation of arXiv 1606.08415. */
export function gelu(x: Tensor, kind: 'erf' | 'tanh' = 'erf'): Tensor {
  if (kind === 'erf') return mul(x, add(0.5, mul(0.5, erf(mul(x, Math.SQRT1_2)))))
  const inner = mul(Math.sqrt(2 / Math.PI), add(x, mul(0.044715, mul(x, mul(x, x)))))
  return mul(x, add(0.5, mul(0.5, tanh(inner))))
}

/** `a` where the condition is not zero, `b` elsewhere. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  const [x, y] =
    typeof a === 'number' && typeof b === 'number'
      ? [condition.device.full([], a), condition.device.full([], b)]
      : operands('where', a, b)
  const shape = broadcastShapes(broadcastShapes(condition.shape, x.shape, 'where()'), y.shape, 'where()')
  const result = build('where', [condition, x, y], shape, joined(x, y))
  record([result], [x, y], ([gradient]) => [
    gradient && x.requiresGrad ? sumTo(where(condition, gradient, 0), x.shape) : null,
    gradient && y.requiresGrad ? sumTo(where(condition, 0, gradient), y.shape) : null,
  ])
  return result
}

/**
 * Converts values: rounded to nearest even where a float becomes narrower, truncated towards zero where it becomes an
 * integer.
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x
  if (isQuantised(dtype))
    throw new ShapeError(`cast(): values become ${dtype} by quantize(), which makes their scales.`)
  const result = build('cast', [x], x.shape, dtype)
  if (isFloat(dtype)) record([result], [x], ([gradient]) => [gradient ? cast(gradient, writable(x.dtype)) : null])
  return result
}

/** The same values as a contiguous tensor of its own; quantised ones as f32. */
export function copy(x: Tensor): Tensor {
  const result = build('cast', [x], x.shape, writable(x.dtype))
  record([result], [x], ([gradient]) => [gradient ?? null])
  return result
}
