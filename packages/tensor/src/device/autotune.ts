/**
 * The autotuner of matrix products. Off by default, since another kernel sums in another order and the bits change with the
 * choice. Switched on, a kind of product that is met for the first time runs with the default kernel, is measured with every
 * candidate after the evaluation, and uses the fastest from the next evaluation on; what was found goes to a file, for later
 * runs and other machines with that adapter and driver. `cached` reads the file and measures nothing.
 */
import {
  matmulCandidates,
  planMatmul,
  type MatmulOperand,
  type MatmulOptions,
  type MatmulShape,
} from '../kernels/matmul.js'
import type { MatmulKernel } from '../kernels/matmul-choice.js'
import type { MatmulProduct } from '../kernels/matmul-plan.js'
import type { DeviceLimits } from './limits.js'
import { readTuning, writeTuning, type Tuning } from './tuning-file.js'

/** Largest operand or result that is measured. */
const MAX_BYTES = 256 * 2 ** 20
const RUNS = 3

/** Elements from the start of its window that an operand reaches. */
function reach(
  { offset, batchStrides, rowStride, colStride }: MatmulOperand,
  { batch }: MatmulShape,
  rows: number,
  columns: number,
) {
  const along = batchStrides.reduce((sum, stride, axis) => sum + stride * ((batch[axis] ?? 1) - 1), 0)
  return offset + along + rowStride * (rows - 1) + colStride * (columns - 1) + 1
}

/** Source of a plan by itself: plain loads, a plain store. */
function moduleOf(plan: ReturnType<typeof planMatmul>, { a, b }: MatmulProduct): string {
  const half = [a, b].some(({ dtype }) => dtype === 'f16')
  const operand = (name: 'a' | 'b', index: number, dtype: string, vector: boolean) => [
    `@group(0) @binding(${index}) var<storage, read> data_${name}: array<${vector ? `vec4<${dtype}>` : dtype}>;`,
    vector
      ? `fn mm_${name}4(i: u32) -> vec4<f32> { return vec4<f32>(data_${name}[i >> 2u]); }`
      : `fn mm_${name}(i: u32) -> f32 { return f32(data_${name}[i]); }`,
  ]
  return [
    half ? 'enable f16;' : '',
    plan.subgroups ? 'enable subgroups;' : '',
    `struct Params { mm: array<vec4<u32>, ${plan.params.length / 4}> }`,
    '@group(0) @binding(0) var<uniform> params: Params;',
    ...operand('a', 1, a.dtype, plan.vectorA),
    ...operand('b', 2, b.dtype, plan.vectorB),
    `@group(0) @binding(3) var<storage, read_write> result: array<${plan.vectorStore ? 'vec4<f32>' : 'f32'}>;`,
    plan.vectorStore
      ? 'fn store_out4(i: u32, v: vec4<f32>) { result[i >> 2u] = v; }'
      : 'fn store_out(i: u32, v: f32) { result[i] = v; }',
    plan.code,
  ].join('\n')
}

export interface AutotuneSettings {
  /** False: what the file says is used, and nothing is measured. */
  readonly measures: boolean
  readonly file: string
  /** Names the adapter and its driver. */
  readonly adapter: string
}

export class Autotuner {
  private readonly wanted = new Map<string, MatmulProduct>()
  private readonly choices: Record<string, string>
  /** Kinds of products the driver had no memory to measure. */
  private readonly unmeasurable = new Set<string>()
  private hasWarned = false

  constructor(
    private readonly gpu: GPUDevice,
    private readonly limits: DeviceLimits,
    private readonly options: MatmulOptions,
    private readonly settings: AutotuneSettings,
    tuning: Tuning,
  ) {
    this.choices = { ...tuning[settings.adapter] }
  }

  /** The kernel in force for a product; undefined for the default. */
  choose(product: MatmulProduct): MatmulKernel | undefined {
    const { key, names } = matmulCandidates(product.shape, product.a, product.b, this.limits, this.options)
    const known = this.choices[key]
    const chosen = names.find((name) => name === known)
    const measures = this.settings.measures && names.length > 1 && !this.unmeasurable.has(key)
    if (chosen === undefined && measures) this.wanted.set(key, product)
    return chosen
  }

