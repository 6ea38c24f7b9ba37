/**
 * `@revisual/tensor`, and for the last cases `@revisual/model` and its policy. The graph is built anew for every step, as a
 * training loop builds it, so the host's cost is in the time.
 */
import {
  AdamW,
  ParameterSet,
  add,
  attention,
  createDevice,
  grad,
  linear,
  matmul,
  maximum,
  mean,
  mul,
  permute,
  relu,
  reshape,
  rmsNorm,
  sigmoid,
  softmax,
  square,
  sub,
  swiglu,
  transpose,
} from '@revisual/tensor'
import { numbers, pick } from '../lib/data.mjs'
import { Roofline } from './roofline.mjs'
import { buildDecode, buildNano } from './nano.mjs'
import { serve, Unsupported } from './serve.mjs'

/** A case whose step computes tensors from inputs that stay: value on demand, memory given back after every step. */
function stateless(device, inputs, compute) {
  let last = []
  return {
    async step() {
      for (const tensor of last) tensor.dispose()
      last = compute(...inputs)
      await device.eval(last)
    },
    finish: () => device.sync(),
    sample: async () => (await device.read(last)).flatMap((values) => pick(values)),
    dispose() {
      for (const tensor of [...last, ...inputs]) tensor.dispose()
    },
  }
}

/** A case that trains: forward, backward, Adam. `loss(parameter)` builds the graph. */
function training(device, specs, loss, inputs) {
  const parameters = new ParameterSet(
    device,
    specs.map(({ name, shape }) => ({ name, shape })),
  )
  for (const { name, data } of specs) parameters.write(name, data)
  const optimizer = new AdamW(parameters)
  let value = null
  return {
    async step() {
      value?.dispose()
      parameters.zeroGrad()
      value = loss((name) => parameters.get(name))
      const gradients = grad(
        value,
        parameters.names.map((name) => parameters.get(name)),
      )
      parameters.names.forEach((name, index) => parameters.accumulate(name, gradients[index]))
      optimizer.update({ learningRate: 1e-3 })
      await device.eval([value])
    },
    finish: () => device.sync(),
    sample: async () => [await value.item()],
    dispose() {
      value?.dispose()
      parameters.dispose()
      for (const tensor of inputs) tensor.dispose()
    },
  }
}

const builders = {
  matmul(device, { batch, m, k, n, transposeA, transposeB }) {
    const lead = batch === 1 ? [] : [batch]
    const a = device.tensor(numbers(batch * m * k, 1), [...lead, ...(transposeA ? [k, m] : [m, k])])
    const b = device.tensor(numbers(batch * k * n, 2), [...lead, ...(transposeB ? [n, k] : [k, n])])
    return stateless(device, [a, b], () => [matmul(transposeA ? transpose(a) : a, transposeB ? transpose(b) : b)])
  },
  softmax(device, { rows, columns }) {
    const x = device.tensor(numbers(rows * columns, 1, 4), [rows, columns])
    return stateless(device, [x], () => [softmax(x)])
  },
  rmsNorm(device, { rows, columns }) {
    const x = device.tensor(numbers(rows * columns, 1), [rows, columns])
    const weight = device.tensor(numbers(columns, 2), [columns])
    return stateless(device, [x, weight], () => [rmsNorm(x, weight, 1e-6)])
  },
  /** max(1.5·x + 0.5, 0) · sigmoid(x) + z */
  elementwise(device, { size }) {
    const x = device.tensor(numbers(size, 1, 3), [size])
    const z = device.tensor(numbers(size, 2), [size])
    return stateless(device, [x, z], () => [add(mul(maximum(add(mul(x, 1.5), 0.5), 0), sigmoid(x)), z)])
  },
  attention(device, spec) {
    const inputs = attentionInputs(device, spec)
    return stateless(device, inputs, (q, k, v) => [attend(q, k, v)])
  },
  attentionTraining(device, spec) {
    const { batch, length, heads, size } = spec
    const inputs = attentionInputs(device, spec)
    const upstream = device.tensor(numbers(batch * length * heads * size, 4), [batch, length, heads, size])
    return stateless(device, [...inputs, upstream], (...given) => {
      const operands = given.slice(0, 3).map((tensor) => tensor.detached(true))
      const output = attend(...operands)
      return grad([output], operands, { gradOutputs: [upstream] })
    })
  },
  mlpTraining(device, { tokens, width, hidden }) {
    const x = device.tensor(numbers(tokens * width, 1), [tokens, width])
    const target = device.tensor(numbers(tokens * width, 2), [tokens, width])
    const specs = [
      { name: 'up', shape: [hidden, width], data: numbers(hidden * width, 3, 1 / 16) },
      { name: 'down', shape: [width, hidden], data: numbers(hidden * width, 4, 1 / 32) },
    ]
    const loss = (get) => mean(square(sub(linear(relu(linear(x, get('up'))), get('down')), target)))
    return training(device, specs, loss, [x, target])
  },
  blockTraining(device, { batch, length, width, heads, hidden }) {
    const x = device.tensor(numbers(batch * length * width, 1), [batch, length, width])
    const target = device.tensor(numbers(batch * length * width, 2), [batch, length, width])
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
    const loss = (get) => {
      const qkv = reshape(linear(rmsNorm(x, get('norm1'), 1e-6), get('qkv')), [batch, length, 3, heads, width / heads])
      const [q, k, v] = [0, 1, 2].map((index) => permute(qkv, [2, 0, 3, 1, 4]).slice(0, index, index + 1))
      const head = (tensor) => reshape(tensor, [batch, heads, length, width / heads])
      const mixed = permute(attention(head(q), head(k), head(v), { causal: true }), [0, 2, 1, 3])
      const middle = add(x, linear(reshape(mixed, [batch, length, width]), get('out')))
      const normal = rmsNorm(middle, get('norm2'), 1e-6)
      const output = add(middle, linear(swiglu(linear(normal, get('gate')), linear(normal, get('up'))), get('down')))
      return mean(square(sub(output, target)))
    }
    return training(device, specs, loss, [x, target])
  },
  nanoTraining: buildNano,
  decode: buildDecode,
}

/** Queries, keys, values as [B, T, H, D], the order a projection leaves them in. */
function attentionInputs(device, { batch, length, heads, size }) {
  const shape = [batch, length, heads, size]
  return [1, 2, 3].map((seed) => device.tensor(numbers(batch * length * heads * size, seed), shape))
}

function attend(q, k, v) {
  const head = (tensor) => permute(tensor, [0, 2, 1, 3])
  return permute(attention(head(q), head(k), head(v), { causal: true }), [0, 2, 1, 3])
}

serve(async () => {
  const device = await createDevice()
  const roofline = new Roofline(device.gpu, device.info.isSoftware)
  const { description, vendor, architecture, device: model } = device.info
  return {
    about: {
      version: 'this repository',
      adapter: description || model,
      vendor,
      architecture,
    },
    roofline: () => roofline.measure(),
    build(spec) {
      const builder = builders[spec.kind]
      if (!builder) throw new Unsupported(`no case of kind '${spec.kind}'`)
      return builder(device, spec)
    },
  }
})
