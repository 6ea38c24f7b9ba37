/**
 * The device: where tensors are made, evaluated and read. One evaluation is one plan: the lazy graph is scheduled into
 * fused kernels, buffers follow the kernels' lifetimes through one pool, and everything is encoded into few submits.
 */
import { EmissionCache } from '../graph/emission-cache.js'
import { execute, type ExecutionHost } from '../graph/execute.js'
import { explainKernels, graphText, type Explanation } from '../graph/explain.js'
import { rehearse, type MemoryPlan, type Rehearsal } from '../graph/rehearse.js'
import {
  contiguousLayout,
  bytesPerElement,
  checkShape,
  isContiguous,
  sizeOf,
  type DType,
  type Shape,
} from '../graph/shape.js'
import { checkAlive, Node, type Storage } from '../graph/node.js'
import { reachable, schedule, writtenBy, type FusedKernel } from '../graph/schedule.js'
import { Tensor } from '../graph/tensor.js'
import { DeviceMemory } from '../memory/accounting.js'
import { BufferPool, type BufferUse } from '../memory/pool.js'
import { Scope } from '../memory/scope.js'
import { withTag } from '../memory/tags.js'
import type { MatmulProduct } from '../kernels/matmul-plan.js'
import type { MatrixUnit } from '../kernels/matmul-units.js'
import { Autotuner } from './autotune.js'
import { defaultTuningFile, readTuning, type Tuning } from './tuning-file.js'
import { hostMemoryShare } from './host-memory.js'
import { describeAdapter, matrixUnitOf, plainGpu, requestAdapter, type AdapterInfo } from './adapter.js'
import { Encoder } from './encoder.js'
import { Profile, Profiler } from './profiler.js'
import { guaranteedLimits, limitsOf, type DeviceLimits } from './limits.js'
import {
  decode,
  emptyOf,
  encode,
  flatten,
  nesting,
  type Nested,
  type TensorData,
  type TensorInput,
} from './transfer.js'
import {
  AdapterError,
  GpuValidationError,
  OutOfMemoryError,
  ShapeError,
  TensorStateError,
  type DeviceLostError,
} from './errors.js'
import { Waits } from './waits.js'

export interface DeviceOptions {
  readonly powerPreference?: GPUPowerPreference
  /** Lowers limits below the adapter's, for tests of what happens at them. */
  readonly limits?: Partial<DeviceLimits>
  /** `false` runs every operation as a kernel of its own: the plain twin of the fused path. */
  readonly fusion?: boolean
  /** `false` emits every kernel anew: the plain twin of keeping what was emitted. */
  readonly keepKernels?: boolean
  /**
   * Most bytes of GPU memory this device may take, buffers kept for reuse included. Beyond it evaluations fail with
   * {@link OutOfMemoryError}, as they do when the driver has no more. Default: no limit on a GPU; four fifths of the
   * machine's memory on a software adapter, whose driver does not tell when there is no more.
   */
  readonly memoryLimit?: number
  readonly label?: string
  /**
   * `plain-gpu` treats the adapter as a GPU that has WebGPU's guaranteed limits and none of its optional features: the
   * kernels and tables every hardware GPU can be given, even on a software driver. For tests on machines without a GPU.
   * Default: what the environment variable `REVISUAL_EMULATE` says, else off.
   */
  readonly emulate?: false | 'plain-gpu'
  /**
   * Choice of matmul kernels. `false` (default): a fixed table, so bits depend on adapter and build alone. `cached`: what the
   * tuning file says. `true`: that, and kinds of products it does not know are measured after the evaluation that meets them
   * first. A tuned choice may change the last bits of sums; `device.tuning` says what is in force.
   */
  readonly autotune?: boolean | 'cached'
  /** Default `$XDG_CACHE_HOME/revisual/tuning.json`. Made on one machine, it serves others with that adapter and driver. */
  readonly tuningFile?: string
  /**
   * Dawn toggles for the whole process, so the first device decides: `vulkan_enable_f16_on_nvidia` (f16 there),
   * `allow_unsafe_apis`, `disable_robustness`.
   */
  readonly toggles?: readonly string[]
  /**
   * Multiplies large products on the GPU's matrix units, where the driver offers them (Dawn's experimental subgroup
   * matrices; never run on hardware by the project's tests). `exact`: f16 units for f16 operands, f32 units for all.
   * `rounded`: f16 units for f32 operands too, which are rounded, and infinite beyond 65,504. Sums are f32. Default: off.
   */
  readonly matrixUnits?: false | 'exact' | 'rounded'
}

