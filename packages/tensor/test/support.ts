/**
 * What tests of devices share.
 */
import { afterEach } from 'vitest'
import { createDevice, type Device, type DeviceOptions } from '../src/index.js'

/** Opens devices that live until the end of the test they were opened in. */
export function deviceOpener(): (options?: DeviceOptions) => Promise<Device> {
  const opened: Device[] = []
  afterEach(() => {
    for (const device of opened.splice(0)) device.destroy()
  })
  return async (options = {}) => {
    const device = await createDevice(options)
    opened.push(device)
    return device
  }
}

/**
 * A driver that has no memory left, which no software driver can be made to be: from now on buffers of at least `bytes`
 * are really unusable, and their error scopes say so. Returns what ends that.
 */
export function refuseBuffers(device: Device, bytes: number): () => void {
  const { gpu } = device
  const create = gpu.createBuffer.bind(gpu)
  const pop = gpu.popErrorScope.bind(gpu)
  let refused = false
  const createBuffer = (descriptor: GPUBufferDescriptor) => {
    if (descriptor.size < bytes) return create(descriptor)
    refused = true
    gpu.pushErrorScope('validation')
    // Usages that may not go together: the buffer is invalid, as one without memory is.
    const buffer = create({ ...descriptor, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE })
    pop().catch(() => null)
    return buffer
  }
  const popErrorScope = () => {
    const error = pop()
    if (!refused) return error
    refused = false
    return error.then(() => new GPUOutOfMemoryError('injected'))
  }
  Object.assign(gpu, { createBuffer, popErrorScope })
  return () => {
    Object.assign(gpu, { createBuffer: create, popErrorScope: pop })
  }
}
