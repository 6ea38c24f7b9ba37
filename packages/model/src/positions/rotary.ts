/**
 * Cosine and sine tables of the rotary embeddings, computed in f64 on the host and stored as f32: WGSL's `cos` and `sin`
 * are only accurate near [−π, π].
 */
import type { MropeLayout, TextArchitecture } from '../config/architecture.js'

export interface RotaryTable {
  /** [T, headSize / 2] each. */
  readonly cos: Float32Array
  readonly sin: Float32Array
}

/** For each frequency the component of (t, h, w) it turns with. */
const mropeComponents: Record<MropeLayout, (sections: readonly number[]) => number[]> = {
  chunked: (sections) => sections.flatMap((size, component) => new Array<number>(size).fill(component)),
  // t h w t h w …: h and w own every third frequency up to three times their number, t the rest and the tail.
  interleaved: (sections) => {
    const total = sections.reduce((sum, size) => sum + size, 0)
    return Array.from({ length: total }, (_, j) => {
      const component = j % 3
      return component > 0 && j < 3 * (sections[component] as number) ? component : 0
    })
  },
}

type FrequencyPrecision = 'exact' | 'bf16'

/** Nearest bf16, halves to even. */
function toBfloat16(value: number): number {
  const word = new Uint32Array(Float32Array.of(value).buffer)
  const bits = word[0] as number
  word[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000
  return new Float32Array(word.buffer)[0] as number
}

const roundFrequency: Record<FrequencyPrecision, (frequency: number) => number> = {
  exact: (frequency) => frequency,
  bf16: toBfloat16,
}

type TextRope = Pick<TextArchitecture, 'headSize' | 'ropeTheta' | 'mropeSections' | 'mropeLayout'>

/** Tables for tokens at M-RoPE positions, from rows computed once per position. Frequency j is θ^(−2j/headSize). */
export class TextRotary {
  readonly #half: number
  readonly #frequencies: readonly number[]
  readonly #components: readonly number[]
  #known = 0
  #cos = new Float32Array(0)
  #sin = new Float32Array(0)

  constructor(text: TextRope, precision: FrequencyPrecision = 'exact') {
    const half = text.headSize / 2
    this.#half = half
    this.#frequencies = Array.from({ length: half }, (_, j) => roundFrequency[precision](text.ropeTheta ** (-j / half)))
    this.#components = mropeComponents[text.mropeLayout](text.mropeSections)
  }

  /** @param positions [3, T]: all t positions, then h, then w. */
  table(positions: Int32Array): RotaryTable {
    const half = this.#half
    const tokens = positions.length / 3
    this.#grow(positions.reduce((largest, position) => Math.max(largest, position), 0) + 1)
    const cos = new Float32Array(tokens * half)
    const sin = new Float32Array(tokens * half)
    for (let token = 0; token < tokens; token++) {
      for (let j = 0; j < half; j++) {
        const position = positions[(this.#components[j] as number) * tokens + token] as number
        cos[token * half + j] = this.#cos[position * half + j] as number
        sin[token * half + j] = this.#sin[position * half + j] as number
      }
    }
    return { cos, sin }
  }

  #grow(positions: number): void {
    if (positions <= this.#known) return
    const half = this.#half
    const known = Math.max(positions, 2 * this.#known, 256)
    const cos = new Float32Array(known * half)
    const sin = new Float32Array(known * half)
    for (let position = 0; position < known; position++) {
      for (let j = 0; j < half; j++) {
        const angle = position * (this.#frequencies[j] as number)
        cos[position * half + j] = Math.cos(angle)
        sin[position * half + j] = Math.sin(angle)
      }
    }
    this.#known = known
    this.#cos = cos
    this.#sin = sin
  }
}

/**
 * 2D table for patches: the first half of the frequencies turns with y, the second with x; frequency j of each is
 * θ^(−4j/headSize).
 * @param coordinates [N, 2] patch coordinates (y, x).
 */
export function visionRotary(
  coordinates: Int32Array,
  headSize: number,
  theta: number,
  precision: FrequencyPrecision = 'exact',
): RotaryTable {
  const patches = coordinates.length / 2
  const half = headSize / 2
  const quarter = headSize / 4
  const cos = new Float32Array(patches * half)
  const sin = new Float32Array(patches * half)
  for (let j = 0; j < half; j++) {
    const frequency = roundFrequency[precision](theta ** (-(j % quarter) / quarter))
    const axis = j < quarter ? 0 : 1
    for (let patch = 0; patch < patches; patch++) {
      const angle = (coordinates[patch * 2 + axis] as number) * frequency
      cos[patch * half + j] = Math.cos(angle)
      sin[patch * half + j] = Math.sin(angle)
    }
  }
  return { cos, sin }
}
