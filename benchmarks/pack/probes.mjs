/**
 * Questions to a GPU, one a process: `node probes.mjs NAME [ARGUMENT]` prints one line of JSON. Which Dawn toggles are on is
 * part of the question, and belongs to the process.
 */
import { execFileSync } from 'node:child_process'
import { create, globals } from 'webgpu'
import { matrixUnitCode, tiledCode } from './products.mjs'

Object.assign(globalThis, globals)
/** Held for the life of the process: Dawn dies with its instance. */
const held = []

async function open(toggles, wanted) {
  const gpu = create(toggles.length > 0 ? [`enable-dawn-features=${toggles.join(',')}`] : [])
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter) throw new Error('no WebGPU adapter: is a Vulkan driver and loader installed?')
  const { maxStorageBufferBindingSize, maxBufferSize, maxComputeWorkgroupStorageSize } = adapter.limits
  const device = await adapter.requestDevice({
    requiredFeatures: wanted.filter((name) => adapter.features.has(name)),
    requiredLimits: { maxStorageBufferBindingSize, maxBufferSize, maxComputeWorkgroupStorageSize },
  })
  held.push(gpu, adapter, device)
  return { adapter, device }
}

const numbersOf = (limits) => {
  const names = new Set()
  for (const name in limits) if (typeof limits[name] === 'number') names.add(name)
  return Object.fromEntries([...names].sort().map((name) => [name, limits[name]]))
}

async function describe(toggles) {
  try {
    const { adapter } = await open(toggles, [])
    const { vendor, architecture, device, description, subgroupMinSize, subgroupMaxSize } = adapter.info
    return {
      vendor,
      architecture,
      device,
      description,
      subgroupMinSize,
      subgroupMaxSize,
      features: [...adapter.features].sort(),
      // Plain copies: what the binding returns are objects with getters.
      matrixUnits: [...(adapter.info.subgroupMatrixConfigs ?? [])].map(
        ({ componentType, resultComponentType, M, N, K }) => ({ componentType, resultComponentType, M, N, K }),
      ),
      limits: numbersOf(adapter.limits),
    }
  } catch (error) {
    return { error: error.message }
  }
}

const buffer = (device, bytes, usage = GPUBufferUsage.STORAGE) =>
  device.createBuffer({
    size: Math.ceil(bytes / 16) * 16,
    usage: usage | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
  })

async function pipelineOf(device, code) {
  device.pushErrorScope('validation')
  const module = device.createShaderModule({ code })
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } })
  const error = await device.popErrorScope()
  if (error) throw new Error(error.message.split('\n')[0])
  return pipeline
}

/** Least milliseconds of one of several runs of a dispatch. */
async function least(device, pipeline, buffers, workgroups, runs = 5) {
  const entries = buffers.map((item, binding) => ({ binding, resource: { buffer: item } }))
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries })
  let best = Infinity
  for (let run = 0; run <= runs; run++) {
    const start = performance.now()
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, group)
    pass.dispatchWorkgroups(...workgroups)
    pass.end()
    device.queue.submit([encoder.finish()])
    await device.queue.onSubmittedWorkDone()
    if (run > 0) best = Math.min(best, performance.now() - start)
  }
  return best
}

/** TFLOP/s of a square product, or why there is none. Operands are zeros: what counts is the time. */
async function product(device, size, element, code, tile) {
  const bytes = element === 'f16' ? 2 : 4
  const buffers = []
  try {
    const pipeline = await pipelineOf(device, code)
    const uniform = buffer(device, 16, GPUBufferUsage.UNIFORM)
    buffers.push(uniform, ...[bytes, bytes, 4].map((each) => buffer(device, each * size * size)))
    device.queue.writeBuffer(uniform, 0, Uint32Array.of(size, size, size, 0))
    const time = await least(device, pipeline, buffers, [size / tile, size / tile, 1], 3)
    return { milliseconds: time, tflops: (2 * size ** 3) / (time * 1e9) }
  } catch (error) {
    return { error: error.message }
  } finally {
    for (const item of buffers) item.destroy()
  }
}

const UNSAFE = ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia']
const PRODUCT_FEATURES = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix']

/** Sizes that take less than some ten seconds each, judged by the one before. */
async function upToSlow(measure) {
  const results = {}
  for (const size of [512, 1024, 2048, 4096, 8192]) {
    results[size] = await measure(size)
    if (results[size].error !== undefined || results[size].milliseconds > 700) break
  }
  return results
}

async function products() {
  const { adapter, device } = await open(UNSAFE, PRODUCT_FEATURES)
  const results = { f32: await upToSlow((size) => product(device, size, 'f32', tiledCode('f32'), 64)) }
  results.f16 = device.features.has('shader-f16')
    ? await upToSlow((size) => product(device, size, 'f16', tiledCode('f16'), 64))
    : { error: 'the adapter has no shader-f16, even with vulkan_enable_f16_on_nvidia' }
  const units = device.features.has('chromium-experimental-subgroup-matrix')
    ? [...(adapter.info.subgroupMatrixConfigs ?? [])].filter(({ componentType, resultComponentType }) =>
        componentType === 'f16' || componentType === 'f32' ? resultComponentType === 'f32' : false,
      )
    : []
  results.matrixUnits = units.length === 0 ? { error: 'no subgroup matrices of floats that sum in f32' } : {}
  const lanes = adapter.info.subgroupMaxSize ?? 32
  for (const { componentType, M, N, K } of units) {
    results.matrixUnits[`${componentType} ${M}×${N}×${K}`] = await upToSlow((size) =>
      product(device, size, componentType, matrixUnitCode({ componentType, M, N, K, lanes }), 64),
    )
  }
  return results
}

