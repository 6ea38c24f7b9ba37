/**
 * Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four words as a
 * pure function of a counter of four words and a key of two.
 */
import { generate, type NdArray } from '../ndarray.js'

type Words4 = readonly [number, number, number, number]

const multiplyHigh = (a: number, b: number) => Number((BigInt(a) * BigInt(b)) >> 32n)

/** Four random words. */
export function philox(counter: Words4, key: readonly [number, number]): Words4 {
  let [c0, c1, c2, c3]: Words4 = counter
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0)
    const high1 = multiplyHigh(0xcd9e8d57, c2)
    const low0 = Math.imul(0xd2511f53, c0) >>> 0
    const low1 = Math.imul(0xcd9e8d57, c2) >>> 0
    ;[c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0]
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [c0, c1, c2, c3]
}

export interface RandomReferenceOptions {
  /** Integer 0 ≤ seed < 2⁵³: the key is its low and high word. */
  readonly seed: number
  readonly stream?: number
}

/** Words of element i's block: counter (⌊i/4⌋, 0, stream, 0). */
function blockOf(index: number, { seed, stream = 0 }: RandomReferenceOptions): Words4 {
  return philox([Math.floor(index / 4), 0, stream, 0], [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0])
}

/** The upper 24 bits as a number in [0, 1). */
export function unitFloat(bits: number): number {
  return (bits >>> 8) * 2 ** -24
}

/** Uniform numbers in [0, 1). */
export function randomUniform(shape: readonly number[], options: RandomReferenceOptions): NdArray {
  return generate(shape, (index) => unitFloat(blockOf(index, options)[index % 4] ?? 0))
}

/** Standard normal numbers: Box–Muller on the pairs (0, 1) and (2, 3) of a block, cosine first. */
export function randomNormal(shape: readonly number[], options: RandomReferenceOptions): NdArray {
  return generate(shape, (index) => {
    const words = blockOf(index, options)
    const first = (index % 4) & 2
    const radius = Math.sqrt(-2 * Math.log(1 - unitFloat(words[first] ?? 0)))
    const angle = 2 * Math.PI * unitFloat(words[first + 1] ?? 0)
    return radius * (index % 2 === 0 ? Math.cos(angle) : Math.sin(angle))
  })
}
