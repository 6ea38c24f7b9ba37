import { createHash } from 'node:crypto'

/** A 32-bit seed for one purpose, such as `deriveSeed(seed, 'data', stage, source)`: independent of all others. */
export function deriveSeed(seed: number, ...purpose: readonly (string | number)[]): number {
  return createHash('sha256')
    .update(JSON.stringify([seed, ...purpose]))
    .digest()
    .readUInt32LE(0)
}
