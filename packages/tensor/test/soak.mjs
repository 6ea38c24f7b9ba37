/**
 * Trains a small network for a while with forced garbage collections, then ends without destroying the device: run as
 * `node --expose-gc soak.mjs <bundle of the package> <seconds> <steps>`. Whatever V8 may collect under the GPU's feet is
 * collected here. Prints one line of JSON with what memory did.
 */
const [, , bundle, seconds, leastSteps] = process.argv
const { AdamW, createDevice, gelu, grad, linear, ParameterSet } = await import(bundle)

const device = await createDevice()
const parameters = new ParameterSet(device, [
  { name: 'w1', shape: [32, 16] },
  { name: 'b1', shape: [32] },
  { name: 'w2', shape: [4, 32] },
])
for (const name of ['w1', 'w2']) {
  const size = parameters.shape(name).reduce((a, b) => a * b, 1)
  parameters.write(
    name,
    Float32Array.from({ length: size }, (_, i) => Math.sin(i * 1.7) * 0.3),
  )
}
const optimizer = new AdamW(parameters)
const names = parameters.trainable

async function step(n) {
  const scope = device.scope()
  try {
    return await train(n)
  } finally {
    scope[Symbol.dispose]()
  }
}

async function train(n) {
  // Batches of changing size: pools keyed by exact sizes grow here, and pipelines keyed by shapes are compiled again.
  const rows = 8 + (n % 5) * 4
  const inputs = Float32Array.from({ length: rows * 16 }, (_, i) => Math.cos(i * 0.7 + n))
  const x = device.tensor(inputs, [rows, 16])
  const target = x.slice(1, 0, 4).mul(0.5)
  const hidden = gelu(linear(x, parameters.get('w1'), parameters.get('b1')))
  const loss = linear(hidden, parameters.get('w2')).sub(target).square().mean()
  parameters.zeroGrad()
  grad(
    loss,
    names.map((name) => parameters.get(name)),
  ).forEach((gradient, i) => parameters.accumulate(names[i], gradient))
  optimizer.update({ learningRate: 1e-2 })
  const [value] = await device.read([loss])
  return value[0]
}

function sample() {
  globalThis.gc()
  const { liveBytes, allocatedBytes } = device.memory
  return { liveBytes, allocatedBytes, pipelines: device.pipelineCount, rss: process.memoryUsage().rss }
}

const end = Date.now() + Number(seconds) * 1000
const first = await step(0)
let before
let last = first
let n = 1
for (; n <= Number(leastSteps) || Date.now() < end; n++) {
  last = await step(n)
  globalThis.gc()
  if (n === 100) before = sample()
}
console.log(JSON.stringify({ steps: n, first, last, before, after: sample() }))
