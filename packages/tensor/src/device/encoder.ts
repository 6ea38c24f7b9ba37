/**
 * Turns dispatches into commands: pipelines cached by their text, bind groups by their buffers, all uniform words of a
 * submit in one buffer addressed by dynamic offsets, and one compute pass for as many dispatches as possible.
 */
import type { Dispatch } from '../graph/dispatch.js'
import { mixed } from '../graph/hash.js'
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

interface BindGroup {
  readonly uniformBytes: number
  readonly reads: number
  /** Of every buffer: id, byte offset, bytes. */
  readonly windows: readonly number[]
  readonly gpu: GPUBindGroup
}

export class Encoder {
  private readonly pipelines = new Map<string, Pipeline>()
  private readonly layouts = new Map<string, { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>()
  /** By the hash of what they bind. */
  private readonly bindGroups = new Map<number, BindGroup[]>()
  private bindGroupCount = 0
  private readonly offset = new Uint32Array(1)
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
    this.bindGroupCount = 0
  }

  /** A number for the kernels encoded since it was last taken and their grids: the same for the same ones. */
  takeWork(): number {
    const { work } = this
    this.work = 0
    return work
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
    this.offset[0] = offset
    this.pass.setBindGroup(0, this.bindGroup(pipeline, dispatch, bytes), this.offset, 0, 1)
    const [x, y, z] = dispatch.workgroups
    this.pass.dispatchWorkgroups(x, y, z)
    this.dispatches++
    for (const word of [pipeline.id, x, y, z]) this.work = mixed(this.work, word)
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

  private bindGroup(pipeline: Pipeline, { reads, writes }: Dispatch, uniformBytes: number): GPUBindGroup {
    let hash = mixed(reads.length, uniformBytes)
    for (const list of [reads, writes]) {
      for (const { buffer, byteOffset, bytes } of list) hash = mixed(mixed(mixed(hash, buffer.id), byteOffset), bytes)
    }
    const bucket = this.bindGroups.get(hash)
    if (bucket) for (const known of bucket) if (binds(known, reads, writes, uniformBytes)) return known.gpu
    const storages = [...reads, ...writes]
    const gpu = this.device.createBindGroup({
      layout: pipeline.layout,
      entries: [
        { binding: 0, resource: { buffer: this.uniforms, size: uniformBytes } },
        ...storages.map((storage, index) => ({ binding: index + 1, resource: resourceOf(storage) })),
      ],
    })
    if (this.bindGroupCount >= MAX_BIND_GROUPS) this.forgetBuffers()
    const windows = storages.flatMap(({ buffer, byteOffset, bytes }) => [buffer.id, byteOffset, bytes])
    const made = { uniformBytes, reads: reads.length, windows, gpu }
    const list = this.bindGroups.get(hash)
    if (list) list.push(made)
    else this.bindGroups.set(hash, [made])
    this.bindGroupCount++
    return gpu
  }
}

function resourceOf({ buffer, byteOffset, bytes }: Storage): GPUBufferBinding {
  return {
    buffer: buffer.gpu,
    offset: byteOffset,
    size: Math.min(Math.ceil(bytes / 16) * 16, buffer.bytes - byteOffset),
  }
}

/** True when the group binds just these. */
function binds(group: BindGroup, reads: readonly Storage[], writes: readonly Storage[], uniformBytes: number): boolean {
  const { windows } = group
  if (group.uniformBytes !== uniformBytes || group.reads !== reads.length) return false
  if (windows.length !== 3 * (reads.length + writes.length)) return false
  let at = 0
  for (const list of [reads, writes]) {
    for (const { buffer, byteOffset, bytes } of list) {
      if (windows[at] !== buffer.id || windows[at + 1] !== byteOffset || windows[at + 2] !== bytes) return false
      at += 3
    }
  }
  return true
}