const MATRIX_UNITS = 'chromium-experimental-subgroup-matrix' as GPUFeatureName

const FEATURES: readonly GPUFeatureName[] = ['shader-f16', 'subgroups', 'timestamp-query']

/** @throws {AdapterError} the variable holds anything but what `emulate` may be. */
function environmentEmulation(): DeviceOptions['emulate'] {
  const value = process.env['REVISUAL_EMULATE'] ?? ''
  if (value === '') return false
  if (value === 'plain-gpu') return value
  throw new AdapterError(
    `REVISUAL_EMULATE is '${value}'; allowed: 'plain-gpu', or nothing. Unset it to use the adapter as it is.`,
  )
}

/**
 * Opens the preferred adapter with its full limits.
 *
 * @throws {AdapterError} no adapter, or it refuses the device; or the tuning file is damaged.
 */
export async function createDevice(asked: DeviceOptions = {}): Promise<Device> {
  const { emulate = environmentEmulation() } = asked
  const isPlain = emulate === 'plain-gpu'
  const options = isPlain ? { ...asked, limits: { ...guaranteedLimits, ...asked.limits } } : asked
  // Dawn offers experimental features to those alone who ask for unsafe ones.
  const unsafe = options.matrixUnits ? ['allow_unsafe_apis'] : []
  const adapter = await requestAdapter(options.powerPreference, [...new Set([...(options.toggles ?? []), ...unsafe])])
  const info = isPlain ? plainGpu(describeAdapter(adapter)) : describeAdapter(adapter)
  const optional = isPlain ? [] : FEATURES
  const wanted = options.matrixUnits ? [...optional, MATRIX_UNITS] : optional
  // Before there is a device, for the file may be refused.
  const tuning = await tuningOf(options)
  try {
    const gpu = await adapter.requestDevice({
      requiredFeatures: wanted.filter((feature) => adapter.features.has(feature)),
      requiredLimits: limitsOf(adapter.limits, options.limits),
      ...(options.label === undefined ? {} : { label: options.label }),
    })
    return new Device(gpu, info, adapter, options, tunerFor(gpu, info, options, tuning))
  } catch (error) {
    throw new AdapterError(
      `The adapter '${info.description || info.device}' refused a device: ${error instanceof Error ? error.message : String(error)}. ` +
        `Its driver may be too old for WebGPU (Mesa must be ≥ 23).`,
      { cause: error },
    )
  }
}

/** What the tuning file says; null with autotuning off. */
async function tuningOf({ autotune = false, tuningFile = defaultTuningFile() }: DeviceOptions): Promise<Tuning | null> {
  return autotune === false ? null : await readTuning(tuningFile)
}

/** The autotuner an option asks for. */
function tunerFor(gpu: GPUDevice, info: AdapterInfo, options: DeviceOptions, tuning: Tuning | null): Autotuner | null {
  const { autotune = false, tuningFile = defaultTuningFile() } = options
  if (!tuning) return null
  const subgroupSize = gpu.features.has('subgroups') ? info.subgroupSize : undefined
  const matmul = {
    software: info.isSoftware,
    vendor: info.vendor,
    ...(subgroupSize === undefined ? {} : { subgroupSize }),
  }
  const settings = {
    measures: autotune === true,
    file: tuningFile,
    adapter: [info.vendor, info.architecture, info.device, info.description].join(' | '),
  }
  return new Autotuner(gpu, limitsOf(gpu.limits, options.limits), matmul, settings, tuning)
}

