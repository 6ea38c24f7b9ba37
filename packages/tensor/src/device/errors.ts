/**
 * Every way the GPU can fail, as one small family of error types. Errors on WebGPU are asynchronous: what goes wrong in
 * a submit is reported at the next `read`, `sync` or `eval`.
 */

/** No usable adapter: no driver, too old a driver, or the binding could not be loaded. */
export class AdapterError extends Error {
  override readonly name = 'AdapterError'
}

/** The device is gone (driver reset, `destroy()`, unplugged). Every pending and later operation rejects with this. */
export class DeviceLostError extends Error {
  override readonly name = 'DeviceLostError'
  constructor(readonly reason: string) {
    super(
      `The WebGPU device was lost (${reason}). Its tensors are gone; create a new device and load the last checkpoint.`,
    )
  }
}

/** The GPU could not allocate what a step needed. */
export class OutOfMemoryError extends Error {
  override readonly name = 'OutOfMemoryError'
}

/** A command was refused by WebGPU's validation: a bug in a kernel or in this library, never ignored. */
export class GpuValidationError extends Error {
  override readonly name = 'GpuValidationError'
}

/** A tensor was used in a way its state does not allow: disposed, or overwritten since the graph was built. */
export class TensorStateError extends Error {
  override readonly name = 'TensorStateError'
}

/** Shapes, axes or dtypes do not fit together. */
export class ShapeError extends Error {
  override readonly name = 'ShapeError'
}
