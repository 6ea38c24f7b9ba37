/** Matrix arithmetic written out: sums, products, multiples, small powers and transposes of literal matrices. */
import { binary, negated, type Node, whole } from './ast.js'
import { exactValue } from './exact.js'
import { LIMITS, type Work } from './limits.js'

export type Rows = readonly (readonly Node[])[]

const MOST_POWER = 8

const width = (rows: Rows): number => rows[0]?.length ?? 0
const isSquare = (rows: Rows): boolean => rows.length === width(rows)

function elementwise(operator: '+' | '-', a: Rows, b: Rows): Rows | null {
  if (a.length !== b.length || width(a) !== width(b)) return null
  return a.map((row, i) => row.map((entry, j) => binary(operator, entry, b[i]?.[j] ?? entry)))
}

const scaled = (operator: '*' | '/', rows: Rows, factor: Node): Rows =>
  rows.map((row) => row.map((entry) => binary(operator, entry, factor)))

function multiplied(a: Rows, b: Rows, work: Work): Rows | null {
  if (width(a) !== b.length || a.length * width(b) > LIMITS.elements) return null
  work.spend(a.length * b.length * width(b))
  return a.map((row) =>
    Array.from({ length: width(b) }, (_, j) =>
      row.map((entry, k) => binary('*', entry, b[k]?.[j] ?? entry)).reduce((total, term) => binary('+', total, term)),
    ),
  )
}

const transposed = (rows: Rows): Rows =>
  Array.from({ length: width(rows) }, (_, j) => rows.map((row) => row[j]).filter((entry) => entry !== undefined))

const isTranspose = (node: Node): boolean => node.kind === 'symbol' && (node.name === 'T' || node.name === '\\top')

/** Rows of an expression that is a matrix, or null. Ragged matrices are none. */
export function matrixOf(node: Node, work: Work): Rows | null {
  work.spend(1)
  if (node.kind === 'matrix') return node.rows.every((row) => row.length === width(node.rows)) ? node.rows : null
  if (node.kind === 'negate') {
    const rows = matrixOf(node.child, work)
    return rows === null ? null : rows.map((row) => row.map(negated))
  }
  if (node.kind !== 'binary' || node.operator === 'mod') return null
  const [left, right] = [matrixOf(node.left, work), matrixOf(node.right, work)]
  switch (node.operator) {
    case '+':
    case '-':
      return left === null || right === null ? null : elementwise(node.operator, left, right)
    case '*':
      if (left !== null && right !== null) return multiplied(left, right, work)
      if (left !== null) return scaled('*', left, node.right)
      return right === null ? null : scaled('*', right, node.left)
    case '/':
      return left === null || right !== null ? null : scaled('/', left, node.right)
    case '^':
      return left === null ? null : powerOf(left, node.right, work)
  }
}

function powerOf(rows: Rows, exponent: Node, work: Work): Rows | null {
  if (isTranspose(exponent)) return transposed(rows)
  const count = exactValue(exponent, work)
  if (count?.denominator !== 1n || count.numerator < 1n || count.numerator > BigInt(MOST_POWER) || !isSquare(rows))
    return null
  let product: Rows | null = rows
  // Entries grow with every product; only numbers stay small.
  for (let i = 1n; i < count.numerator && product !== null; i++) {
    const next = multiplied(product, rows, work)
    product = next?.map((row) => row.map((entry) => collapsed(entry, work))) ?? null
  }
  return product
}

/** An entry as one number, where it is one. */
function collapsed(entry: Node, work: Work): Node {
  const value = exactValue(entry, work)
  if (value === null) return entry
  return binary('/', whole(value.numerator), whole(value.denominator))
}