export class Device {
  readonly info: AdapterInfo
  /** The matrix unit large products are multiplied with; null where none was asked for or none is there. */
  readonly matrixUnit: MatrixUnit | null
  readonly features: ReadonlySet<string>
  readonly limits: DeviceLimits
  /** Resolves, never rejects, when the device is lost. */
  readonly lost: Promise<DeviceLostError>
  private readonly pool: BufferPool
  private readonly encoder: Encoder
  private readonly live = new Set<Node>()
  private readonly scopes: Scope[] = []
  private pendingWrites: Node[] = []
  private fault: Error | null = null
  private readonly waits: Waits
  /** What was computed or written since every buffer was last known to have memory behind it. */
  private readonly unconfirmed = new Set<Node>()
  /** While positive, refused commands are the consequence of an error that is known already. */
  private consequences = 0
  private readonly maxLeaves: number
  private readonly host: ExecutionHost

  /** @internal Use {@link createDevice}. */
  constructor(
    readonly gpu: GPUDevice,
    info: AdapterInfo,
    /** Held so that Dawn keeps it as long as the device. */
    readonly adapter: GPUAdapter,
    private readonly options: DeviceOptions,
    private readonly tuner: Autotuner | null,
  ) {
    this.info = info
    this.features = new Set([...gpu.features])
    this.matrixUnit = options.matrixUnits && this.features.has(MATRIX_UNITS) ? matrixUnitOf(adapter.info, info) : null
    this.limits = limitsOf(gpu.limits, options.limits)
    this.waits = new Waits(info.isSoftware)
    this.pool = new BufferPool(
      {
        create: (bytes) =>
          this.createBuffer(bytes, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST),
        fence: () => this.fence(),
      },
      {
        maxBufferSize: this.limits.maxBufferSize,
        memoryLimit: options.memoryLimit ?? (info.isSoftware ? hostMemoryShare() : Infinity),
      },
    )
    this.encoder = new Encoder(gpu, (error) => {
      // The cause: it replaces what its use was reported as.
      this.fault = error
    })
    this.memory = new DeviceMemory(this.pool, this.live)
    this.pool.onFailure = (error) => this.distrust(error)
    this.pool.onDestroy = () => this.encoder.forgetBuffers()
    this.maxLeaves = Math.max(4, Math.floor((this.limits.maxStorageBuffersPerShaderStage - 1) * 0.75))
    this.host = {
      limits: this.limits,
      isSoftware: info.isSoftware,
      hasF16: this.features.has('shader-f16'),
      subgroupSize: this.features.has('subgroups') ? info.subgroupSize : undefined,
      vendor: info.vendor,
      ...(this.matrixUnit
        ? { matrixUnits: { unit: this.matrixUnit, unitRounds: options.matrixUnits === 'rounded' } }
        : {}),
      // Kept kernels would not see a choice that changes.
      ...(tuner ? { chooseMatmul: (product: MatmulProduct) => tuner.choose(product) } : {}),
      ...(tuner || options.keepKernels === false ? {} : { emissions: new EmissionCache() }),
      allocate: (bytes, use) => this.allocate(bytes, use),
      begin: ({ anchor }) => {
        if (anchor?.spec.kind !== 'matmul') this.encoder.operations = 0
        else {
          const { batch, m, n, k } = anchor.spec
          this.encoder.operations = 2 * batch[0] * batch[1] * batch[2] * m * n * k
        }
      },
      encode: (dispatch) => this.encoder.encode(dispatch),
      own: (node) => this.own(node),
      drop: (node) => this.drop(node),
    }
    gpu.onuncapturederror = (event) => {
      event.preventDefault()
      const { error } = event
      if (this.consequences > 0) return
      this.fault ??=
        error instanceof GPUOutOfMemoryError
          ? new OutOfMemoryError(`The GPU is out of memory (${error.message}). Use smaller micro-batches.`)
          : new GpuValidationError(`WebGPU refused a command: ${error.message}`)
    }
    this.lost = gpu.lost.then(({ reason, message }) => this.waits.lose(`${reason}${message ? `: ${message}` : ''}`))
  }

  // ------------------------------------------------------------------------------------------ making tensors