  /** Choices in force, by kind of product: part of the record of a run. */
  get inForce(): Readonly<Record<string, string>> {
    return { ...this.choices }
  }

  /**
   * Measures the kinds of products met since the last time, and writes what was found. A file that cannot be written is a
   * warning: what was evaluated is right without it.
   *
   * @param room Bytes the measurements may take.
   */
  async settle(room: number): Promise<void> {
    if (this.wanted.size === 0) return
    const products = [...this.wanted]
    this.wanted.clear()
    for (const [key, product] of products) {
      const fastest = await this.fastest(key, product, room)
      if (fastest !== undefined) this.choices[key] = fastest
    }
    const { file, adapter } = this.settings
    try {
      // Another process may have written meanwhile: its findings for other kinds stay.
      const current = await readTuning(file)
      await writeTuning(file, { ...current, [adapter]: { ...current[adapter], ...this.choices } })
    } catch (error) {
      if (!this.hasWarned) process.emitWarning(`What the autotuner measured is not kept: ${String(error)}`)
      this.hasWarned = true
    }
  }

  /** The fastest kernel; undefined where there is no room to measure. */
  private async fastest(key: string, product: MatmulProduct, room: number): Promise<MatmulKernel | undefined> {
    const { shape, a, b } = product
    const batch = shape.batch[0] * shape.batch[1] * shape.batch[2]
    const bytes = [
      reach(a, shape, shape.m, shape.k) * (a.dtype === 'f16' ? 2 : 4),
      reach(b, shape, shape.k, shape.n) * (b.dtype === 'f16' ? 2 : 4),
      4 * batch * shape.m * shape.n,
    ]
    const largest = Math.min(MAX_BYTES, this.limits.maxStorageBufferBindingSize)
    if (bytes.some((size) => size > largest || size === 0)) return undefined
    if (bytes.reduce((sum, size) => sum + size, 0) > room) return undefined
    this.gpu.pushErrorScope('out-of-memory')
    const buffers = bytes.map((size) =>
      this.gpu.createBuffer({ size: Math.ceil(size / 16) * 16, usage: GPUBufferUsage.STORAGE }),
    )
    const refused = this.gpu.popErrorScope()
    try {
      if (await refused) {
        this.unmeasurable.add(key)
        return undefined
      }
      let best: { name: MatmulKernel; time: number } | undefined
      for (const name of matmulCandidates(shape, a, b, this.limits, this.options).names) {
        const time = await this.time(product, name, buffers)
        if (!best || time < best.time) best = { name, time }
      }
      return best?.name
    } finally {
      for (const buffer of buffers) buffer.destroy()
    }
  }

  /** Least milliseconds of several runs, after one that compiles. */
  private async time(product: MatmulProduct, kernel: MatmulKernel, buffers: readonly GPUBuffer[]): Promise<number> {
    const { shape, a, b } = product
    const plan = planMatmul(shape, a, b, this.limits, { ...this.options, kernel })
    const module = this.gpu.createShaderModule({ code: moduleOf(plan, product), label: `autotune ${kernel}` })
    const pipeline = this.gpu.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } })
    const uniform = this.gpu.createBuffer({
      size: plan.params.length * 4,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    })
    this.gpu.queue.writeBuffer(uniform, 0, Uint32Array.from(plan.params))
    const entries = [uniform, ...buffers].map((buffer, binding) => ({ binding, resource: { buffer } }))
    const group = this.gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries })
    let least = Infinity
    for (let run = 0; run <= RUNS; run++) {
      const start = performance.now()
      const encoder = this.gpu.createCommandEncoder()
      const pass = encoder.beginComputePass()
      pass.setPipeline(pipeline)
      pass.setBindGroup(0, group)
      pass.dispatchWorkgroups(...plan.workgroups)
      pass.end()
      this.gpu.queue.submit([encoder.finish()])
      await this.gpu.queue.onSubmittedWorkDone()
      if (run > 0) least = Math.min(least, performance.now() - start)
    }
    uniform.destroy()
    return least
  }
}
