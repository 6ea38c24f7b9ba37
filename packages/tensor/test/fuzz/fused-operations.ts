/**
 * The operations of random programs that have kernels of their own or storage types of their own: ragged attention, log-probs
 * without logits, quantised and narrow weights, rotary embedding. Weights that do not learn are drawn from a seed inside the
 * operation, so that a quantised one can be made of numbers its type holds exactly.
 */
import * as ops from '../../src/index.js'
import type { AttentionSequence, Tensor } from '../../src/index.js'
import { generate, randomArray, reference as r, type NdArray } from '../../src/testing/index.js'
import type { Operation, Options } from './operations.js'

const text = (value: unknown) => JSON.stringify(value)
const list = (value: unknown) => [...(value as readonly number[])]
const given = <Value>(inputs: readonly Value[], index: number) => inputs[index] as Value

/** Sequences as plain data: six numbers each, start and length of queries, keys and prefix. */
export function sequencesOf(flat: readonly number[]): AttentionSequence[] {
  return Array.from({ length: flat.length / 6 }, (_, i) => {
    const [queries = 0, queryCount = 0, keys = 0, keyCount = 0, prefix = 0, prefixCount = 0] = flat.slice(
      6 * i,
      6 * i + 6,
    )
    return {
      queries: { start: queries, length: queryCount },
      keys: { start: keys, length: keyCount },
      ...(prefixCount > 0 ? { prefix: { start: prefix, length: prefixCount } } : {}),
    }
  })
}

const attentionOptions = ({ sequences, causal }: Options) => ({
  sequences: sequencesOf(list(sequences)),
  causal: causal as boolean,
})

const three = <Value>(inputs: readonly Value[]) => [given(inputs, 0), given(inputs, 1), given(inputs, 2)] as const

const flashAttention: Operation = {
  run: (inputs, options) => ops.flashAttention(...three(inputs), attentionOptions(options)),
  forward: (inputs, options) => r.flashAttention.forward(three(inputs), attentionOptions(options))[0],
  vjp: (inputs, gradient, options) => r.flashAttention.vjp(three(inputs), [gradient], attentionOptions(options)),
  code: ([q, k, v], options) => `flashAttention(${q}, ${k}, ${v}, ${text(attentionOptions(options))})`,
}

/** log-prob + entropy / 2, so that one gradient reaches both. */
const logProbOf = ({ targets, temperature }: Options) => ({
  targets: list(targets),
  temperature: temperature as number,
})
const logProb: Operation = {
  run: (inputs, options) => {
    const { targets, temperature } = logProbOf(options)
    const [hidden, weight] = [given(inputs, 0), given(inputs, 1)]
    const ids = hidden.device.tensor(Uint32Array.from(targets))
    const { chunkElements } = options as { chunkElements: number }
    const { logProbs, entropies } = ops.linearLogProb(hidden, weight, ids, { temperature, chunkElements })
    return logProbs.add(entropies.mul(0.5))
  },
  forward: (inputs, options) => {
    const [logProbs, entropies] = r.linearLogProb.forward([given(inputs, 0), given(inputs, 1)], logProbOf(options))
    return generate(logProbs.shape, (i) => (logProbs.data[i] ?? NaN) + 0.5 * (entropies.data[i] ?? NaN))
  },
  vjp: (inputs, gradient, options) => {
    const half = { ...gradient, data: gradient.data.map((g) => 0.5 * g) }
    return r.linearLogProb.vjp([given(inputs, 0), given(inputs, 1)], [gradient, half], logProbOf(options))
  },
  code: ([h, w], { targets, temperature, chunkElements }) =>
    `(({ logProbs, entropies }) => add(logProbs, mul(entropies, 0.5)))(linearLogProb(${h}, ${w}, ` +
    `device.tensor(new Uint32Array(${text(targets)})), ${text({ temperature, chunkElements })}))`,
}

/** Cosines and sines of random angles, [positions, half a head] each. */
function tables(shape: readonly number[], seed: unknown): { cos: NdArray; sin: NdArray } {
  const angles = randomArray([shape[0] ?? 1, (shape[2] ?? 2) / 2], seed as number, -3, 3)
  const table = (fn: (x: number) => number) => ({ ...angles, data: angles.data.map((x) => Math.fround(fn(x))) })
  return { cos: table(Math.cos), sin: table(Math.sin) }
}

const put = (like: Tensor, { shape, data }: NdArray) => like.device.tensor(Float32Array.from(data), shape)

const rotary: Operation = {
  run: (inputs, { seed }) => {
    const x = given(inputs, 0)
    const { cos, sin } = tables(x.shape, seed)
    return ops.rotary(x, put(x, cos), put(x, sin))
  },
  forward: (inputs, { seed }) => r.rotary.forward([given(inputs, 0)], tables(given(inputs, 0).shape, seed))[0],
  vjp: (inputs, gradient, { seed }) =>
    r.rotary.vjp([given(inputs, 0)], [gradient], tables(given(inputs, 0).shape, seed)),
  code: ([x], { seed }) => `rotary(${x}, ...tables(${x}.shape, ${text(seed)}))`,
}

/** Columns of a quantised weight: two groups. */
export const QUANTISED_WIDTH = 32
const GROUP = 16

/**
 * A weight [rows, 32] its codes hold exactly: in every group the largest code occurs, and scales are powers of two.
 */
export function quantisable(rows: number, bits: number, seed: number): NdArray {
  const top = 2 ** (bits - 1) - 1
  const draws = randomArray([rows, QUANTISED_WIDTH], seed, -top - 0.5, top + 0.5)
  return generate(draws.shape, (i) => {
    const group = Math.floor(i / GROUP)
    const code = i % GROUP === group % GROUP ? top : Math.max(-top, Math.min(top, Math.round(draws.data[i] ?? 0)))
    return code * 2 ** -((group % 3) + bits - 1)
  })
}

