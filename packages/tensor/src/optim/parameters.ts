/**
 * The parameters of a model in a few flat arenas: values, gradients and the two moments of AdamW, each one buffer (more
 * only when one would exceed what a binding can hold). Updating all tensors is then one kernel, their global norm one
 * reduction, and saving them one read.
 */
import type { Device } from '../device/device.js'
import { ShapeError } from '../device/errors.js'
import { sizeOf, type Shape } from '../graph/shape.js'
import type { Tensor } from '../graph/tensor.js'
import { assign } from '../ops/assign.js'
import { add, mul } from '../ops/elementwise.js'
import { sum } from '../ops/reduce.js'
import { Arena, BLOCK } from './arena.js'

export interface ParameterSpec {
  readonly name: string
  readonly shape: Shape
  /** Parameters of a group are frozen and trained together. Default `default`. */
  readonly group?: string
  /** Whether decoupled weight decay applies; by default to tensors of rank ≥ 2. */
  readonly decay?: boolean
}

interface Parameter {
  readonly spec: ParameterSpec
  readonly arena: number
  readonly offset: number
  readonly size: number
  readonly value: Tensor
  /** Where its gradient is held, once one is. */
  gradient: Tensor | null
  /** Its moments, once it has been updated by itself. */
  moments: readonly [Tensor, Tensor] | null
}

/** What updating one parameter needs. */
export interface ParameterState {
  readonly value: Tensor
  readonly firstMoment: Tensor
  readonly secondMoment: Tensor
  readonly size: number
  readonly learns: boolean
  readonly decays: boolean
}

const decays = ({ decay, shape }: ParameterSpec) => decay ?? shape.length >= 2

export class ParameterSet {
  /** @internal */
  readonly arenas: readonly Arena[]
  private readonly parameters = new Map<string, Parameter>()
  private trainableGroups: ReadonlySet<string>

  /**
   * @throws {ShapeError} two parameters share a name, or one exceeds the largest buffer.
   */
  constructor(
    readonly device: Device,
    specs: readonly ParameterSpec[],
  ) {
    const largest = Math.floor(device.limits.maxBufferSize / 4)
    const limit = Math.min(largest, Math.floor(device.limits.maxStorageBufferBindingSize / 4))
    const places: { spec: ParameterSpec; arena: number; offset: number; size: number }[] = []
    const sizes: number[] = []
    for (const spec of specs) {
      const size = sizeOf(spec.shape)
      const padded = Math.ceil(size / BLOCK) * BLOCK
      if (padded > largest) {
        throw new ShapeError(
          `Parameter '${spec.name}' [${spec.shape.join(', ')}] takes ${padded * 4} bytes; one buffer of this adapter holds ${largest * 4}.`,
        )
      }
      const last = sizes.length - 1
      if (last < 0 || (sizes[last] ?? 0) + padded > limit) sizes.push(0)
      const arena = sizes.length - 1
      places.push({ spec, arena, offset: sizes[arena] ?? 0, size })
      sizes[arena] = (sizes[arena] ?? 0) + padded
    }
    this.arenas = sizes.map((size, index) => new Arena(device, size, index))
    for (const place of places) {
      const { spec, arena: index, offset } = place
      if (this.parameters.has(spec.name)) throw new ShapeError(`Two parameters are named '${spec.name}'.`)
      const arena = this.arenas[index]
      if (!arena) throw new Error('Internal: parameter without arena.')
      const value = device.place(arena.value, offset, spec.shape).named(spec.name)
      value.requiresGrad = true
      this.parameters.set(spec.name, { ...place, value, gradient: null, moments: null })
    }
    this.trainableGroups = new Set(this.groups)
    this.writeFlags()
  }

  get names(): string[] {
    return [...this.parameters.keys()]
  }

  get groups(): string[] {
    return [...new Set([...this.parameters.values()].map(({ spec }) => spec.group ?? 'default'))]
  }

  /** Number of elements of all parameters, without padding. */
  get count(): number {
    return [...this.parameters.values()].reduce((total, { size }) => total + size, 0)
  }

  /** The parameter as a tensor; it wants a gradient unless its group is frozen. */
  get(name: string): Tensor {
    return this.find(name).value
  }

  shape(name: string): Shape {
    return this.find(name).spec.shape
  }

  has(name: string): boolean {
    return this.parameters.has(name)
  }

  /** Names of the parameters that learn. */
  get trainable(): string[] {
    return this.names.filter((name) => this.trainableGroups.has(this.find(name).spec.group ?? 'default'))
  }

  /** Freezes every group but the given ones. */
  setTrainable(groups: readonly string[] | 'all'): void {
    const known = this.groups
    const wanted = groups === 'all' ? known : groups
    for (const group of wanted) {
      if (!known.includes(group)) {
        throw new ShapeError(`setTrainable(): there is no parameter group '${group}'; there are ${known.join(', ')}.`)
      }
    }
    this.trainableGroups = new Set(wanted)
    for (const { spec, value } of this.parameters.values()) {
      value.requiresGrad = this.trainableGroups.has(spec.group ?? 'default')
    }
    this.writeFlags()
  }

