import { expect, test } from 'vitest'
import { AdamW, createDevice, grad, linear, mean, ParameterSet, relu, rmsNorm, square, sub } from '../src/index.js'
import { randomArray, upload } from '../src/testing/index.js'

test('a training step that is like the last one makes no bind groups and no pipelines', async () => {
  const device = await createDevice()
  try {
    const create = device.gpu.createBindGroup.bind(device.gpu)
    let made = 0
    device.gpu.createBindGroup = (descriptor) => {
      made++
      return create(descriptor)
    }
    const specs = [
      { name: 'scale', shape: [32] },
      { name: 'up', shape: [64, 32] },
      { name: 'down', shape: [32, 64] },
    ]
    const parameters = new ParameterSet(device, specs)
    specs.forEach(({ name, shape }, index) => {
      parameters.write(name, Float32Array.from(randomArray(shape, index).data))
    })
    const optimizer = new AdamW(parameters)
    const target = upload(device, randomArray([20, 32], 9))
    const step = async (index: number) => {
      const x = upload(device, randomArray([20, 32], 100 + index))
      const hidden = relu(linear(rmsNorm(x, parameters.get('scale'), 1e-5), parameters.get('up')))
      const loss = mean(square(sub(linear(hidden, parameters.get('down')), target)))
      parameters.zeroGrad()
      const gradients = grad(
        loss,
        parameters.names.map((name) => parameters.get(name)),
      )
      parameters.names.forEach((name, at) => {
        const gradient = gradients[at]
        if (gradient) parameters.accumulate(name, gradient)
      })
      optimizer.update({ learningRate: 1e-2 / (index + 1) })
      // What is kept from step to step is freed in another order than it was made.
      const losses = await device.read([loss])
      for (const tensor of index % 2 === 0 ? [x, loss] : [loss, x]) tensor.dispose()
      return losses[0]?.[0] ?? NaN
    }
    const losses: number[] = []
    for (let index = 0; index < 3; index++) losses.push(await step(index))
    const [groups, pipelines] = [made, device.pipelineCount]
    expect(groups).toBeGreaterThan(0)
    for (let index = 3; index < 7; index++) losses.push(await step(index))
    expect(made).toBe(groups)
    expect(device.pipelineCount).toBe(pipelines)
    expect(new Set(losses).size).toBe(losses.length)
  } finally {
    device.destroy()
  }
})
