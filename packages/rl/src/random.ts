/**
 * Random numbers without hidden state: a stream is a pure function of a seed and some labels (stage, step, purpose), so a
 * resumed run draws what an undisturbed one would have drawn, and nothing random has to be saved. Generator: Philox 4x32-10
 * (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), keyed by a hash of seed and labels.
 */

/** A stream of uniform numbers. It lives for one decision; make it anew from its labels instead of keeping it. */
export interface Random {
  /** Uniform in [0, 1) with 53 random bits. */
  uniform(): number
  /** Uniform integer in [0, n). */
  below(n: number): number
}

export type RandomLabel = string | number

type Words = readonly [number, number, number, number]

/** High 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16
  const aLow = a & 0xffff
  const bHigh = b >>> 16
  const bLow = b & 0xffff
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const carry = (middle & 0xffff) + aLow * bHigh
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0
}

/** One Philox 4x32-10 block: four 32-bit words from a counter and a key. */
export function philox(counter: Words, key: readonly [number, number]): Words {
  let [a, b, c, d] = counter
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const low0 = Math.imul(a, 0xd2511f53) >>> 0
    const high0 = multiplyHigh(a, 0xd2511f53)
    const low1 = Math.imul(c, 0xcd9e8d57) >>> 0
    const high1 = multiplyHigh(c, 0xcd9e8d57)
    a = (high1 ^ b ^ k0) >>> 0
    b = low1
    c = (high0 ^ d ^ k1) >>> 0
    d = low0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [a, b, c, d]
}

/** Two 32-bit lanes over the labels' JSON text, which keeps `1` and `'1'` apart. */
function keyOf(seed: number, labels: readonly RandomLabel[]): readonly [number, number] {
  if (!Number.isFinite(seed)) throw new RangeError(`The seed is ${seed}; allowed: a finite number.`)
  const text = JSON.stringify([seed, ...labels])
  let first = 0x811c9dc5
  let second = 0x9747b28c
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    first = Math.imul(first ^ code, 0x01000193)
    second = Math.imul(second ^ code, 0x85ebca6b)
    second ^= second >>> 13
  }
  return [first >>> 0, second >>> 0]
}

/** The stream of a purpose, e.g. `createRandom(seed, 'pad', stage, step)`. */
export function createRandom(seed: number, ...labels: readonly RandomLabel[]): Random {
  const key = keyOf(seed, labels)
  let block = 0
  let words: Words = [0, 0, 0, 0]
  let used = 4
  const word = () => {
    if (used === 4) {
      words = philox([block >>> 0, Math.floor(block / 0x100000000), 0, 0], key)
      block++
      used = 0
    }
    return words[used++] as number
  }
  const uniform = () => ((word() >>> 5) * 0x4000000 + (word() >>> 6)) / 2 ** 53
  return { uniform, below: (n) => Math.floor(uniform() * n) }
}

/** An unsigned 32-bit seed for a part of the work, e.g. of one sample request. */
export function deriveSeed(seed: number, ...labels: readonly RandomLabel[]): number {
  return philox([0, 0, 0, 0], keyOf(seed, labels))[0]
}

/** A shuffled copy (Fisher–Yates). */
export function shuffle<Item>(items: readonly Item[], random: Random): Item[] {
  const result = [...items]
  for (let last = result.length - 1; last > 0; last--) {
    const other = random.below(last + 1)
    ;[result[last], result[other]] = [result[other] as Item, result[last] as Item]
  }
  return result
}

function checkWeights(weights: readonly number[]): void {
  const wrong = weights.findIndex((weight) => !(weight >= 0 && weight < Infinity))
  if (wrong >= 0) throw new RangeError(`Weight ${wrong} is ${weights[wrong]}; allowed: finite numbers ≥ 0.`)
}

/**
 * `count` different indices, drawn one after the other in proportion to the weights of those left. When all weight is used
 * up the rest is drawn uniformly. Exponential keys (Efraimidis and Spirakis 2006): the smallest −ln(u)/w win.
 */
export function chooseWithoutReplacement(weights: readonly number[], count: number, random: Random): number[] {
  checkWeights(weights)
  if (!(count <= weights.length)) {
    throw new RangeError(
      `Cannot draw ${count} of ${weights.length} without replacement; ask for at most ${weights.length}.`,
    )
  }
  const keyed = weights.map((weight, index) => {
    const exponential = -Math.log(1 - random.uniform())
    // The logarithm of the key: the quotient itself overflows for tiny weights.
    return { index, exponential, key: weight > 0 ? Math.log(exponential) - Math.log(weight) : Infinity }
  })
  keyed.sort((a, b) => (a.key === b.key ? a.exponential - b.exponential || a.index - b.index : a.key - b.key))
  return keyed.slice(0, count).map(({ index }) => index)
}

/** `count` indices, each drawn in proportion to the weights; all weights zero means uniformly. */
export function chooseWithReplacement(weights: readonly number[], count: number, random: Random): number[] {
  checkWeights(weights)
  if (weights.length === 0 && count > 0) throw new RangeError(`Cannot draw ${count} of an empty list.`)
  const cumulative: number[] = []
  let total = 0
  for (const weight of weights) cumulative.push((total += weight))
  return Array.from({ length: count }, () => {
    if (total === 0) return random.below(weights.length)
    const point = random.uniform() * total
    const found = cumulative.findIndex((edge) => point < edge)
    return found < 0 ? weights.findLastIndex((weight) => weight > 0) : found
  })
}