  /**
   * Uploads data.
   *
   * @param data Numbers in row-major order, or nested arrays whose nesting is the shape. A Uint16Array holds the bit
   * patterns of f16 or bf16 and is taken as it is.
   * @param shape Default: the nesting, or one dimension.
   * @param dtype Default: by the array's type; numbers are f32.
   */
  tensor(data: TensorInput | readonly Nested[], shape?: Shape, dtype?: DType): Tensor {
    const flat: number[] | TensorInput = ArrayBuffer.isView(data) ? data : flatten(data)
    const resolved = shape ?? (ArrayBuffer.isView(data) ? [data.length] : nesting(data))
    const type: DType = dtype ?? (data instanceof Int32Array ? 'i32' : data instanceof Uint32Array ? 'u32' : 'f32')
    checkShape(resolved, 'tensor()')
    if (sizeOf(resolved) !== flat.length) {
      throw new ShapeError(
        `tensor(): ${flat.length} values do not fill shape [${resolved.join(', ')}] (${sizeOf(resolved)} elements).`,
      )
    }
    const node = new Node({ kind: 'source' }, [], resolved, type)
    this.materialise(node)
    this.upload(node, flat)
    return new Tensor(this, node, contiguousLayout(resolved))
  }

  /** A lazy tensor with one value everywhere; it takes no memory unless asked for by itself. */
  full(shape: Shape, value: number, dtype: DType = 'f32'): Tensor {
    checkShape(shape, 'full()')
    return new Tensor(this, new Node({ kind: 'constant', value }, [], shape, dtype), contiguousLayout(shape))
  }

  zeros(shape: Shape, dtype: DType = 'f32'): Tensor {
    return this.full(shape, 0, dtype)
  }

  ones(shape: Shape, dtype: DType = 'f32'): Tensor {
    return this.full(shape, 1, dtype)
  }

  /** The index along `axis`, everywhere. Lazy. */
  iota(shape: Shape, axis: number, dtype: DType = 'u32'): Tensor {
    checkShape(shape, 'iota()')
    const at = axis < 0 ? axis + shape.length : axis
    const inner = sizeOf(shape.slice(at + 1))
    const node = new Node({ kind: 'iota', length: shape[at] ?? 1, inner }, [], shape, dtype)
    return new Tensor(this, node, contiguousLayout(shape))
  }

  /** A tensor with a buffer of its own, filled with zeros: something to `assign` to. */
  buffer(shape: Shape, dtype: DType = 'f32'): Tensor {
    checkShape(shape, 'buffer()')
    const node = new Node({ kind: 'source' }, [], shape, dtype)
    const storage = this.materialise(node)
    this.encoder.clear(storage)
    return new Tensor(this, node, contiguousLayout(shape))
  }

  /** Fills a tensor that owns its buffer with zeros, after all writes made so far. */
  clear(tensor: Tensor): void {
    this.run([], [])
    const { node } = tensor
    if (!node.storage) throw new ShapeError('clear(): the tensor has no buffer.')
    this.encoder.clear(node.storage)
    trust(node)
  }

  /**
   * Replaces the contents of a tensor that owns its buffer, or of a run of its rows. Graphs built on it before and evaluated from now on read the
   * new contents: this is how data known only later enters a graph.
   */
  write(tensor: Tensor, data: TensorInput): void {
    const { node, layout } = tensor
    const skip = layout.offset * bytesPerElement[node.dtype]
    if (node.spec.kind !== 'source' || !node.storage || !isContiguous(layout) || skip % 4 !== 0) {
      throw new ShapeError(
        'write(): only tensors made by tensor() or buffer(), or runs of their rows that start on a whole word, can be written.',
      )
    }
    if (data.length !== tensor.size) {
      throw new ShapeError(`write(): ${data.length} values for a tensor of ${tensor.size} elements.`)
    }
    if (bytesPerElement[node.dtype] === 2 && tensor.size % 2 === 1 && layout.offset + tensor.size !== node.size) {
      throw new ShapeError(`write(): a run of ${tensor.size} ${node.dtype} ends within a word; write an even number.`)
    }
    this.upload(node, data, skip)
    if (tensor.size === node.size) trust(node)
  }

