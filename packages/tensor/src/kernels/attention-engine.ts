/**
 * What an attention kernel asks of the machine. A workgroup owns a tile of rows of one side and walks blocks of rows of
 * the other; an invocation holds, for each of its `rows` own rows r, a vec4 over four neighbouring rows of the other side
 * (scores and what becomes of them), and a part of the columns of its own rows' results. Two engines provide the three
 * steps all passes consist of: scores from two matrices, a reduction along a row of scores, and results from scores and
 * a matrix.
 */

/** A matrix of rows: `load_<name>`, and WGSL of a row's first element and of the elements in a row. */
export interface AttentionMatrix {
  readonly name: string
  row(index: string): string
  readonly width: string
}

export interface AttentionEngine {
  /** Numbers in an element: matrices are bound as f32 (1) or vec4 (4), and widths and places count those. */
  readonly unit: 1 | 4
  /** Own rows of an invocation and of its workgroup. */
  readonly rows: number
  readonly tileRows: number
  /** Rows of the other side in a block. */
  readonly block: number
  readonly workgroupSize: number
  readonly subgroups: boolean
  /** Module-scope WGSL. */
  readonly declarations: string
  /** Opens the kernel; defines `lane`. */
  readonly prologue: string
  /** WGSL of the place of own row r in the tile, and of the invocation's first other row in the block. */
  ownRow(r: string): string
  readonly firstOther: string
  /** Elements an invocation holds of a row of results `width` elements wide, and WGSL of the column of each. */
  groups(width: number): number
  column(group: number): string
  /** Stores the scalars `<name>r`, one for each own row of the tile: `store_<output>(place(row), value)`. */
  storeScalars(output: string, name: string, place: (row: string) => string): string
  /**
   * `<scores>r += Σ own · other` for all r: own rows of the tile, other rows of the block. Both are clamped to the last
   * row, so what lies beyond is finite and must be masked.
   */
  scores(scores: string, own: AttentionMatrix, other: AttentionMatrix): string
  /** Replaces the scalars `<name>r` by their reduction over the invocations that share the row. */
  reduce(name: string, operation: 'max' | 'sum'): string
  /** `<results>r_g += Σ over the block of <weights>r · other`, for a matrix `columns` elements wide. */
  accumulate(results: string, weights: string, other: AttentionMatrix, columns: number): string
}

/** Lines 0 to `count - 1` of unrolled WGSL. */
export function each(count: number, line: (index: number) => string): string {
  return list(count, line).join('\n')
}

export function list(count: number, item: (index: number) => string): string[] {
  return Array.from({ length: count }, (_, index) => item(index))
}

export const components = ['x', 'y', 'z', 'w'] as const
