/**
 * WebGPU for libraries written for browsers: they look for `navigator.gpu`. The object `create()` returns hangs there for
 * the life of the process, as Dawn needs it to.
 */
import { create, globals } from 'webgpu'

export async function installWebGpu() {
  Object.assign(globalThis, globals)
  const gpu = create([])
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'node' }, configurable: true })
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter) throw new Error('no WebGPU adapter')
  const { description, device } = adapter.info
  return { gpu, adapter: description || device }
}