  /**
   * Replaces a run of bytes of a tensor that owns its buffer, in the tensor's own storage format (little-endian): how
   * weights come in piece by piece, without the whole tensor on the host.
   *
   * @param byteOffset Where the run begins; a multiple of 4.
   * @param bytes A multiple of 4 of them, unless they end the tensor.
   * @throws {ShapeError} not whole words, or past the tensor's end.
   */
  writeBytes(tensor: Tensor, byteOffset: number, bytes: Uint8Array): void {
    const { node } = tensor
    const { storage } = node
    if (node.spec.kind !== 'source' || !storage || tensor.size !== node.size) {
      throw new ShapeError('writeBytes(): only whole tensors made by tensor() or buffer() can be written.')
    }
    const end = byteOffset + bytes.byteLength
    const whole = byteOffset % 4 === 0 && (bytes.byteLength % 4 === 0 || end === node.bytes)
    if (!whole || byteOffset < 0 || end > node.bytes) {
      throw new ShapeError(
        `writeBytes(): bytes ${byteOffset} to ${end} of a tensor of ${node.bytes}; runs begin and end on multiples of 4 inside it.`,
      )
    }
    this.waits.check()
    if (bytes.byteLength === 0) return
    this.encoder.flush()
    const aligned = bytes.byteLength - (bytes.byteLength % 4)
    const at = storage.byteOffset + byteOffset
    this.gpu.queue.writeBuffer(storage.buffer.gpu, at, bytes, 0, aligned)
    if (end === node.bytes) trust(node)
    if (aligned === bytes.byteLength) return
    const last = new Uint8Array(4)
    last.set(bytes.subarray(aligned))
    this.gpu.queue.writeBuffer(storage.buffer.gpu, at + aligned, last)
  }

  // ------------------------------------------------------------------------------------------ running

  /**
   * Computes the given tensors and runs all in-place writes made so far. Resolves once everything is submitted.
   *
   * @param options.retainFor Tensors that will be evaluated later: what this evaluation computes and they need is kept
   * until then.
   */
  async eval(tensors: readonly Tensor[], options: { readonly retainFor?: readonly Tensor[] } = {}): Promise<void> {
    this.run(tensors, options.retainFor ?? [])
    this.encoder.flush()
    await this.check()
    await this.settle()
  }

  /** Values of several tensors in one round trip, in row-major order; f16 is widened to f32. */
  async read(tensors: readonly Tensor[]): Promise<TensorData[]> {
    const contiguous = tensors.map((tensor) => tensor.materialisable())
    this.run(contiguous, [])
    const sizes = contiguous.map((tensor) => Math.ceil((tensor.size * bytesPerElement[tensor.dtype]) / 16) * 16)
    const total = sizes.reduce((sum, size) => sum + size, 0)
    if (total === 0) return contiguous.map((tensor) => emptyOf(tensor.dtype))
    for (const { node } of contiguous) {
      if (!node.storage && node.size > 0)
        throw new Error(`Internal: ${node.describe()} was evaluated and has no value.`)
    }
    const { gpu: staging, failure } = this.createBuffer(total, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST)
    let offset = 0
    contiguous.forEach((tensor, index) => {
      const { storage } = tensor.node
      const size = sizes[index] ?? 0
      if (!storage || size === 0) return
      const skip = tensor.layout.offset * bytesPerElement[tensor.dtype]
      const bytes = Math.min(size, storage.buffer.bytes - storage.byteOffset - skip)
      this.encoder.copy({ ...storage, byteOffset: storage.byteOffset + skip }, staging, offset, bytes)
      offset += size
    })
    this.encoder.flush()
    contiguous.forEach((tensor, index) => {
      if (tensor.node !== tensors[index]?.node) this.free(tensor.node)
    })
    try {
      await this.waits.guard(() => staging.mapAsync(GPUMapMode.READ), this.encoder.takeWork())
      await this.check()
      const bytes = staging.getMappedRange().slice(0)
      await this.settle()
      let at = 0
      return contiguous.map((tensor, index) => {
        const values = decode(bytes, at, tensor.size, tensor.dtype)
        at += sizes[index] ?? 0
        return values
      })
    } catch (error) {
      const refused = this.waits.lostError ? null : await failure
      if (refused === null) throw error
      this.fault = null
      throw new OutOfMemoryError(`Out of memory: reading ${total} bytes back needs as many (${refused}).`)
    } finally {
      staging.destroy()
    }
  }

