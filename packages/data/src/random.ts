/**
 * Seeded random numbers keyed by integers. The one idea: a generator is made from all that should decide its numbers
 * (seed, row index, purpose), so that row i of a stream never depends on the rows before it.
 *
 * The keys are mixed by MurmurHash3's 32-bit finaliser; the numbers come from sfc32 (Chris Doty-Humphrey, PractRand).
 */

export interface Random {
  /** Uniform in [0, 1), 53 bits. */
  uniform(): number
  /** Uniform integer in [0, bound). */
  below(bound: number): number
  /** Uniform element of a list that is not empty. */
  pick<Item>(items: readonly Item[]): Item
  /** A shuffled copy (Fisher–Yates). */
  shuffle<Item>(items: readonly Item[]): Item[]
}

/** A generator that depends on the keys and nothing else. Keys are integers; 53 bits of each count. */
export function createRandom(...keys: readonly number[]): Random {
  const seed = [0x9e3779b9, 0x243f6a88, 0xb7e15162, 0xdeadbeef]
  for (const key of keys) {
    if (!Number.isSafeInteger(key)) throw new RangeError(`A random key must be a safe integer, not ${key}.`)
    for (const word of [key | 0, Math.floor(key / 2 ** 32) | 0]) {
      for (let lane = 0; lane < 4; lane++)
        seed[lane] = mix((seed[lane] as number) ^ Math.imul(word, 0x9e3779b1 + 2 * lane) ^ lane)
    }
  }
  let [a, b, c, counter] = seed as [number, number, number, number]
  const next = () => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + sum
    return sum >>> 0
  }
  for (let round = 0; round < 12; round++) next()

  const uniform = () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53
  const below = (bound: number) => Math.floor(uniform() * bound)
  return {
    uniform,
    below,
    pick(items) {
      if (items.length === 0) throw new RangeError('Cannot pick from an empty list.')
      return items[below(items.length)] as (typeof items)[number]
    },
    shuffle(items) {
      const shuffled = [...items]
      for (let i = shuffled.length - 1; i > 0; i--) {
        const j = below(i + 1)
        const swap = shuffled[i] as (typeof items)[number]
        shuffled[i] = shuffled[j] as (typeof items)[number]
        shuffled[j] = swap
      }
      return shuffled
    },
  }
}

function mix(word: number): number {
  let h = word ^ (word >>> 16)
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return h ^ (h >>> 16)
}
