/**
 * jax-js, on its `webgpu` or its `wasm` device (first argument). Every case is one `jit`-compiled function, which is how its
 * documentation says to get its speed; `.ref` keeps an operand, since its functions consume theirs.
 */
import { blockUntilReady, defaultDevice, grad, init, jit, nn, numpy as np, valueAndGrad } from '@jax-js/jax'
import { readFileSync } from 'node:fs'
import { numbers, pick } from '../lib/data.mjs'
import { serve, Unsupported } from './serve.mjs'
import { installWebGpu } from './webgpu.mjs'

// Its einsum uses iterator helpers, which Node has from version 22 on.
const iterator = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()))
iterator.map ??= function* (fn) {
  for (const value of this) yield fn(value)
}
iterator.filter ??= function* (fn) {
  for (const value of this) if (fn(value)) yield value
}
iterator.toArray ??= function () {
  return [...this]
}

const device = process.argv[2]
const { adapter } = await installWebGpu()

const array = (data, shape) => np.array(data, { shape })
const keep = (value) => value.ref

/**
 * Results are kept until all are there: an array that is disposed of before it was computed is never computed, and what was
 * timed would be one step of many.
 */
function stateless(inputs, compute) {
  const compiled = jit(compute)
  let pending = []
  let last = []
  return {
    step() {
      pending.push([compiled(...inputs.map(keep))].flat())
    },
    async finish() {
      for (const values of pending) await blockUntilReady(values)
      for (const value of last) value.dispose()
      last = pending.pop() ?? []
      for (const value of pending.flat()) value.dispose()
      pending = []
    },
    async sample() {
      const picked = []
      for (const value of last) picked.push(...pick(await value.ref.data()))
      return picked
    },
    dispose() {
      for (const value of [...last, ...inputs]) value.dispose()
      compiled.dispose?.()
    },
  }
}

/** Adam (arXiv 1412.6980) over a record of arrays; returns the new state and the loss. */
function training(specs, inputs, loss) {
  const names = specs.map(({ name }) => name)
  let state = specs.map(({ data, shape }) => ({
    w: array(data, shape),
    m: np.zeros(shape),
    v: np.zeros(shape),
  }))
  let value = null
  let steps = 0
  const withGradient = valueAndGrad((weights, given) => loss(weights, given))
  const update = jit((weights, first, second, rate, scale, given) => {
    const [result, gradients] = withGradient(Object.fromEntries(names.map((name) => [name, weights[name].ref])), given)
    const next = { w: {}, m: {}, v: {} }
    for (const name of names) {
      const g = gradients[name]
      const m = np.add(np.multiply(first[name], 0.9), np.multiply(g.ref, 0.1))
      const v = np.add(np.multiply(second[name], 0.999), np.multiply(np.multiply(g.ref, g), 0.001))
      const divisor = np.add(np.multiply(np.sqrt(v.ref), scale.ref), 1e-8)
      next.w[name] = np.subtract(weights[name], np.divide(np.multiply(m.ref, rate.ref), divisor))
      next.m[name] = m
      next.v[name] = v
    }
    rate.dispose()
    scale.dispose()
    return [result, next]
  })
  const part = (key) => Object.fromEntries(names.map((name, index) => [name, state[index][key]]))
  return {
    step() {
      value?.dispose()
      steps++
      const [result, next] = update(
        part('w'),
        part('m'),
        part('v'),
        np.array(1e-3 / (1 - 0.9 ** steps)),
        np.array(1 / Math.sqrt(1 - 0.999 ** steps)),
        inputs.map(keep),
      )
      value = result
      state = names.map((name) => ({ w: next.w[name], m: next.m[name], v: next.v[name] }))
    },
    finish: () => blockUntilReady([value, ...state.flatMap(({ w, m, v }) => [w, m, v])]),
    sample: async () => pick(await value.ref.data()),
    dispose() {
      value?.dispose()
      for (const { w, m, v } of state) for (const item of [w, m, v]) item.dispose()
      for (const item of inputs) item.dispose()
    },
  }
}

const project = (x, weight) => np.matmul(x, np.matrixTranspose(weight))

function norm(x, weight) {
  const squares = np.mean(np.square(x.ref), -1, { keepdims: true })
  return np.multiply(np.multiply(x, np.reciprocal(np.sqrt(np.add(squares, 1e-6)))), weight)
}

const attend = (q, k, v) => nn.dotProductAttention(q, k, v, { isCausal: true })

const meanSquare = (a, b) => np.mean(np.square(np.subtract(a, b)))