  /** Resolves when the GPU has finished everything submitted; throws the first error it met. */
  async sync(): Promise<void> {
    this.encoder.flush()
    await this.waits.guard(() => this.gpu.queue.onSubmittedWorkDone(), this.encoder.takeWork())
    await this.check()
  }

  /**
   * Times every kernel while `fn` runs. Every dispatch is then a pass of its own, so the sum is more than the same work
   * takes unobserved.
   *
   * @param options.mostDispatches Those after so many are not timed. Default 100,000.
   * @throws {AdapterError} the adapter has no timestamps.
   */
  async profile(fn: () => Promise<unknown>, options: { readonly mostDispatches?: number } = {}): Promise<Profile> {
    if (!this.features.has('timestamp-query')) {
      throw new AdapterError(`profile(): the adapter '${this.info.description}' has no 'timestamp-query'.`)
    }
    const profiler = new Profiler(this.gpu, options.mostDispatches ?? 100_000)
    this.encoder.startProfile(profiler)
    try {
      await fn()
    } finally {
      this.encoder.endProfile()
    }
    const events = await this.waits.guard(() => profiler.events())
    await this.check()
    return new Profile(events, this.info.description || this.info.device)
  }

  /**
   * What evaluating these tensors (and all in-place writes made so far) would take, without doing it: the most bytes in
   * use, by tag, and the largest parts. Exact: an evaluation that follows takes just that.
   */
  plan(tensors: readonly Tensor[], options: { readonly retainFor?: readonly Tensor[] } = {}): MemoryPlan {
    return this.rehearsal(tensors, options.retainFor ?? []).plan
  }

  /** Which kernels evaluating a tensor would run, and which operations are fused into each. */
  explain(...tensors: readonly Tensor[]): Explanation {
    return explainKernels(this.rehearsal(tensors, []).kernels)
  }

  /** The lazy graph a tensor is made of, one operation a line. */
  graph(tensor: Tensor): string {
    return graphText(tensor.node)
  }

  /** `using scope = device.scope()`: buffers born from here to the end of the block are freed there unless kept. */
  scope(): Scope {
    const scope = new Scope(this, (closed) => {
      const index = this.scopes.indexOf(closed)
      if (index >= 0) this.scopes.splice(index, 1)
    })
    this.scopes.push(scope)
    return scope
  }

  /**
   * Runs `fn`, which must be synchronous: the memory of everything made in it, now or when it is evaluated, is accounted
   * under `tag`.
   */
  tag<T>(tag: string, fn: () => T): T {
    return withTag(tag, fn)
  }

  /** What the tensors take. */
  readonly memory: DeviceMemory

  /** Matmul kernels chosen by measurement, by kind of product; null with autotuning off. Part of a run's record. */
  get tuning(): Readonly<Record<string, string>> | null {
    return this.tuner?.inForce ?? null
  }

  /** Number of compiled pipelines, which must not grow with steps. */
  get pipelineCount(): number {
    return this.encoder.pipelineCount
  }

  /**
   * Gives the device back. Pending and later operations reject with {@link DeviceLostError}. An error nobody has been told
   * of yet becomes a warning of the process.
   */
  destroy(): void {
    if (this.fault) process.emitWarning(this.fault)
    this.fault = null
    this.waits.lose('destroyed')
    this.gpu.destroy()
  }

  // ------------------------------------------------------------------------------------------ used by the ops

  /** @internal Registers an in-place write; it runs with the next evaluation. */
  addWrite(node: Node): void {
    this.pendingWrites.push(node)
    for (const target of writtenBy(node)) {
      target.version++
      target.pendingWrites = [...target.pendingWrites, node]
    }
  }

  /** @internal A tensor inside the buffer of an arena, from element `offset` (a multiple of 256) on. */
  place(arena: Tensor, offset: number, shape: Shape): Tensor {
    const { storage } = arena.node
    if (!storage) throw new ShapeError('place(): the arena has no buffer.')
    const node = new Node({ kind: 'source' }, [], shape, arena.dtype)
    const byteOffset = storage.byteOffset + offset * bytesPerElement[arena.dtype]
    node.storage = { buffer: storage.buffer, byteOffset, bytes: Math.max(4, node.bytes), release: () => {} }
    arena.node.parts = [...arena.node.parts, node]
    return new Tensor(this, node, contiguousLayout(shape))
  }

