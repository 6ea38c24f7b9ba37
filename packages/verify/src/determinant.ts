/** Determinants as expressions, so that they are computed like any other: exactly, or at a point. */
import { binary, type Node, whole } from './ast.js'

/** Largest matrix that is expanded. */
const MOST_ROWS = 5

type Rows = readonly (readonly Node[])[]

/** Expansion along the first row; null for what is no square matrix of at most {@link MOST_ROWS} rows. */
export function determinant(matrix: Node | undefined): Node | null {
  if (matrix?.kind !== 'matrix' || matrix.rows.length > MOST_ROWS) return null
  return matrix.rows.some((row) => row.length !== matrix.rows.length) ? null : expanded(matrix.rows)
}

function expanded([first, ...rest]: Rows): Node {
  if (first === undefined) return whole(1n)
  return first.reduce<Node>((total, factor, column) => {
    const minor = rest.map((row) => row.filter((_, c) => c !== column))
    return binary(column % 2 === 0 ? '+' : '-', total, binary('*', factor, expanded(minor)))
  }, whole(0n))
}
