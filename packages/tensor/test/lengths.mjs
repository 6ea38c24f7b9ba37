/**
 * Trains a small causal transformer on sequences of ever other lengths and watches memory: what is in use, what is kept for
 * reuse, kernels compiled, the heap and the process. `npm run soak -- --steps 1000` (after a build); `--bundle FILE` tries
 * another build of the package. Fails when anything grows after the first fifth of the steps.
 */
import { parseArgs } from 'node:util'
import { pathToFileURL } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '1000' },
    bundle: { type: 'string', default: new URL('../dist/index.js', import.meta.url).pathname },
  },
})
const steps = Number(values.steps)
const core = await import(pathToFileURL(values.bundle).href)
const { AdamW, createDevice, embedding, flashAttention, grad, linear, linearLogProb, ParameterSet, rmsNorm, swiglu } =
  core

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')

const [vocabulary, width, heads, longest] = [96, 64, 4, 160]
const device = await createDevice()
const layers = [0, 1]
const specs = [
  { name: 'embed', shape: [vocabulary, width] },
  ...layers.flatMap((layer) => [
    { name: `${layer}.norm`, shape: [width] },
    { name: `${layer}.qkv`, shape: [3 * width, width] },
    { name: `${layer}.out`, shape: [width, width] },
    { name: `${layer}.up`, shape: [4 * width, width] },
    { name: `${layer}.down`, shape: [width, 2 * width] },
  ]),
]
const parameters = new ParameterSet(device, specs)
for (const { name, shape } of specs) {
  const size = shape.reduce((a, b) => a * b, 1)
  const value = (i) => (shape.length === 1 ? 1 : Math.sin(i * 1.7 + size) * 0.1)
  parameters.write(
    name,
    Float32Array.from({ length: size }, (_, i) => value(i)),
  )
}
const optimizer = new AdamW(parameters)
const names = parameters.names

let state = 1
/** An integer below `limit`, the same in every run. */
function below(limit) {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
  return Math.floor((state / 2 ** 32) * limit)
}

function forward(ids, sequences) {
  let x = embedding(parameters.get('embed'), ids)
  for (const layer of layers) {
    const weight = (name) => parameters.get(`${layer}.${name}`)
    const projected = linear(rmsNorm(x, weight('norm'), 1e-6), weight('qkv')).reshape([-1, 3, heads, width / heads])
    const [q, k, v] = [0, 1, 2].map((part) => projected.slice(1, part, part + 1).squeeze(1))
    const mixed = flashAttention(q, k, v, { sequences, causal: true })
    x = x.add(linear(mixed.reshape([-1, width]), weight('out')))
    const up = linear(x, weight('up'))
    x = x.add(linear(swiglu(up.slice(1, 0, 2 * width), up.slice(1, 2 * width, 4 * width)), weight('down')))
  }
  return x
}

async function step() {
  const scope = device.scope()
  try {
    return await update()
  } finally {
    scope[Symbol.dispose]()
  }
}

/** One update on one to four sequences of lengths nobody has seen before; the next id is the last plus one. */
async function update() {
  const lengths = Array.from({ length: 1 + below(4) }, () => 2 + below(longest))
  const ids = lengths.flatMap((length) => {
    const first = below(vocabulary)
    return Array.from({ length }, (_, i) => (first + i) % vocabulary)
  })
  let start = 0
  const sequences = lengths.map((length) => {
    const rows = { start, length }
    start += length
    return { queries: rows, keys: rows }
  })
  const targets = ids.map((id) => (id + 1) % vocabulary)
  const hidden = forward(device.tensor(Uint32Array.from(ids)), sequences)
  const { logProbs } = linearLogProb(hidden, parameters.get('embed'), device.tensor(Uint32Array.from(targets)))
  const loss = logProbs.mean().neg()
  parameters.zeroGrad()
  grad(
    loss,
    names.map((name) => parameters.get(name)),
  ).forEach((gradient, i) => parameters.accumulate(names[i], gradient))
  optimizer.update({ learningRate: 3e-3 })
  return await loss.item()
}

function sample() {
  collect()
  const { liveBytes, allocatedBytes } = device.memory
  const { rss, heapUsed } = process.memoryUsage()
  return { liveBytes, allocatedBytes, pipelines: device.pipelineCount, heap: heapUsed, rss }
}

const samples = []
let [first, last] = [NaN, NaN]
for (let n = 1; n <= steps; n++) {
  last = await step()
  if (n === 1) first = last
  if (n % Math.ceil(steps / 10) === 0) {
    samples.push({ step: n, ...sample() })
    console.log(JSON.stringify(samples.at(-1)))
  }
}
const settled = samples[Math.min(1, samples.length - 1)]
const end = samples.at(-1)
const MIB = 2 ** 20
const grown = [
  end.liveBytes !== settled.liveBytes && 'memory in use',
  end.allocatedBytes > settled.allocatedBytes * 1.25 && 'memory kept for reuse',
  end.pipelines > settled.pipelines + 2 && 'compiled kernels',
  end.heap > settled.heap + 32 * MIB && 'the heap',
  end.rss > settled.rss + 96 * MIB && 'the process',
  !(last < first / 2) && 'the loss',
].filter(Boolean)
console.log(JSON.stringify({ steps, firstLoss: first, lastLoss: last, grown }))
if (grown.length > 0) process.exitCode = 1
