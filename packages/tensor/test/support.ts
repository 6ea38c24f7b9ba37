/**
 * A driver that has no memory left, which no software driver can be made to be: buffers from a size on are really
 * unusable, and their error scopes say so.
 */
import type { Device } from '../src/index.js'

/** From now on the driver refuses buffers of at least `bytes`. Returns what ends that. */
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
