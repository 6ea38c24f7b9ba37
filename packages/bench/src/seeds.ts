/**
 * A seed per request that depends on the run's seed, the row and the sample number only: the same answer is drawn
 * whatever the batch size, the order, or how many rows are run. FNV-1a over the text, then MurmurHash3's finaliser.
 */
export function requestSeed(seed: number, rowId: string, sample: number): number {
  let h = 0x811c9dc5
  for (const byte of new TextEncoder().encode(`${seed}\n${rowId}\n${sample}`)) h = Math.imul(h ^ byte, 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
