/**
 * Turns dispatches into commands: pipelines cached by their text, bind groups by their buffers, all uniform words of a
 * submit in one buffer addressed by dynamic offsets, and one compute pass for as many dispatches as possible.
 */
import type { Dispatch } from '../graph/dispatch.js'
import type { Storage } from '../graph/node.js'
import { GpuValidationError } from './errors.js'
import type { Profiler } from './profiler.js'

const UNIFORM_BYTES = 1 << 18
const MAX_BIND_GROUPS = 8192
/** Submits are cut after this many dispatches so that none keeps the GPU busy for long. */
const DISPATCHES_PER_SUBMIT = 128

interface Pipeline {
  readonly id: number
  readonly gpu: GPUComputePipeline
  readonly layout: GPUBindGroupLayout
}

export class Encoder {
  private readonly pipelines = new Map<string, Pipeline>()
  private readonly layouts = new Map<string, { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>()
  private readonly bindGroups = new Map<string, GPUBindGroup>()
  private readonly uniforms: GPUBuffer
  private readonly alignment: number
  private readonly staging = new Uint32Array(UNIFORM_BYTES / 4)
  private used = 0
  private commands: GPUCommandEncoder | null = null
  private pass: GPUComputePassEncoder | null = null
  private dispatches = 0
  private profiler: Profiler | null = null
  private work = 0
  /** Multiplications and additions of the dispatches to come, for the profiler. */
  operations = 0

  /** Compilations whose outcome is not known yet. */
  private readonly reports = new Set<Promise<void>>()

  constructor(
    private readonly device: GPUDevice,
    private readonly onFault: (error: Error) => void,
  ) {
    this.alignment = device.limits.minUniformBufferOffsetAlignment
    this.uniforms = device.createBuffer({
      size: UNIFORM_BYTES,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    })
  }

  /** Resolves when it is known of every kernel so far whether it compiled. */
  async reported(): Promise<void> {
    await Promise.all(this.reports)
  }

  /** Drops cached bind groups that may name a destroyed buffer. */
  forgetBuffers(): void {
    this.bindGroups.clear()
  }

  /** A number for the kernels encoded since it was last taken and their grids: the same for the same ones. */
  takeWork(): number {
    const { work } = this
    this.work = 0
    return work
  }

  private note(word: number): void {
    this.work = Math.imul(this.work ^ word, 0x9e3779b1) + (this.work >>> 15)
  }

  /** A buffer for where one must be named and is not used. */
  get anyBuffer(): GPUBuffer {
    return this.uniforms
  }

  get pipelineCount(): number {
    return this.pipelines.size
  }

  encode(dispatch: Dispatch): void {
    if (dispatch.workgroups.includes(0)) return
    const pipeline = this.pipeline(dispatch)
    const bytes = Math.max(16, Math.ceil(dispatch.params.length / 4) * 16)
    const slot = Math.ceil(bytes / this.alignment) * this.alignment
    if (this.used + slot > UNIFORM_BYTES || this.dispatches >= DISPATCHES_PER_SUBMIT) this.flush()
    const offset = this.used
    this.staging.set(dispatch.params, offset / 4)
    this.used += slot
    if (dispatch.zero) for (const storage of dispatch.zero) this.clear(storage)
    this.commands ??= this.device.createCommandEncoder()
    this.pass ??= this.beginPass(this.commands, dispatch)
    this.pass.setPipeline(pipeline.gpu)
    this.pass.setBindGroup(0, this.bindGroup(pipeline, dispatch, bytes), [offset])
    this.pass.dispatchWorkgroups(...dispatch.workgroups)
    this.dispatches++
    for (const groups of dispatch.workgroups) this.note(groups)
    this.note(pipeline.id)
    if (this.profiler?.isRecording) this.endPass()
  }

  /** From here on every dispatch is a pass of its own, timed by the profiler. */
  startProfile(profiler: Profiler): void {
    this.flush()
    this.profiler = profiler
  }

  /** Dispatches share passes again. */
  endProfile(): void {
    this.endPass()
    this.commands ??= this.device.createCommandEncoder()
    this.profiler?.end(this.commands)
    this.profiler = null
    this.flush()
  }

  private beginPass(commands: GPUCommandEncoder, dispatch: Dispatch): GPUComputePassEncoder {
    if (!this.profiler?.isRecording) return commands.beginComputePass()
    const operations = this.operations
    this.operations = 0
    const bytes = [...dispatch.reads, ...dispatch.writes].reduce((sum, storage) => sum + storage.bytes, 0)
    return commands.beginComputePass(this.profiler.pass({ label: dispatch.label, bytes, operations }, commands))
  }

  clear(storage: Storage): void {
    this.endPass()
    this.commands ??= this.device.createCommandEncoder()
    this.commands.clearBuffer(storage.buffer.gpu, storage.byteOffset, Math.ceil(storage.bytes / 4) * 4)
  }

  copy(from: Storage, to: GPUBuffer, toOffset: number, bytes: number): void {
    this.endPass()
    this.commands ??= this.device.createCommandEncoder()
    this.commands.copyBufferToBuffer(from.buffer.gpu, from.byteOffset, to, toOffset, bytes)
  }

  /** Submits what is encoded. */
  flush(): void {
    if (!this.commands) return
    this.endPass()
    // Writes are ordered on the queue: the previous submit has read its words before these replace them.
    if (this.used > 0) this.device.queue.writeBuffer(this.uniforms, 0, this.staging, 0, this.used / 4)
    this.device.queue.submit([this.commands.finish()])
    this.commands = null
    this.used = 0
    this.dispatches = 0
  }

  private endPass(): void {
    this.pass?.end()
    this.pass = null
  }

  private pipeline(dispatch: Dispatch): Pipeline {
    const known = this.pipelines.get(dispatch.code)
    if (known) return known
    const layout = this.layout(dispatch.reads.length, dispatch.writes.length)
    this.device.pushErrorScope('validation')
    const module = this.device.createShaderModule({ code: dispatch.code, label: dispatch.label })
    const gpu = this.device.createComputePipeline({
      label: dispatch.label,
      layout: layout.pipeline,
      compute: { module, entryPoint: 'main' },
    })
    const report = this.device
      .popErrorScope()
      .then(
        (error) => {
          if (error) {
            this.onFault(
              new GpuValidationError(`Kernel '${dispatch.label}' does not compile: ${error.message}\n${dispatch.code}`),
            )
          }
        },
        () => {},
      )
      .then(() => {
        this.reports.delete(report)
      })
    this.reports.add(report)
    const pipeline = { id: this.pipelines.size, gpu, layout: layout.group }
    this.pipelines.set(dispatch.code, pipeline)
    return pipeline
  }

  private layout(reads: number, writes: number): { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    const key = `${reads}:${writes}`
    const known = this.layouts.get(key)
    if (known) return known
    const buffer = (binding: number, type: GPUBufferBindingType, hasDynamicOffset = false) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type, hasDynamicOffset },
    })
    const group = this.device.createBindGroupLayout({
      entries: [
        buffer(0, 'uniform', true),
        ...Array.from({ length: reads }, (_, index) => buffer(index + 1, 'read-only-storage')),
        ...Array.from({ length: writes }, (_, index) => buffer(reads + index + 1, 'storage')),
      ],
    })
    const layout = { group, pipeline: this.device.createPipelineLayout({ bindGroupLayouts: [group] }) }
    this.layouts.set(key, layout)
    return layout
  }

  private bindGroup(pipeline: Pipeline, dispatch: Dispatch, uniformBytes: number): GPUBindGroup {
    let key = `${dispatch.reads.length}:${uniformBytes}`
    for (const storage of dispatch.reads) key += `,${storage.buffer.id}:${storage.byteOffset}:${storage.bytes}`
    for (const storage of dispatch.writes) key += `;${storage.buffer.id}:${storage.byteOffset}:${storage.bytes}`
    const known = this.bindGroups.get(key)
    if (known) return known
    const resource = (storage: Storage) => ({
      buffer: storage.buffer.gpu,
      offset: storage.byteOffset,
      size: Math.min(Math.ceil(storage.bytes / 16) * 16, storage.buffer.bytes - storage.byteOffset),
    })
    const group = this.device.createBindGroup({
      layout: pipeline.layout,
      entries: [
        { binding: 0, resource: { buffer: this.uniforms, size: uniformBytes } },
        ...[...dispatch.reads, ...dispatch.writes].map((storage, index) => ({
          binding: index + 1,
          resource: resource(storage),
        })),
      ],
    })
    if (this.bindGroups.size >= MAX_BIND_GROUPS) this.bindGroups.clear()
    this.bindGroups.set(key, group)
    return group
  }
}
