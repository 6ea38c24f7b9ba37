/** Hashes of runs of 32-bit numbers; whoever looks up by one compares what it stands for. */

/** The hash of what `hash` stands for, followed by `word`. */
export function mixed(hash: number, word: number): number {
  return Math.imul(((hash << 5) | (hash >>> 27)) ^ word, 0x9e3779b1)
}