/** The same product with and without the checks Dawn adds to every access. */
async function unchecked() {
  const size = 1024
  const { device } = await open([...UNSAFE, 'disable_robustness'], ['shader-f16'])
  const without = await product(device, size, 'f32', tiledCode('f32'), 64)
  const plain = await open([], [])
  const checked = await product(plain.device, size, 'f32', tiledCode('f32'), 64)
  return { size, checked, unchecked: without }
}

async function costs() {
  const { device } = await open([], [])
  const code =
    '@group(0) @binding(0) var<storage, read_write> x: array<u32>; @compute @workgroup_size(1) fn main() { x[0] += 1u; }'
  const pipeline = await pipelineOf(device, code)
  const x = buffer(device, 16)
  const group = () =>
    device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: x } }],
    })
  const COUNT = 2000
  const perDispatch = async (passes, fresh) => {
    const cached = group()
    const start = performance.now()
    for (let at = 0; at < COUNT; at += COUNT / passes) {
      const encoder = device.createCommandEncoder()
      const pass = encoder.beginComputePass()
      pass.setPipeline(pipeline)
      for (let index = 0; index < COUNT / passes; index++) {
        pass.setBindGroup(0, fresh ? group() : cached)
        pass.dispatchWorkgroups(1)
      }
      pass.end()
      device.queue.submit([encoder.finish()])
    }
    await device.queue.onSubmittedWorkDone()
    return ((performance.now() - start) * 1000) / COUNT
  }
  await perDispatch(1, false)
  const readback = async (bytes) => {
    const source = buffer(device, bytes)
    const times = []
    for (let run = 0; run < 20; run++) {
      const staging = device.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
      const start = performance.now()
      const encoder = device.createCommandEncoder()
      encoder.copyBufferToBuffer(source, 0, staging, 0, bytes)
      device.queue.submit([encoder.finish()])
      await staging.mapAsync(GPUMapMode.READ)
      staging.getMappedRange()
      times.push(performance.now() - start)
      staging.destroy()
    }
    source.destroy()
    return times.sort((a, b) => a - b)[10]
  }
  return {
    microsecondsPerDispatch: {
      onePass: await perDispatch(1, false),
      newBindGroups: await perDispatch(1, true),
      submitEach: await perDispatch(COUNT, false),
    },
    millisecondsToRead: {
      256: await readback(256),
      1048576: await readback(1 << 20),
      16777216: await readback(1 << 24),
    },
  }
}

/** Megabytes of GPU memory in use, where nvidia-smi can tell. */
function gpuMemory() {
  try {
    const query = ['--query-gpu=memory.used', '--format=csv,noheader,nounits']
    const text = execFileSync('nvidia-smi', query, {
      encoding: 'utf8',
      timeout: 20_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return Number(text.split('\n')[0])
  } catch {
    return null
  }
}

/** Buffers and products come and go; what must not grow is watched. */
async function soak(argument) {
  const { device } = await open([], [])
  const pipeline = await pipelineOf(device, tiledCode('f32'))
  const uniform = buffer(device, 16, GPUBufferUsage.UNIFORM)
  const end = performance.now() + Number(argument) * 60_000
  const samples = []
  let steps = 0
  let next = 0
  let lost = null
  device.lost.then((info) => (lost = info.reason))
  while (performance.now() < end && lost === null) {
    const size = 64 * (1 + (steps % 8))
    const buffers = [0, 1, 2].map(() => buffer(device, 4 * size * size))
    device.queue.writeBuffer(uniform, 0, Uint32Array.of(size, size, size, 0))
    await least(device, pipeline, [uniform, ...buffers], [size / 64, size / 64, 1], 4)
    for (const item of buffers) item.destroy()
    steps++
    if (performance.now() >= next) {
      const rss = Math.round(process.memoryUsage().rss / 2 ** 20)
      samples.push({ step: steps, rssMegabytes: rss, gpuMegabytes: gpuMemory() })
      next = performance.now() + Math.max(2000, (Number(argument) * 60_000) / 30)
    }
  }
  return { steps, lost, samples }
}

const questions = {
  adapter: async () => ({ plain: await describe([]), unsafe: await describe(UNSAFE) }),
  products,
  unchecked,
  costs,
  soak,
}

const [name, argument] = process.argv.slice(2)
try {
  const answer = await questions[name](argument)
  process.stdout.write(`${JSON.stringify(answer)}\n`, () => process.exit(0))
} catch (error) {
  console.error(error.message)
  process.exit(1)
}