  /** @internal */
  materialise(node: Node): Storage {
    const storage = this.allocate(node.bytes, node)
    node.storage = storage
    this.own(node)
    return storage
  }

  /** @internal What is born in `fn` belongs to no scope. */
  outsideScopes<T>(fn: () => T): T {
    const scopes = this.scopes.splice(0)
    try {
      return fn()
    } finally {
      this.scopes.unshift(...scopes)
    }
  }

  /** @internal Frees a node's buffer. Its other views become unusable. */
  free(node: Node): void {
    if (!node.storage) return
    node.storage.release()
    node.storage = null
    node.disposed = true
    this.live.delete(node)
    for (const scope of this.scopes) scope.adopt(node)
  }

  /** @internal */
  enclosing(scope: Scope): Scope | undefined {
    const index = this.scopes.indexOf(scope)
    return index > 0 ? this.scopes[index - 1] : undefined
  }

  private throwFault(): void {
    this.waits.check()
    if (!this.fault) return
    const { fault } = this
    this.fault = null
    throw fault
  }

  /**
   * Throws what went wrong. A refused command is reported before its cause, so the cause is waited for; and no evaluation
   * counts as done before the driver has confirmed that there is memory behind every buffer.
   */
  private async check(): Promise<void> {
    if (this.fault) await this.waits.guard(() => this.encoder.reported())
    if (this.pool.isUnconfirmed) await this.waits.guard(() => this.pool.settled())
    if (!this.pool.isUnconfirmed) this.unconfirmed.clear()
    this.throwFault()
  }

  /** Lets the autotuner measure what it met, within the memory limit; the device may be lost meanwhile. */
  private async settle(): Promise<void> {
    if (!this.tuner) return
    const { memoryLimit, statistics } = this.pool
    await this.waits.promptly(this.tuner.settle(memoryLimit - statistics.allocatedBytes))
  }

  /** After an allocation failed: submits that used the buffer are dropped whole, so what they wrote is not known. */
  private distrust(error: OutOfMemoryError): void {
    for (const node of this.unconfirmed) node.invalidate('an evaluation it was part of ran out of memory')
    this.unconfirmed.clear()
    this.fault = error
    // The commands that used the buffer are refused, too. That is the consequence, this is the cause.
    this.consequences++
    const done = () => {
      this.consequences--
    }
    this.fence().then(done, done)
  }

  /** A buffer, and what the driver said if it had no memory for it. */
  private createBuffer(size: number, usage: GPUBufferUsageFlags): { gpu: GPUBuffer; failure: Promise<string | null> } {
    this.gpu.pushErrorScope('out-of-memory')
    const gpu = this.gpu.createBuffer({ size, usage })
    const failure = this.gpu.popErrorScope().then(
      (error) => error && error.message,
      () => null,
    )
    return { gpu, failure }
  }

  private fence(): Promise<void> {
    // What is encoded may use what is to be destroyed.
    this.encoder.flush()
    return this.waits.follow(this.gpu.queue.onSubmittedWorkDone())
  }

  private allocate(bytes: number, use: BufferUse): Storage {
    this.waits.check()
    const limit = this.limits.maxBufferSize
    if (bytes > limit) {
      throw new OutOfMemoryError(
        `A tensor of ${bytes} bytes exceeds what one buffer may hold on this adapter (${limit} bytes). ` +
          `Split it along its first axis, or use smaller batches.`,
      )
    }
    const buffer = this.pool.acquire(Math.max(16, bytes), use)
    return { buffer, byteOffset: 0, bytes: Math.max(4, bytes), release: () => this.pool.release(buffer) }
  }

  private upload(node: Node, data: readonly number[] | TensorInput, skip = 0): void {
    const { storage } = node
    this.waits.check()
    if (!storage || node.size === 0) return
    const bytes = encode(data, node.dtype)
    // What is encoded so far may use the buffer for its previous owner.
    this.encoder.flush()
    this.gpu.queue.writeBuffer(storage.buffer.gpu, storage.byteOffset + skip, bytes, 0, bytes.byteLength)
  }

