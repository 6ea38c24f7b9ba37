/**
 * Looks for a WebGPU adapter and runs one tiny kernel on it. Run as a child process: a broken driver may crash or hang,
 * and that must not take the caller along. Prints one line of JSON: `{ ok, stage, adapter?, message? }`.
 */
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const fromTensor = createRequire(new URL('../packages/tensor/package.json', import.meta.url))

/** The last stage reached says where it failed. */
let stage = 'binding'
let gpu

async function probe() {
  const { create, globals } = await import(pathToFileURL(fromTensor.resolve('webgpu')).href)
  Object.assign(globalThis, globals)
  gpu = create([])
  stage = 'adapter'
  const adapter = await gpu.requestAdapter()
  if (!adapter) throw new Error('no WebGPU adapter')
  stage = 'device'
  const device = await adapter.requestDevice()
  stage = 'compute'
  const usage = globalThis.GPUBufferUsage
  const storage = device.createBuffer({ size: 4, usage: usage.STORAGE | usage.COPY_SRC })
  const readback = device.createBuffer({ size: 4, usage: usage.MAP_READ | usage.COPY_DST })
  const module = device.createShaderModule({
    code: '@group(0) @binding(0) var<storage, read_write> y: array<u32>; @compute @workgroup_size(1) fn main() { y[0] = 42u; }',
  })
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } })
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: storage } }],
  })
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  pass.setBindGroup(0, group)
  pass.dispatchWorkgroups(1)
  pass.end()
  encoder.copyBufferToBuffer(storage, 0, readback, 0, 4)
  device.queue.submit([encoder.finish()])
  await readback.mapAsync(globalThis.GPUMapMode.READ)
  const value = new Uint32Array(readback.getMappedRange())[0]
  if (value !== 42) throw new Error(`a kernel that writes 42 wrote ${value}`)
  const { vendor, architecture, device: name, description } = adapter.info
  const adapterName = [name, description].filter(Boolean).join(', ') || `${vendor} ${architecture}`
  device.destroy()
  return adapterName
}

const report = (line, code) => process.stdout.write(`${JSON.stringify(line)}\n`, () => process.exit(code))

probe().then(
  (adapter) => report({ ok: true, stage: 'done', adapter }, 0),
  (error) => report({ ok: false, stage, message: error instanceof Error ? error.message : String(error) }, 1),
)
