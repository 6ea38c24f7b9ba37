/** Near-miss suggestions: the allowed word a mistyped one most likely meant. */

/** Edits (insert, delete, replace, swap of neighbours) from one word to the other. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = Array.from({ length: a.length + 1 }, (_, i) => [i])
  const at = (i: number, j: number) => rows[i]?.[j] ?? Infinity
  for (let j = 1; j <= b.length; j++) (rows[0] as number[])[j] = j
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const replace = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(i - 2, j - 2) + 1 : Infinity
      ;(rows[i] as number[])[j] = Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, replace, swap)
    }
  }
  return at(a.length, b.length)
}

/** `word`'s likely meaning among `allowed`, or undefined when nothing is near. */
export function nearest(word: string, allowed: readonly string[]): string | undefined {
  const plain = (text: string) => text.toLowerCase().replace(/[-_\s]/g, '')
  const scored = allowed.map((candidate) => ({ candidate, distance: editDistance(plain(word), plain(candidate)) }))
  scored.sort((a, b) => a.distance - b.distance)
  const best = scored[0]
  return best && best.distance <= Math.max(1, Math.floor(best.candidate.length / 3)) ? best.candidate : undefined
}

/** ` Did you mean 'x'?`, or nothing. */
export function didYouMean(word: string, allowed: readonly string[]): string {
  const best = nearest(word, allowed)
  return best === undefined ? '' : ` Did you mean '${best}'?`
}
