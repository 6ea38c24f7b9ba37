/** Cutting a batch into pieces that fit into memory. The loss makes the gradient independent of the cut. */

/**
 * Indices of sequences, shortest first, in pieces whose padded size (count × longest) is within the budget. A sequence
 * longer than the budget gets a piece of its own.
 *
 * @param lengths prompt plus completion tokens of each sequence
 */
export function microBatches(lengths: readonly number[], tokenBudget: number): number[][] {
  const order = lengths
    .map((_, index) => index)
    .sort((a, b) => (lengths[a] as number) - (lengths[b] as number) || a - b)
  const pieces: number[][] = []
  let piece: number[] = []
  for (const index of order) {
    // Sorted, so the newcomer is the longest.
    if (piece.length > 0 && (piece.length + 1) * (lengths[index] as number) > tokenBudget) {
      pieces.push(piece)
      piece = []
    }
    piece.push(index)
  }
  return piece.length > 0 ? [...pieces, piece] : pieces
}

/** Cuts a list into `parts` pieces whose sizes differ by at most one; empty pieces are left out. */
export function evenParts<Item>(items: readonly Item[], parts: number): Item[][] {
  const edge = (part: number) => Math.floor((part * items.length) / parts)
  return Array.from({ length: parts }, (_, part) => items.slice(edge(part), edge(part + 1))).filter(
    (piece) => piece.length > 0,
  )
}
