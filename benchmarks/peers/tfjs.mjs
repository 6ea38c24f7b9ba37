/**
 * TensorFlow.js on its WebGPU backend. Operands are laid out beforehand as its operations want them; intermediate tensors
 * are disposed by `tidy`, as its documentation says to.
 */
import { createRequire } from 'node:module'
import { numbers, pick } from '../lib/data.mjs'
import { serve, Unsupported } from './serve.mjs'
import { installWebGpu } from './webgpu.mjs'

// The backend registers itself with the CommonJS build of the core; the ES module would be a second core without it.
const require = createRequire(import.meta.url)
const { adapter } = await installWebGpu()
const tf = require('@tensorflow/tfjs')
require('@tensorflow/tfjs-backend-webgpu')

async function finish() {
  const backend = tf.backend()
  backend.endComputePassEncoder()
  if (backend.commandEncoder) backend.submitQueue()
  await backend.queue.onSubmittedWorkDone()
}

function stateless(inputs, compute, forSample = (tensor) => tensor) {
  let last = []
  return {
    step() {
      tf.dispose(last)
      last = [tf.tidy(() => compute(...inputs))].flat()
    },
    finish,
    async sample() {
      const picked = []
      for (const tensor of last) picked.push(...pick(await tf.tidy(() => forSample(tensor)).data()))
      return picked
    },
    dispose: () => tf.dispose([...last, ...inputs]),
  }
}

function training(specs, inputs, loss) {
  const variables = Object.fromEntries(
    specs.map(({ name, shape, data }) => [name, tf.variable(tf.tensor(data, shape), true)]),
  )
  const optimizer = tf.train.adam(1e-3, 0.9, 0.999, 1e-8)
  const list = Object.values(variables)
  let value = null
  return {
    step() {
      value?.dispose()
      value = optimizer.minimize(() => loss(variables), true, list)
    },
    finish,
    sample: async () => pick(await value.data()),
    dispose() {
      value?.dispose()
      optimizer.dispose()
      tf.dispose([...list, ...inputs])
    },
  }
}

function causalMask(length) {
  const mask = new Float32Array(length * length)
  for (let i = 0; i < length; i++) for (let j = i + 1; j < length; j++) mask[i * length + j] = -1e9
  return tf.tensor(mask, [length, length])
}

const heads = ({ batch, length, heads: count, size }, seed) =>
  tf.tidy(() =>
    tf.transpose(tf.tensor(numbers(batch * length * count * size, seed), [batch, length, count, size]), [0, 2, 1, 3]),
  )

const attend = (q, k, v, mask, size) =>
  tf.matMul(tf.softmax(tf.add(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(size)), mask)), v)

const norm = (x, weight) => tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), 1e-6))), weight)

const builders = {
  matmul({ batch, m, k, n, transposeA, transposeB }) {
    const lead = batch === 1 ? [] : [batch]
    const a = tf.tensor(numbers(batch * m * k, 1), [...lead, ...(transposeA ? [k, m] : [m, k])])
    const b = tf.tensor(numbers(batch * k * n, 2), [...lead, ...(transposeB ? [n, k] : [k, n])])
    return stateless([a, b], () => tf.matMul(a, b, transposeA, transposeB))
  },
  softmax({ rows, columns }) {
    return stateless([tf.tensor(numbers(rows * columns, 1, 4), [rows, columns])], (x) => tf.softmax(x))
  },
  rmsNorm({ rows, columns }) {
    const x = tf.tensor(numbers(rows * columns, 1), [rows, columns])
    return stateless([x, tf.tensor(numbers(columns, 2), [columns])], norm)
  },
  elementwise({ size }) {
    const inputs = [tf.tensor(numbers(size, 1, 3), [size]), tf.tensor(numbers(size, 2), [size])]
    return stateless(inputs, (x, z) => tf.add(tf.mul(tf.maximum(tf.add(tf.mul(x, 1.5), 0.5), 0), tf.sigmoid(x)), z))
  },
  attention(spec) {
    const inputs = [...[1, 2, 3].map((seed) => heads(spec, seed)), causalMask(spec.length)]
    const compute = (q, k, v, mask) => attend(q, k, v, mask, spec.size)
    return stateless(inputs, compute, (tensor) => tf.transpose(tensor, [0, 2, 1, 3]))
  },
  attentionTraining(spec) {
    const inputs = [...[1, 2, 3, 4].map((seed) => heads(spec, seed)), causalMask(spec.length)]
    const compute = (q, k, v, upstream, mask) =>
      tf.grads((a, b, c) => attend(a, b, c, mask, spec.size))([q, k, v], upstream)
    return stateless(inputs, compute, (tensor) => tf.transpose(tensor, [0, 2, 1, 3]))
  },
  mlpTraining({ tokens, width, hidden }) {
    const x = tf.tensor(numbers(tokens * width, 1), [tokens, width])
    const target = tf.tensor(numbers(tokens * width, 2), [tokens, width])
    const specs = [
      { name: 'up', shape: [hidden, width], data: numbers(hidden * width, 3, 1 / 16) },
      { name: 'down', shape: [width, hidden], data: numbers(hidden * width, 4, 1 / 32) },
    ]
    return training(specs, [x, target], ({ up, down }) =>
      tf.mean(tf.square(tf.sub(tf.matMul(tf.relu(tf.matMul(x, up, false, true)), down, false, true), target))),
    )
  },
  blockTraining({ batch, length, width, heads: count, hidden }) {
    const tokens = batch * length
    const x = tf.tensor(numbers(tokens * width, 1), [tokens, width])
    const target = tf.tensor(numbers(tokens * width, 2), [tokens, width])
    const mask = causalMask(length)
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
    const size = width / count
    const project = (value, weight) => tf.matMul(value, weight, false, true)
    return training(specs, [x, target, mask], (w) => {
      const parts = tf.split(project(norm(x, w.norm1), w.qkv), 3, 1)
      const [q, k, v] = parts.map((part) => tf.transpose(tf.reshape(part, [batch, length, count, size]), [0, 2, 1, 3]))
      const mixed = tf.reshape(tf.transpose(attend(q, k, v, mask, size), [0, 2, 1, 3]), [tokens, width])
      const middle = tf.add(x, project(mixed, w.out))
      const normal = norm(middle, w.norm2)
      const gate = project(normal, w.gate)
      const inner = tf.mul(tf.mul(gate, tf.sigmoid(gate)), project(normal, w.up))
      return tf.mean(tf.square(tf.sub(tf.add(middle, project(inner, w.down)), target)))
    })
  },
}

serve(async () => {
  if (!(await tf.setBackend('webgpu'))) throw new Error('tfjs refused its webgpu backend')
  return {
    about: { version: tf.version.tfjs, adapter },
    build(spec) {
      const builder = builders[spec.kind]
      if (!builder) throw new Unsupported(`not written for this library: ${spec.kind}`)
      return builder(spec)
    },
  }
})