type Use = 'rows' | 'columns' | 'embedding'

const weightOf = ({ rows, bits, seed }: Options) => quantisable(rows as number, bits as number, seed as number)

/**
 * Products with a quantised weight W [rows, 32]: x · W, or x, filled up with zeros, · Wᵀ. The weight has no gradient.
 */
function quantised(use: Exclude<Use, 'embedding'>): Operation {
  const columns = use === 'columns'
  const filled = (x: NdArray): NdArray => {
    const width = x.shape.at(-1) ?? 1
    const shape = [...x.shape.slice(0, -1), QUANTISED_WIDTH]
    return generate(shape, (i) => {
      const column = i % QUANTISED_WIDTH
      return column < width ? (x.data[Math.floor(i / QUANTISED_WIDTH) * width + column] ?? NaN) : 0
    })
  }
  const transposed = (w: NdArray) => r.transpose.forward([w])[0]
  const operands = (x: NdArray, options: Options): readonly [NdArray, NdArray] =>
    columns ? [filled(x), transposed(weightOf(options))] : [x, weightOf(options)]
  return {
    run: (inputs, options) => {
      const x = given(inputs, 0)
      const bits = options['bits'] as 8 | 4
      const weight = ops.quantize(put(x, weightOf(options)), { bits, groupSize: GROUP })
      if (!columns) return ops.matmul(x, weight)
      return ops.linear(ops.pad(x, -1, 0, QUANTISED_WIDTH - (x.shape.at(-1) ?? 1)), weight)
    },
    forward: (inputs, options) => r.matmul.forward(operands(given(inputs, 0), options))[0],
    vjp: (inputs, gradient, options) => {
      const x = given(inputs, 0)
      const dx = r.matmul.vjp(operands(x, options), [gradient])[0] as NdArray
      if (!columns) return [dx]
      const width = x.shape.at(-1) ?? 1
      return [generate(x.shape, (i) => dx.data[Math.floor(i / width) * QUANTISED_WIDTH + (i % width)] ?? NaN)]
    },
    code: ([x], options) => {
      const weight = `quantize(quantisable(${text(options['rows'])}, ${text(options['bits'])}, ${text(options['seed'])}), { bits: ${text(options['bits'])}, groupSize: ${GROUP} })`
      return columns
        ? `linear(pad(${x}, -1, 0, ${QUANTISED_WIDTH} - ${x}.shape.at(-1)), ${weight})`
        : `matmul(${x}, ${weight})`
    },
  }
}

/** x + rows of a quantised table, as many as x has; the last dimension is the table's. */
const quantisedRows: Operation = {
  run: (inputs, options) => {
    const x = given(inputs, 0)
    const table = ops.quantize(put(x, weightOf(options)), { bits: options['bits'] as 8 | 4, groupSize: GROUP })
    return x.add(ops.embedding(table, x.device.tensor(Uint32Array.from(list(options['ids'])))))
  },
  forward: (inputs, options) => {
    const rows = r.embedding.forward([weightOf(options)], list(options['ids']))[0]
    return r.add.forward([given(inputs, 0), rows])[0]
  },
  vjp: (_, gradient) => [gradient],
  code: ([x], { rows, bits, seed, ids }) =>
    `add(${x}, embedding(quantize(quantisable(${text(rows)}, ${text(bits)}, ${text(seed)}), { bits: ${text(bits)}, groupSize: ${GROUP} }), device.tensor(new Uint32Array(${text(ids)}))))`,
}

/** x with some of its rows replaced. */
const indexPut: Operation = {
  run: (inputs, { rows }) => {
    const x = given(inputs, 0)
    return ops.indexPut(x, x.device.tensor(Uint32Array.from(list(rows))), given(inputs, 1))
  },
  forward: (inputs, { rows }) => r.indexPut.forward([given(inputs, 0), given(inputs, 1)], list(rows))[0],
  vjp: (inputs, gradient, { rows }) => r.indexPut.vjp([given(inputs, 0), given(inputs, 1)], [gradient], list(rows)),
  code: ([x, rows], options) => `indexPut(${x}, device.tensor(new Uint32Array(${text(options['rows'])})), ${rows})`,
}

/** Functions of positive numbers, of x² + 1/2. */
const positive = (name: 'log' | 'sqrt' | 'rsqrt' | 'reciprocal'): Operation => {
  const inside = (x: NdArray): NdArray => ({ ...x, data: x.data.map((value) => value * value + 0.5) })
  return {
    run: (inputs) => ops[name](given(inputs, 0).square().add(0.5)),
    forward: (inputs) => r[name].forward([inside(given(inputs, 0))], undefined)[0],
    vjp: (inputs, gradient) => {
      const x = given(inputs, 0)
      const by = r[name].vjp([inside(x)], [gradient], undefined)[0] as NdArray
      return [{ ...x, data: by.data.map((g, i) => 2 * g * (x.data[i] ?? NaN)) }]
    },
    code: ([x]) => `${name}(add(square(${x}), 0.5))`,
  }
}

export const fusedOperations: Readonly<Record<string, Operation>> = {
  flashAttention,
  logProb,
  rotary,
  quantisedMatmul: quantised('rows'),
  quantisedLinear: quantised('columns'),
  quantisedRows,
  indexPut,
  log: positive('log'),
  sqrt: positive('sqrt'),
  rsqrt: positive('rsqrt'),
  reciprocal: positive('reciprocal'),
}
