/** A file that is not valid safetensors, or values that a type cannot hold. */
export class SafetensorsError extends Error {
  override readonly name = 'SafetensorsError'
}
