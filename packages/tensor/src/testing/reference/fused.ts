/**
 * The remaining operations with kernels of their own: norms, rotary embedding, SwiGLU and token log-probs.
 */
import { at, generate, zeros, type NdArray } from '../ndarray.js'
import type { BinaryInputs, DifferentiableOp, UnaryInputs } from './operation.js'

export interface NormOptions {
  readonly eps: number
}

function addTo(x: NdArray, index: number, value: number): void {
  x.data[index] = at(x, index) + value
}

/** Mean (0 when not centred) and reciprocal deviation of every row. */
function statistics(x: NdArray, eps: number, centred: boolean): { mean: number; rstd: number }[] {
  const length = x.shape.at(-1) ?? 1
  return Array.from({ length: x.data.length / length }, (_, row) => {
    const values = x.data.subarray(row * length, (row + 1) * length)
    const mean = centred ? values.reduce((a, b) => a + b, 0) / length : 0
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / length
    return { mean, rstd: 1 / Math.sqrt(variance + eps) }
  })
}

/** Gradients of x̂ · weight with x̂ = (x − mean) · rstd: d x, d weight, and Σ dy, the gradient of a bias. */
function normVjp(
  x: NdArray,
  weight: NdArray,
  gradient: NdArray,
  eps: number,
  centred: boolean,
): [NdArray, NdArray, NdArray] {
  const length = x.shape.at(-1) ?? 1
  const [dx, dWeight, dBias] = [zeros(x.shape), zeros(weight.shape), zeros(weight.shape)]
  statistics(x, eps, centred).forEach(({ mean, rstd }, row) => {
    const hat = (i: number) => (at(x, row * length + i) - mean) * rstd
    let plain = 0
    let dot = 0
    for (let i = 0; i < length; i++) {
      const dy = at(gradient, row * length + i)
      addTo(dWeight, i, dy * hat(i))
      addTo(dBias, i, dy)
      plain += (dy * at(weight, i)) / length
      dot += (dy * at(weight, i) * hat(i)) / length
    }
    for (let i = 0; i < length; i++) {
      const own = at(gradient, row * length + i) * at(weight, i)
      dx.data[row * length + i] = rstd * (own - (centred ? plain : 0) - hat(i) * dot)
    }
  })
  return [dx, dWeight, dBias]
}

const rmsNorm: DifferentiableOp<BinaryInputs, NormOptions> = {
  forward: ([x, weight], { eps }) => {
    const length = x.shape.at(-1) ?? 1
    const rows = statistics(x, eps, false)
    return [generate(x.shape, (i) => at(x, i) * (rows[Math.floor(i / length)]?.rstd ?? NaN) * at(weight, i % length))]
  },
  vjp: ([x, weight], [gradient], { eps }) => normVjp(x, weight, gradient, eps, false).slice(0, 2),
}

const layerNorm: DifferentiableOp<readonly [NdArray, NdArray, NdArray], NormOptions> = {
  forward: ([x, weight, bias], { eps }) => {
    const length = x.shape.at(-1) ?? 1
    const rows = statistics(x, eps, true)
    return [
      generate(x.shape, (i) => {
        const { mean, rstd } = rows[Math.floor(i / length)] ?? { mean: NaN, rstd: NaN }
        return (at(x, i) - mean) * rstd * at(weight, i % length) + at(bias, i % length)
      }),
    ]
  },
  vjp: ([x, weight], [gradient], { eps }) => normVjp(x, weight, gradient, eps, true),
}

export interface RotaryOptions {
  /** [N, D/2] */
  readonly cos: NdArray
  readonly sin: NdArray
}

function rotate(x: NdArray, { cos, sin }: RotaryOptions, direction: 1 | -1): NdArray {
  const [, heads = 1, width = 1] = x.shape
  const half = width / 2
  return generate(x.shape, (index) => {
    const token = Math.floor(index / (heads * width))
    const column = index % width
    const j = column % half
    const c = at(cos, token * half + j)
    const s = at(sin, token * half + j) * direction
    return column < half ? at(x, index) * c - at(x, index + half) * s : at(x, index) * c + at(x, index - half) * s
  })
}

/** x [N, heads, D]. */
const rotary: DifferentiableOp<UnaryInputs, RotaryOptions> = {
  forward: ([x], options) => [rotate(x, options, 1)],
  vjp: (_, [gradient], options) => [rotate(gradient, options, -1)],
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

const swiglu: DifferentiableOp<BinaryInputs> = {
  forward: ([gate, up]) => [generate(gate.shape, (i) => at(gate, i) * sigmoid(at(gate, i)) * at(up, i))],
  vjp: ([gate, up], [gradient]) => [
    generate(gate.shape, (i) => {
      const s = sigmoid(at(gate, i))
      return at(gradient, i) * at(up, i) * s * (1 + at(gate, i) * (1 - s))
    }),
    generate(up.shape, (i) => at(gradient, i) * at(gate, i) * sigmoid(at(gate, i))),
  ],
}

export interface TokenLogProbOptions {
  readonly targets: readonly number[]
  readonly temperature?: number
  /** [V], added to the logits. */
  readonly mask?: readonly number[]
}

/** Log-softmax of the logits of one token. */
function tokenLogProbs(hidden: NdArray, weight: NdArray, token: number, options: TokenLogProbOptions): number[] {
  const [vocabulary = 0, width = 0] = weight.shape
  const logits = Array.from({ length: vocabulary }, (_, v) => {
    let sum = options.mask?.[v] ?? 0
    for (let h = 0; h < width; h++) sum += at(hidden, token * width + h) * at(weight, v * width + h)
    return sum / (options.temperature ?? 1)
  })
  const top = Math.max(...logits)
  const logSum = top + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - top), 0))
  return logits.map((x) => x - logSum)
}

const entropyOf = (logProbs: readonly number[]) => -logProbs.reduce((sum, logP) => sum + Math.exp(logP) * logP, 0)

/** hidden [T, H], weight [V, H] → log-probs of the targets [T] and entropies [T]. */
const linearLogProb: DifferentiableOp<BinaryInputs, TokenLogProbOptions, readonly [NdArray, NdArray]> = {
  forward: ([hidden, weight], options) => {
    const rows = options.targets.map((_, token) => tokenLogProbs(hidden, weight, token, options))
    const shape = [rows.length]
    return [
      generate(shape, (token) => rows[token]?.[options.targets[token] ?? -1] ?? NaN),
      generate(shape, (token) => entropyOf(rows[token] ?? [])),
    ]
  },
  vjp: ([hidden, weight], [dLogProbs, dEntropies], options) => {
    const width = hidden.shape[1] ?? 0
    const [dHidden, dWeight] = [zeros(hidden.shape), zeros(weight.shape)]
    options.targets.forEach((target, token) => {
      const logProbs = tokenLogProbs(hidden, weight, token, options)
      const entropy = entropyOf(logProbs)
      logProbs.forEach((logP, v) => {
        const p = Math.exp(logP)
        const hit = (v === target ? 1 : 0) - p
        const g =
          (at(dLogProbs, token) * hit - at(dEntropies, token) * p * (logP + entropy)) / (options.temperature ?? 1)
        for (let h = 0; h < width; h++) {
          addTo(dHidden, token * width + h, g * at(weight, v * width + h))
          addTo(dWeight, v * width + h, g * at(hidden, token * width + h))
        }
      })
    })
    return [dHidden, dWeight]
  },
}

export const fused = { rmsNorm, layerNorm, rotary, swiglu, linearLogProb }
