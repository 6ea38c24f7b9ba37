/**
 * The elementwise operations as WGSL. Every value inside a kernel is f32, i32 or u32 (narrow floats are widened
 * on load and narrowed on store), scalar or vec4; each template below reads the same for both widths.
 */
import type { DType } from './shape.js'

/** The type a dtype has inside a kernel. */
export function computeType(dtype: DType): 'f32' | 'i32' | 'u32' {
  return dtype === 'i32' || dtype === 'u32' ? dtype : 'f32'
}

/** WGSL text of the type at a vector width. */
export function wgslType(dtype: DType, width: 1 | 4): string {
  const scalar = computeType(dtype)
  return width === 1 ? scalar : `vec4<${scalar}>`
}

type Template = (operands: readonly string[], type: string, operandType: string) => string

const compare =
  (operator: string): Template =>
  ([a, b], type) =>
    `select(${type}(0), ${type}(1), ${a} ${operator} ${b})`

/** WGSL of every elementwise operation, given operand expressions, result type and type of the first operand. */
export const elementwise: Readonly<Record<string, Template>> = {
  add: ([a, b]) => `(${a} + ${b})`,
  sub: ([a, b]) => `(${a} - ${b})`,
  mul: ([a, b]) => `(${a} * ${b})`,
  div: ([a, b]) => `(${a} / ${b})`,
  pow: ([a, b]) => `pow(${a}, ${b})`,
  maximum: ([a, b]) => `max(${a}, ${b})`,
  minimum: ([a, b]) => `min(${a}, ${b})`,
  eq: compare('=='),
  ne: compare('!='),
  lt: compare('<'),
  le: compare('<='),
  gt: compare('>'),
  ge: compare('>='),
  where: ([c, a, b], _type, conditionType) => `select(${b}, ${a}, ${c} != ${conditionType}(0))`,
  neg: ([a]) => `(-${a})`,
  abs: ([a]) => `abs(${a})`,
  exp: ([a]) => `exp(${a})`,
  log: ([a]) => `log(${a})`,
  sqrt: ([a]) => `sqrt(${a})`,
  rsqrt: ([a]) => `inverseSqrt(${a})`,
  sin: ([a]) => `sin(${a})`,
  cos: ([a]) => `cos(${a})`,
  // tanh overflows to NaN on some drivers for large arguments; beyond ±15 it is ±1 in f32.
  tanh: ([a], type) => `tanh(clamp(${a}, ${type}(-15), ${type}(15)))`,
  sigmoid: ([a], type) => `(${type}(1) / (${type}(1) + exp(-${a})))`,
  floor: ([a]) => `floor(${a})`,
  round: ([a]) => `round(${a})`,
  sign: ([a], type) => `${type}(sign(${a}))`,
  erf: ([a], type) => (type.startsWith('vec4') ? `erf4(${a})` : `erf1(${a})`),
  cast: ([a], type) => `${type}(${a})`,
}

/**
 * erf by Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7, which is f32 rounding for GELU.
 */
export const erfSource = /* wgsl */ `
fn erf1(x: f32) -> f32 {
  let a = abs(x);
  let t = 1.0 / (1.0 + 0.3275911 * a);
  let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let y = 1.0 - p * exp(-a * a);
  return select(y, -y, x < 0.0);
}
fn erf4(x: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(erf1(x.x), erf1(x.y), erf1(x.z), erf1(x.w));
}
`