const attentionInputs = ({ batch, length, heads, size }, seeds) =>
  seeds.map((seed) => array(numbers(batch * length * heads * size, seed), [batch, length, heads, size]))

const builders = {
  matmul({ batch, m, k, n, transposeA, transposeB }) {
    const lead = batch === 1 ? [] : [batch]
    const a = array(numbers(batch * m * k, 1), [...lead, ...(transposeA ? [k, m] : [m, k])])
    const b = array(numbers(batch * k * n, 2), [...lead, ...(transposeB ? [n, k] : [k, n])])
    return stateless([a, b], (x, y) =>
      np.matmul(transposeA ? np.matrixTranspose(x) : x, transposeB ? np.matrixTranspose(y) : y),
    )
  },
  softmax({ rows, columns }) {
    return stateless([array(numbers(rows * columns, 1, 4), [rows, columns])], (x) => nn.softmax(x, -1))
  },
  rmsNorm({ rows, columns }) {
    const x = array(numbers(rows * columns, 1), [rows, columns])
    return stateless([x, array(numbers(columns, 2), [columns])], norm)
  },
  elementwise({ size }) {
    const inputs = [array(numbers(size, 1, 3), [size]), array(numbers(size, 2), [size])]
    return stateless(inputs, (x, z) =>
      np.add(np.multiply(np.maximum(np.add(np.multiply(x.ref, 1.5), 0.5), 0), nn.sigmoid(x)), z),
    )
  },
  attention: (spec) => stateless(attentionInputs(spec, [1, 2, 3]), attend),
  attentionTraining(spec) {
    const scalar = (q, k, v, upstream) => np.sum(np.multiply(attend(q, k, v), upstream))
    return stateless(attentionInputs(spec, [1, 2, 3, 4]), (q, k, v, upstream) =>
      grad(scalar, { argnums: [0, 1, 2] })(q, k, v, upstream),
    )
  },
  mlpTraining({ tokens, width, hidden }) {
    const x = array(numbers(tokens * width, 1), [tokens, width])
    const target = array(numbers(tokens * width, 2), [tokens, width])
    const specs = [
      { name: 'up', shape: [hidden, width], data: numbers(hidden * width, 3, 1 / 16) },
      { name: 'down', shape: [width, hidden], data: numbers(hidden * width, 4, 1 / 32) },
    ]
    return training(specs, [x, target], ({ up, down }, [input, wanted]) =>
      meanSquare(project(nn.relu(project(input, up)), down), wanted),
    )
  },
  blockTraining({ batch, length, width, heads, hidden }) {
    const tokens = batch * length
    const x = array(numbers(tokens * width, 1), [tokens, width])
    const target = array(numbers(tokens * width, 2), [tokens, width])
    const shapes = {
      norm1: [width],
      qkv: [3 * width, width],
      out: [width, width],
      norm2: [width],
      gate: [hidden, width],
      up: [hidden, width],
      down: [width, hidden],
    }
    const specs = Object.entries(shapes).map(([name, shape], index) => ({
      name,
      shape,
      data: numbers(
        shape.reduce((a, b) => a * b, 1),
        3 + index,
        shape.length === 1 ? 1 : 1 / 16,
      ),
    }))
    return training(specs, [x, target], (w, [input, wanted]) => {
      const qkv = project(norm(input.ref, w.norm1), w.qkv)
      const parts = np.split(qkv, 3, 1)
      const [q, k, v] = parts.map((part) => np.reshape(part, [batch, length, heads, width / heads]))
      const mixed = np.reshape(attend(q, k, v), [tokens, width])
      const middle = np.add(input, project(mixed, w.out))
      const normal = norm(middle.ref, w.norm2)
      const inner = np.multiply(nn.silu(project(normal.ref, w.gate)), project(normal, w.up))
      return meanSquare(np.add(middle, project(inner, w.down)), wanted)
    })
  },
}

serve(async () => {
  const available = await init(device)
  if (!available.includes(device)) throw new Error(`jax-js has no device '${device}' here`)
  defaultDevice(device)
  const manifest = new URL('../package.json', import.meta.resolve('@jax-js/jax'))
  const { version } = JSON.parse(readFileSync(manifest, 'utf8'))
  return {
    about: { version, adapter: device === 'webgpu' ? adapter : 'CPU, one thread' },
    build(spec) {
      const builder = builders[spec.kind]
      if (!builder) throw new Unsupported(`not written for this library: ${spec.kind}`)
      return builder(spec)
    },
  }
})