  /** Adds a gradient to the one held; runs with the next evaluation. */
  accumulate(name: string, gradient: Tensor): void {
    const held = this.gradient(name)
    assign(held, add(held, gradient))
  }

  gradient(name: string): Tensor {
    const parameter = this.find(name)
    const { arena, offset, spec } = parameter
    parameter.gradient ??= this.device
      .place(this.arenaAt(arena).gradient, offset, spec.shape)
      .named(`gradient of ${name}`)
    return parameter.gradient
  }

  /** @internal The parameter with its moments, for an update of it alone. */
  state(name: string): ParameterState {
    const parameter = this.find(name)
    const { spec, arena: index, offset, size, value } = parameter
    const arena = this.arenaAt(index)
    const place = (within: Tensor) => this.device.place(within, offset, spec.shape)
    parameter.moments ??= [place(arena.moments[0]), place(arena.moments[1])]
    const [firstMoment, secondMoment] = parameter.moments
    return { value, firstMoment, secondMoment, size, learns: this.learns(spec), decays: decays(spec) }
  }

  /** @internal Where in its arena a parameter lies. */
  placeOf(name: string): { arena: Arena; offset: number; size: number; value: Tensor; learns: boolean } {
    const { spec, arena, offset, size, value } = this.find(name)
    return { arena: this.arenaAt(arena), offset, size, value, learns: this.learns(spec) }
  }

  zeroGrad(): void {
    for (const arena of this.arenas) if (arena.hasGradient) this.device.clear(arena.gradient)
  }

  /** Global L2 norm of the gradients held. */
  async gradNorm(): Promise<number> {
    const held = this.arenas.filter(({ hasGradient }) => hasGradient)
    const squares = held.map(({ gradient }) => sum(mul(gradient, gradient)))
    const values = await this.device.read(squares)
    for (const square of squares) square.dispose()
    return Math.sqrt(values.reduce((total, value) => total + (value[0] ?? NaN), 0))
  }

  /** Replaces the value of a parameter. */
  write(name: string, data: Float32Array): void {
    this.device.write(this.find(name).value, data)
  }

  /** Replaces the values from element `offset` on, so that a large parameter need not be on the host at once. */
  writeRange(name: string, offset: number, data: Float32Array): void {
    this.device.writeBytes(
      this.find(name).value,
      offset * 4,
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    )
  }

  /** Values of all parameters by name. */
  values(): Promise<Map<string, Float32Array>> {
    return this.readArenas((arena) => arena.value)
  }

  /** @internal Reads one kind of arena, cut into parameters. */
  async readArenas(pick: (arena: Arena) => Tensor): Promise<Map<string, Float32Array>> {
    return this.cut((await this.device.read(this.arenas.map(pick))) as Float32Array[])
  }

  /** @internal Contents of all arenas, cut into parameters. */
  cut(contents: readonly Float32Array[]): Map<string, Float32Array> {
    const result = new Map<string, Float32Array>()
    for (const [name, { arena, offset, size }] of this.parameters) {
      result.set(name, Float32Array.from((contents[arena] ?? new Float32Array()).subarray(offset, offset + size)))
    }
    return result
  }

  /** @internal Replaces the contents of one kind of arena. */
  writeArenas(pick: (arena: Arena) => Tensor, values: ReadonlyMap<string, Float32Array>): void {
    const contents = this.joined(values)
    this.arenas.forEach((arena, index) => this.device.write(pick(arena), contents[index] ?? new Float32Array()))
  }

  /** @internal Values by name as the contents of all arenas. */
  joined(values: ReadonlyMap<string, Float32Array>): Float32Array<ArrayBuffer>[] {
    const contents = this.arenas.map(({ size }) => new Float32Array(size))
    for (const [name, { arena, offset, size }] of this.parameters) {
      const data = values.get(name)
      if (!data || data.length !== size) {
        throw new ShapeError(`'${name}' needs ${size} values, ${data ? data.length : 'none'} were given.`)
      }
      contents[arena]?.set(data, offset)
    }
    return contents
  }

  dispose(): void {
    for (const arena of this.arenas) arena.dispose()
  }

  private learns({ group = 'default' }: ParameterSpec): boolean {
    return this.trainableGroups.has(group)
  }

  private arenaAt(index: number): Arena {
    const arena = this.arenas[index]
    if (!arena) throw new Error(`Internal: there is no arena ${index}.`)
    return arena
  }

  private find(name: string): Parameter {
    const parameter = this.parameters.get(name)
    if (parameter) return parameter
    throw new ShapeError(`There is no parameter '${name}'; names look like '${this.names.slice(0, 3).join("', '")}'.`)
  }

  private writeFlags(): void {
    const flags = this.arenas.map(({ size }) => new Float32Array((size / BLOCK) * 2))
    for (const { spec, arena, offset, size } of this.parameters.values()) {
      const pair = [this.learns(spec) ? 1 : 0, decays(spec) ? 1 : 0]
      for (let block = offset / BLOCK; block < Math.ceil((offset + size) / BLOCK); block++) {
        flags[arena]?.set(pair, block * 2)
      }
    }
    this.arenas.forEach((arena, index) => this.device.write(arena.flags, flags[index] ?? new Float32Array()))
  }
}
