/**
 * What the adapter can do, by kernels written by hand for nothing else: the best rate of multiply-adds that stay in
 * registers, and the best rate of copying through a kernel. Several variants are tried, the best counts. Rates are of the
 * fastest of several runs: a ceiling, not an average. Where the GPU is the CPU they are rates per second of CPU time, since
 * on a machine that others use too a wall clock says how busy those are.
 */
const COPY_BYTES = 64 << 20

/** `vectors` independent chains of vec4 multiply-adds; the loop's bound and the factors are data, so nothing folds. */
function multiplyAddCode(vectors, lanes, fused) {
  const names = Array.from({ length: vectors }, (_, index) => `a${index}`)
  const step = (name) => (fused ? `${name} = fma(${name}, x, y);` : `${name} = ${name} * x + y;`)
  return `
@group(0) @binding(0) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4<f32>>;
@compute @workgroup_size(${lanes})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let x = input[0];
  let y = input[1];
  let count = u32(input[2].x);
  ${names.map((name, index) => `var ${name} = x + f32(${index}u + id.x);`).join('\n  ')}
  for (var k = 0u; k < count; k++) {
    ${names.map(step).join(' ')}
    ${names.map(step).join(' ')}
  }
  output[id.x] = ${names.join(' + ')};
}`
}

function copyCode(each, lanes) {
  return `
@group(0) @binding(0) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4<f32>>;
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let base = group.x * ${lanes * each}u + lane;
  for (var k = 0u; k < ${each}u; k++) { output[base + k * ${lanes}u] = input[base + k * ${lanes}u]; }
}`
}

function cpuMilliseconds() {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** A dispatch ready to be repeated; `rate` is what one second of it amounts to, in billions. */
class Probe {
  constructor(gpu, clock, variant, code, buffers, workgroups) {
    this.clock = clock
    this.gpu = gpu
    this.variant = variant
    this.workgroups = workgroups
    const module = gpu.createShaderModule({ code })
    this.pipeline = gpu.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } })
    const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }))
    this.group = gpu.createBindGroup({ layout: this.pipeline.getBindGroupLayout(0), entries })
  }

  /** Least milliseconds of `runs`, after one that is not counted. */
  async time(runs) {
    let best = Infinity
    for (let run = 0; run <= runs; run++) {
      const start = this.clock()
      const encoder = this.gpu.createCommandEncoder()
      const pass = encoder.beginComputePass()
      pass.setPipeline(this.pipeline)
      pass.setBindGroup(0, this.group)
      pass.dispatchWorkgroups(this.workgroups)
      pass.end()
      this.gpu.queue.submit([encoder.finish()])
      await this.gpu.queue.onSubmittedWorkDone()
      if (run > 0) best = Math.min(best, this.clock() - start)
    }
    return best
  }
}

function multiplyAddProbe(gpu, clock, vectors, lanes, fused) {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST
  const workgroups = 1024
  const output = gpu.createBuffer({ size: workgroups * lanes * 16, usage })
  const input = gpu.createBuffer({ size: 48, usage })
  const variant = `${vectors} vec4 × ${lanes} lanes, ${fused ? 'fma' : 'a·x + y'}`
  const probe = new Probe(gpu, clock, variant, multiplyAddCode(vectors, lanes, fused), [input, output], workgroups)
  const perIteration = workgroups * lanes * vectors * 4 * 2 * 2
  // About half a GFLOP at first; more where that proves too quick for the launch not to count.
  let iterations = Math.ceil(5e8 / perIteration)
  const write = () =>
    gpu.queue.writeBuffer(input, 0, Float32Array.of(0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, iterations, 0, 0, 0))
  write()
  return {
    variant,
    dispose: () => [input, output].forEach((buffer) => buffer.destroy()),
    async rate(runs) {
      let time = await probe.time(runs)
      if (time < 5) {
        iterations *= Math.ceil(20 / Math.max(time, 0.2))
        write()
        time = await probe.time(runs)
      }
      return (iterations * perIteration) / (time * 1e6)
    },
  }
}

function copyProbe(gpu, clock, bytes, each, lanes) {
  const buffers = [0, 1].map(() => gpu.createBuffer({ size: bytes, usage: GPUBufferUsage.STORAGE }))
  const variant = `${each} vec4 a lane, ${lanes} lanes`
  const probe = new Probe(gpu, clock, variant, copyCode(each, lanes), buffers, bytes / 16 / (each * lanes))
  return {
    variant,
    dispose: () => buffers.forEach((buffer) => buffer.destroy()),
    rate: async (runs) => (2 * bytes) / ((await probe.time(runs)) * 1e6),
  }
}

/** The best of several variants; the loser's buffers are given back. */
async function bestOf(probes) {
  let best = null
  for (const make of probes) {
    const probe = make()
    const rate = await probe.rate(3)
    if (best && rate <= best.rate) probe.dispose()
    else {
      best?.probe.dispose()
      best = { probe, rate }
    }
  }
  return best
}

/** Billions of operations, and of bytes read plus written, a second: the most seen so far. */
export class Roofline {
  #compute = null
  #copy = null

  /** @param {boolean} software the GPU is the CPU */
  constructor(gpu, software) {
    this.gpu = gpu
    this.software = software
  }

  /** The first call tries all variants, later ones measure the best again: a shared machine has better minutes. */
  async measure() {
    const { gpu, software } = this
    const clock = software ? cpuMilliseconds : () => performance.now()
    if (!this.#compute) {
      this.#compute = await bestOf(
        [1, 2, 4, 8].flatMap((vectors) =>
          [8, 64, 256].flatMap((lanes) =>
            [false, true].map((fused) => () => multiplyAddProbe(gpu, clock, vectors, lanes, fused)),
          ),
        ),
      )
      const bytes = Math.min(COPY_BYTES, gpu.limits.maxStorageBufferBindingSize)
      const fits = (each, lanes) => bytes / 16 / (each * lanes) <= gpu.limits.maxComputeWorkgroupsPerDimension
      this.#copy = await bestOf(
        [1, 4, 16, 64].flatMap((each) =>
          [64, 256]
            .filter((lanes) => fits(each, lanes))
            .map((lanes) => () => copyProbe(gpu, clock, bytes, each, lanes)),
        ),
      )
    } else {
      for (const best of [this.#compute, this.#copy]) best.rate = Math.max(best.rate, await best.probe.rate(8))
    }
    return {
      clock: software ? 'cpu' : 'wall',
      gflops: this.#compute.rate,
      gflopsVariant: this.#compute.probe.variant,
      gbytes: this.#copy.rate,
      gbytesVariant: this.#copy.probe.variant,
    }
  }
}
