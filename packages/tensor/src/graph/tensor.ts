/**
 * The tensor users hold: a layout over a node, a place on the tape, and the operations as methods.
 */
import type { Origin } from '../autograd/tape.js'
import type { Device } from '../device/device.js'
import { ShapeError, TensorStateError } from '../device/errors.js'
import * as elementwise from '../ops/elementwise.js'
import type { Operand } from '../ops/elementwise.js'
import { matmul } from '../ops/matmul.js'
import * as reduce from '../ops/reduce.js'
import type { Axes } from '../ops/reduce.js'
import * as views from '../ops/view.js'
import type { Node } from './node.js'
import { bytesPerElement, isContiguous, isQuantised, sizeOf, type DType, type Layout, type Shape } from './shape.js'

export class Tensor {
  readonly size: number
  requiresGrad = false
  /** @internal */
  origin: Origin | null = null

  /** @internal Made by a device or an operation. */
  constructor(
    readonly device: Device,
    readonly node: Node,
    readonly layout: Layout,
  ) {
    this.size = sizeOf(layout.shape)
  }

  get shape(): Shape {
    return this.layout.shape
  }

  get rank(): number {
    return this.layout.shape.length
  }

  get dtype(): DType {
    return this.node.dtype
  }

  get label(): string | undefined {
    return this.node.label
  }

  /** Names the tensor in leak lists and errors. */
  named(label: string): this {
    this.node.label = label
    return this
  }

  /** Values in row-major order. Evaluates the tensor if need be. */
  async read(): Promise<Float32Array | Int32Array | Uint32Array> {
    const [values] = await this.device.read([this])
    if (!values) throw new TensorStateError('read(): no value came back.')
    return values
  }

  /** The value of a tensor with one element. */
  async item(): Promise<number> {
    if (this.size !== 1)
      throw new TensorStateError(`item(): the tensor has ${this.size} elements, not one; use read().`)
    return (await this.read())[0] ?? NaN
  }

  /** Frees the buffer. Every view of the same value becomes unusable. */
  dispose(): void {
    this.device.free(this.node)
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** The same value off the tape. */
  detached(requiresGrad = false): Tensor {
    const tensor = new Tensor(this.device, this.node, this.layout)
    tensor.requiresGrad = requiresGrad
    return tensor
  }

  /** @internal This tensor, or a copy the host can read as one run of bytes. */
  materialisable(): Tensor {
    const aligned = !isQuantised(this.dtype) && (this.layout.offset * bytesPerElement[this.dtype]) % 4 === 0
    return isContiguous(this.layout) && aligned ? this : elementwise.copy(this.detached())
  }

  add(other: Operand): Tensor {
    return elementwise.add(this, other)
  }
  sub(other: Operand): Tensor {
    return elementwise.sub(this, other)
  }
  mul(other: Operand): Tensor {
    return elementwise.mul(this, other)
  }
  div(other: Operand): Tensor {
    return elementwise.div(this, other)
  }
  neg(): Tensor {
    return elementwise.neg(this)
  }
  exp(): Tensor {
    return elementwise.exp(this)
  }
  log(): Tensor {
    return elementwise.log(this)
  }
  square(): Tensor {
    return elementwise.square(this)
  }
  cast(dtype: DType): Tensor {
    return elementwise.cast(this, dtype)
  }
  sum(axes?: Axes, keepDims?: boolean): Tensor {
    return reduce.sum(this, axes, keepDims)
  }
  mean(axes?: Axes, keepDims?: boolean): Tensor {
    return reduce.mean(this, axes, keepDims)
  }
  max(axes?: Axes, keepDims?: boolean): Tensor {
    return reduce.max(this, axes, keepDims)
  }
  min(axes?: Axes, keepDims?: boolean): Tensor {
    return reduce.min(this, axes, keepDims)
  }
  matmul(other: Tensor): Tensor {
    return matmul(this, other)
  }
  reshape(shape: Shape): Tensor {
    return views.reshape(this, shape)
  }
  permute(axes: readonly number[]): Tensor {
    return views.permute(this, axes)
  }
  transpose(): Tensor {
    return views.transpose(this)
  }
  expand(shape: Shape): Tensor {
    return views.expand(this, shape)
  }
  slice(axis: number, start: number, end?: number): Tensor {
    return views.slice(this, axis, start, end)
  }
  unsqueeze(axis: number): Tensor {
    return views.unsqueeze(this, axis)
  }
  squeeze(axis?: number): Tensor {
    return views.squeeze(this, axis)
  }
}

/**
 * The device all tensors live on.
 *
 * @throws {ShapeError} they live on several, or there are none.
 */
export function deviceOf(tensors: readonly Tensor[], what: string): Device {
  const [first] = tensors
  if (!first) throw new ShapeError(`${what}: no tensor was given, so there is no device to run on.`)
  for (const { device } of tensors) {
    if (device === first.device) continue
    throw new ShapeError(
      `${what}: the operands live on different devices. Read one and upload it to the other's device.`,
    )
  }
  return first.device
}
