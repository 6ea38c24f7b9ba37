/** Fits sin(3t) + t / 2 with a small network whose activation is the kernel of `snake.js`. Run: `node fit.js`. */
import { AdamW, createDevice, grad, linear, ParameterSet } from '@revisual/tensor'
import { snake } from './snake.js'

const HIDDEN = 32
const shapes = { w1: [HIDDEN, 1], b1: [HIDDEN], alpha: [HIDDEN], w2: [1, HIDDEN] }

/** @returns the loss of every step. */
export async function fit(device, steps) {
  const names = Object.keys(shapes)
  const parameters = new ParameterSet(
    device,
    names.map((name) => ({ name, shape: shapes[name] })),
  )
  for (const name of names) {
    const size = shapes[name].reduce((a, b) => a * b, 1)
    const start = (_, i) => (name === 'alpha' ? 1 + (i % 4) : Math.sin(i * 12.9898) * 0.6)
    parameters.write(name, Float32Array.from({ length: size }, start))
  }
  const times = Float32Array.from({ length: 64 }, (_, i) => (i / 63) * 6 - 3)
  const t = device.tensor(times, [64, 1])
  const target = device.tensor(
    times.map((time) => Math.sin(3 * time) + time / 2),
    [64, 1],
  )
  const optimizer = new AdamW(parameters)
  const get = (name) => parameters.get(name)
  const losses = []
  for (let step = 0; step < steps; step++) {
    const scope = device.scope()
    const hidden = snake(linear(t, get('w1'), get('b1')), get('alpha'))
    const loss = linear(hidden, get('w2')).sub(target).square().mean()
    const update = optimizer.arriving({ learningRate: 0.02 })
    grad(loss, names.map(get), { onGradient: (index, gradient) => update(names[index], gradient) })
    losses.push(await loss.item())
    // `using scope = device.scope()` where the language has it.
    scope[Symbol.dispose]()
  }
  return losses
}

if (process.argv[1] === import.meta.filename) {
  const device = await createDevice()
  const losses = await fit(device, 300)
  for (let step = 0; step < losses.length; step += 50) console.log(`step ${step}: loss ${losses[step].toFixed(4)}`)
  console.log(`end: loss ${losses.at(-1).toFixed(4)}`)
  device.destroy()
}
