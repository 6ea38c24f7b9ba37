/**
 * `linearLogProb` at the size of a real head: hidden [T, 2048] × vocabulary 151,936, weights in bf16 (622 MB, more than
 * one binding holds on many adapters) or quantised, forward and backward. Checks one token against f64 on the host, and
 * prints times and memory as one line of JSON. Run as
 * `node log-prob-at-size.mjs <bundle of the package> [tokens = 4] [bf16 | q8 | q4]`.
 */
const [, , bundle, tokenCount = '4', kind = 'bf16'] = process.argv
const { createDevice, grad, linearLogProb, QuantizedWeight, toBfloat16Bits, fromBfloat16 } = await import(bundle)

const [vocabulary, width, tokens, blockRows] = [151_936, 2048, Number(tokenCount), 2048]
const device = await createDevice()

/** Rows of the weight as bf16 bits: a fixed pattern without period, of the size of a trained head. */
function rowsOf(start, end) {
  const values = new Float32Array((end - start) * width)
  let state = (start * 2_654_435_761 + 1) >>> 0
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    values[i] = (state / 2 ** 32 - 0.5) * 0.08
  }
  return toBfloat16Bits(values)
}

const started = performance.now()
const weight =
  kind === 'bf16'
    ? device.buffer([vocabulary, width], 'bf16')
    : QuantizedWeight.create(device, [vocabulary, width], { bits: kind === 'q8' ? 8 : 4 })
for (let start = 0; start < vocabulary; start += blockRows) {
  const end = Math.min(vocabulary, start + blockRows)
  if (kind === 'bf16') device.write(weight.slice(0, start, end), rowsOf(start, end))
  else {
    const block = device.tensor(rowsOf(start, end), [end - start, width], 'bf16')
    weight.writeRows(start, block)
    await device.eval([])
    block.dispose()
  }
  await device.sync()
}
const loaded = performance.now()

const hiddenValues = Float32Array.from({ length: tokens * width }, (_, i) => Math.sin(i * 0.731) * 1.5)
const hidden = device.tensor(hiddenValues, [tokens, width]).detached(true)
const targets = device.tensor(
  Uint32Array.from({ length: tokens }, (_, t) => (t * 50_021 + vocabulary - 1) % vocabulary),
)
device.memory.trim()
device.memory.resetPeak()
const before = device.memory.liveBytes

async function timed(run) {
  const [wall, cpu] = [performance.now(), process.cpuUsage()]
  const result = await run()
  const { user, system } = process.cpuUsage(cpu)
  return { result, wallSeconds: (performance.now() - wall) / 1000, cpuSeconds: (user + system) / 1e6 }
}

const { logProbs, entropies, top1 } = linearLogProb(hidden, weight, targets)
const forward = await timed(() => device.read([logProbs, entropies, top1]))
const forwardPeak = device.memory.peakBytes - before
const [gradient] = grad(logProbs.sum(), [hidden])
const backward = await timed(() => gradient.read())
const extraPeak = device.memory.peakBytes - before

/** The first token in f64, from the weights as they are stored; the gradient's first numbers too. */
async function plain() {
  const logits = new Float64Array(vocabulary)
  const columns = Array.from({ length: 4 }, () => new Float64Array(vocabulary))
  for (let start = 0; start < vocabulary; start += blockRows) {
    const end = Math.min(vocabulary, start + blockRows)
    const rows = kind === 'bf16' ? fromBfloat16(rowsOf(start, end)) : await weight.slice(0, start, end).read()
    for (let row = start; row < end; row++) {
      let sum = 0
      for (let h = 0; h < width; h++) sum += rows[(row - start) * width + h] * hiddenValues[h]
      logits[row] = sum
      columns.forEach((column, h) => (column[row] = rows[(row - start) * width + h]))
    }
  }
  const top = logits.reduce((a, b) => Math.max(a, b))
  const total = logits.reduce((sum, x) => sum + Math.exp(x - top), 0)
  const logP = logits.map((x) => x - top - Math.log(total))
  const target = vocabulary - 1
  return {
    logProb: logP[target],
    entropy: -logP.reduce((sum, p) => sum + Math.exp(p) * p, 0),
    gradient: columns.map((column) => column[target] - column.reduce((sum, w, v) => sum + Math.exp(logP[v]) * w, 0)),
  }
}

const expected = await plain()
const [[logProb], [entropy]] = forward.result
const errors = {
  logProb: Math.abs(logProb - expected.logProb),
  entropy: Math.abs(entropy - expected.entropy),
  gradient: Math.max(...expected.gradient.map((value, h) => Math.abs(value - backward.result[h]))),
}
console.log(
  JSON.stringify({
    adapter: device.info.description,
    kind,
    tokens,
    weightBytes: weight.node.bytes,
    bindingLimit: device.limits.maxStorageBufferBindingSize,
    loadSeconds: (loaded - started) / 1000,
    forward: { wallSeconds: forward.wallSeconds, cpuSeconds: forward.cpuSeconds, peakBytes: forwardPeak },
    backward: { wallSeconds: backward.wallSeconds, cpuSeconds: backward.cpuSeconds },
    peakBytes: extraPeak,
    top1: [...forward.result[2]],
    errors,
  }),
)
device.destroy()
if (errors.logProb > 1e-3 || errors.entropy > 1e-3 || errors.gradient > 1e-4) process.exitCode = 1