  private run(tensors: readonly Tensor[], retainFor: readonly Tensor[]): void {
    // A command may have been refused because there is no memory for its buffers. That is known a little later.
    if (this.pool.isUnconfirmed) this.waits.check()
    else this.throwFault()
    for (const { device } of tensors) {
      if (device !== this) throw new ShapeError('A tensor of another device was given to eval().')
    }
    for (const { node } of tensors) {
      checkAlive(node)
      node.retained = false
    }
    const { now, later, writes, kernels, chosen } = this.evaluation(tensors, retainFor)
    if (now.length === 0 && writes.length === 0) return
    this.pendingWrites = []
    try {
      execute(kernels, chosen, new Set(now), this.host)
    } catch (error) {
      abandon(writes)
      throw error
    } finally {
      this.pool.endEvaluation()
    }
    for (const { root } of chosen)
      if (root.spec.kind === 'kernel' && root.spec.writes.length > 0) root.hasWritten = true
    // A computed value no longer needs what it was computed from.
    for (const node of now) node.inputs = []
    if (this.pool.isUnconfirmed) this.remember([...now, ...later, ...chosen.flatMap(({ root }) => writtenBy(root))])
  }

  /** What an evaluation has to do. */
  private evaluation(tensors: readonly Tensor[], retainFor: readonly Tensor[]): Evaluation {
    const now = tensors.map(({ node }) => node).filter((node) => !node.storage)
    const writes = this.pendingWrites
    const later = retainFor.map(({ node }) => node).filter((node) => !node.storage)
    if (now.length === 0 && writes.length === 0) return { now, later, writes, kernels: [], chosen: [] }
    const maxLeaves = this.options.fusion === false ? 0 : this.maxLeaves
    const kernels = schedule([...now, ...later], writes, maxLeaves, this.limits.maxStorageBufferBindingSize)
    const chosen = later.length === 0 ? kernels : reachable(kernels, [...now, ...writes])
    const again = chosen.find(({ root }) => root.hasWritten)?.root
    if (again?.spec.kind === 'kernel') {
      throw new TensorStateError(
        `An output of kernel '${again.spec.name}' is asked for after the kernel has run and written in place; running it again would write twice. ` +
          `Evaluate its outputs together with the first evaluation, or name them in retainFor.`,
      )
    }
    return { now, later, writes, kernels, chosen }
  }

  private rehearsal(tensors: readonly Tensor[], retainFor: readonly Tensor[]): Rehearsal {
    for (const { node } of tensors) checkAlive(node)
    const { now, kernels, chosen } = this.evaluation(tensors, retainFor)
    return rehearse(this.host, this.pool.rehearsal(this.encoder.anyBuffer), kernels, chosen, new Set(now))
  }

  private remember(nodes: readonly Node[]): void {
    for (const node of nodes) this.unconfirmed.add(node)
  }

  /** Makes a computed value last: until it is disposed, its scope ends, or (retained) its last use. */
  private own(node: Node): void {
    this.live.add(node)
    this.scopes.at(-1)?.track(node)
  }

  /** Gives a value's buffer back; the node can be computed again. */
  private drop(node: Node): void {
    node.storage?.release()
    node.storage = null
    node.retained = false
    if (this.live.delete(node)) for (const scope of this.scopes) scope.adopt(node)
  }
}

/** An evaluation before it runs. */
interface Evaluation {
  /** Nodes asked for that have no value yet. */
  readonly now: readonly Node[]
  /** Nodes that will be asked for. */
  readonly later: readonly Node[]
  readonly writes: readonly Node[]
  readonly kernels: readonly FusedKernel[]
  readonly chosen: readonly FusedKernel[]
}

/** After the whole contents of a node were replaced. */
function trust(node: Node): void {
  for (const written of [node, ...node.parts]) written.invalid = null
}

/** Forgets writes that did not run. What was built on their targets, before or after them, must be built again. */
function abandon(writes: readonly Node[]): void {
  for (const write of writes) {
    for (const target of writtenBy(write)) {
      if (!target.pendingWrites.includes(write)) continue
      target.pendingWrites = target.pendingWrites.filter((other) => other !== write)
      target.version++
    }
  }
}
