/**
 * ONNX Runtime for Node on one execution provider (first argument: `webgpu` or `cpu`), on models made here. Its Node binding
 * takes operands from host memory and gives results back there: both copies are in its times, weights (the second operand
 * of a product) are in the model and copied once. The runtime has no training any more.
 */
import { createRequire } from 'node:module'
import ort from 'onnxruntime-node'
import { numbers, pick } from '../lib/data.mjs'
import { onnxModel } from '../lib/onnx.mjs'
import { serve, Unsupported } from './serve.mjs'

const provider = process.argv[2]

async function session(model, feeds, forSample = (values) => values) {
  const created = await ort.InferenceSession.create(onnxModel(model), {
    executionProviders: [provider],
    logSeverityLevel: 3,
  })
  const tensors = Object.fromEntries(
    Object.entries(feeds).map(([name, data]) => [name, new ort.Tensor('float32', data, model.inputs[name])]),
  )
  let last = {}
  return {
    async step() {
      last = await created.run(tensors)
    },
    finish: async () => {},
    sample: async () => Object.values(last).flatMap((tensor) => pick(forSample(tensor.data))),
    dispose: () => void created.release(),
  }
}

const scalar = (value) => ({ shape: [], values: Float32Array.of(value) })

const builders = {
  matmul({ batch, m, k, n, transposeA, transposeB }) {
    const lead = batch === 1 ? [] : [batch]
    const aShape = [...lead, ...(transposeA ? [k, m] : [m, k])]
    const bShape = [...lead, ...(transposeB ? [n, k] : [k, n])]
    const transposed = transposeA || transposeB
    return session(
      {
        nodes: [
          {
            op: transposed ? 'Gemm' : 'MatMul',
            inputs: ['a', 'b'],
            outputs: ['y'],
            attributes: transposed ? { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0 } : {},
          },
        ],
        inputs: { a: aShape },
        outputs: { y: [...lead, m, n] },
        constants: { b: { shape: bShape, values: numbers(batch * k * n, 2) } },
      },
      { a: numbers(batch * m * k, 1) },
    )
  },
  softmax({ rows, columns }) {
    const shape = [rows, columns]
    return session(
      {
        nodes: [{ op: 'Softmax', inputs: ['x'], outputs: ['y'], attributes: { axis: 1 } }],
        inputs: { x: shape },
        outputs: { y: shape },
      },
      { x: numbers(rows * columns, 1, 4) },
    )
  },
  rmsNorm({ rows, columns }) {
    const shape = [rows, columns]
    const attributes = { axis: -1, epsilon: { float: 1e-6 } }
    return session(
      {
        nodes: [{ op: 'SimplifiedLayerNormalization', inputs: ['x', 'weight'], outputs: ['y'], attributes }],
        inputs: { x: shape },
        outputs: { y: shape },
        constants: { weight: { shape: [columns], values: numbers(columns, 2) } },
      },
      { x: numbers(rows * columns, 1) },
    )
  },
  elementwise({ size }) {
    return session(
      {
        nodes: [
          { op: 'Mul', inputs: ['x', 'slope'], outputs: ['scaled'] },
          { op: 'Add', inputs: ['scaled', 'shift'], outputs: ['shifted'] },
          { op: 'Relu', inputs: ['shifted'], outputs: ['positive'] },
          { op: 'Sigmoid', inputs: ['x'], outputs: ['gate'] },
          { op: 'Mul', inputs: ['positive', 'gate'], outputs: ['product'] },
          { op: 'Add', inputs: ['product', 'z'], outputs: ['y'] },
        ],
        inputs: { x: [size] },
        outputs: { y: [size] },
        constants: { slope: scalar(1.5), shift: scalar(0.5), z: { shape: [size], values: numbers(size, 2) } },
      },
      { x: numbers(size, 1, 3) },
    )
  },
  attention({ batch, length, heads, size }) {
    const shape = [batch, length, heads * size]
    const count = batch * length * heads * size
    return session(
      {
        nodes: [
          {
            op: 'MultiHeadAttention',
            domain: 'com.microsoft',
            inputs: ['q', 'k', 'v'],
            outputs: ['y'],
            attributes: { num_heads: heads, unidirectional: 1 },
          },
        ],
        inputs: { q: shape, k: shape, v: shape },
        outputs: { y: shape },
      },
      { q: numbers(count, 1), k: numbers(count, 2), v: numbers(count, 3) },
    )
  },
}

serve(async () => {
  const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json')
  const supported = ort.listSupportedBackends?.().map(({ name }) => name) ?? []
  if (!supported.includes(provider))
    throw new Error(`this build has no '${provider}' provider (${supported.join(', ')})`)
  return {
    about: { version, adapter: provider === 'cpu' ? 'CPU' : 'the preferred adapter of its own Dawn' },
    build(spec) {
      const builder = builders[spec.kind]
      if (!builder) throw new Unsupported('ONNX Runtime removed training from its JavaScript packages')
      return builder(spec)
    },
  }
})
