/**
 * From a file's bytes to a tensor, without a detour: 16-bit and 32-bit types go to the device as they lie in the file.
 */
import type { Device } from '../device/device.js'
import type { DType } from '../graph/shape.js'
import type { Tensor } from '../graph/tensor.js'
import { toFloat32, type SafetensorsTensor } from './dtypes.js'

/** Types that mean the same bytes in a file and on the device. */
const SAME: Readonly<Record<string, DType>> = { F32: 'f32', F16: 'f16', BF16: 'bf16', I32: 'i32', U32: 'u32' }

/**
 * A tensor of a safetensors file on the device.
 *
 * @param dtype Type to store it in; by default the file's, f32 where the device has no such type (64-bit, bytes).
 * @throws {SafetensorsError} the file's type has no conversion.
 */
export function uploadSafetensors(device: Device, tensor: SafetensorsTensor, dtype?: 'f32' | 'f16' | 'bf16'): Tensor {
  const { data, shape } = tensor
  const own = SAME[tensor.dtype]
  const wanted = dtype ?? own ?? 'f32'
  if (own !== wanted) return device.tensor(toFloat32(tensor), shape, wanted)
  const { buffer, byteOffset } =
    data.byteOffset % 4 === 0 ? data : { buffer: new Uint8Array(data).buffer, byteOffset: 0 }
  if (own === 'f16' || own === 'bf16') {
    return device.tensor(new Uint16Array(buffer, byteOffset, data.byteLength / 2), shape, own)
  }
  const Source = { f32: Float32Array, i32: Int32Array, u32: Uint32Array }[own as 'f32' | 'i32' | 'u32']
  return device.tensor(new Source(buffer, byteOffset, data.byteLength / 4), shape, own)
}
