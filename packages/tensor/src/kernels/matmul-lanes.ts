/**
 * Matmul for CPU rasterisers with subgroups (lavapipe), where a subgroup is a vector register, a multiply-add takes half a
 * cycle, a shuffle one, and any load from memory is taken apart into its lanes: some twenty cycles, whatever the addresses.
 * So every value is loaded as few times as the registers allow, four steps of k at once, and passed round by shuffles. A
 * lane holds the four values of one row of A for each group of `lanes` rows, and the sums of four columns for every row;
 * loading four neighbours together lets the compiler test once whether the lane is live. Each sum is taken up once and put
 * back once for four multiply-adds, because it lives on the stack: there are far more sums than registers.
 *
 * Ragged edges need no masks: rows and columns past the end repeat the last valid one and are never stored; steps of k past
 * the end, which exist only where K is no multiple of four, count as zeros.
 */
import { keepTemplates, tilePrologue, unroll, word, type MatmulTemplate } from './matmul-plan.js'

/** How an operand's values come: four along k, four along the columns (B only), or one by one. */
export type LaneLoad = 'alongK' | 'columns' | 'single'

export interface LanesConfig {
  /** Rows of a tile; a lane keeps four sums for each. */
  readonly rows: number
  /** The subgroup's exact size, and the workgroup's. */
  readonly lanes: number
  readonly loadA: Exclude<LaneLoad, 'columns'>
  readonly loadB: LaneLoad
  /** K may be no multiple of four. Never with an operand loaded along k. */
  readonly ragged: boolean
  readonly vectorStore: boolean
}

const four = [0, 1, 2, 3] as const

/** Declarations before the loop, and those inside it that define the values of four steps of k. */
interface Operand {
  readonly before: string
  readonly inside: string
}

/** Step `k + j`, kept inside the matrix. */
const stepOf = (j: number, ragged: boolean) => (ragged ? `min(k + ${j}u, K - 1u)` : `(k + ${j}u)`)
const zeroBeyond = (value: string, zero: string, j: number, ragged: boolean) =>
  ragged ? `select(${zero}, ${value}, k + ${j}u < K)` : value

/** `f0`, `f1`, …: a vec4 along k of row `lane` of each group of rows. */
function operandA({ rows, lanes, loadA, ragged }: LanesConfig): Operand {
  const groups = Math.ceil(rows / lanes)
  const single = (g: number) =>
    four.map((j) => zeroBeyond(`mm_a(baseA${g} + ${stepOf(j, ragged)} * ${word('aCol')})`, '0.0', j, ragged)).join(', ')
  return {
    before: unroll(
      groups,
      (g) => `let baseA${g} = aBase + min(row0 + ${g * lanes}u + lane, M - 1u) * ${word('aRow')};`,
    ),
    inside: unroll(groups, (g) => `let f${g} = ${loadA === 'alongK' ? `mm_a4(baseA${g} + k)` : `vec4(${single(g)})`};`),
  }
}

/** First column of component `g` of a lane's sums, from the lane's first column `column`. */
const columnAt = ({ lanes, loadB }: Pick<LanesConfig, 'lanes' | 'loadB'>, g: number) =>
  `(column + ${loadB === 'columns' ? g : g * lanes}u)`

/** `v0` … `v3`: a vec4 over the lane's columns for each step of k. */
function operandB(config: LanesConfig): Operand {
  const { loadB, ragged } = config
  if (loadB === 'columns') {
    const load = (j: number) => `mm_b4(baseB + ${stepOf(j, ragged)} * ${word('bRow')})`
    return {
      before: 'let baseB = bBase + min(column, N - 4u);',
      inside: unroll(4, (j) => `let v${j} = ${zeroBeyond(load(j), 'vec4<f32>()', j, ragged)};`),
    }
  }
  const before = unroll(4, (g) => `let baseB${g} = bBase + min(${columnAt(config, g)}, N - 1u) * ${word('bCol')};`)
  if (loadB === 'alongK') {
    const across = (j: number) => four.map((g) => `w${g}[${j}]`).join(', ')
    return {
      before,
      inside: `${unroll(4, (g) => `let w${g} = mm_b4(baseB${g} + k);`)}\n${unroll(4, (j) => `let v${j} = vec4(${across(j)});`)}`,
    }
  }
  const load = (j: number) =>
    `vec4(${four.map((g) => `mm_b(baseB${g} + ${stepOf(j, ragged)} * ${word('bRow')})`).join(', ')})`
  return { before, inside: unroll(4, (j) => `let v${j} = ${zeroBeyond(load(j), 'vec4<f32>()', j, ragged)};`) }
}

/** Stores a lane's columns of row `sums[i]`. */
export function storeRow(config: Pick<LanesConfig, 'lanes' | 'loadB' | 'vectorStore'>): string {
  if (config.vectorStore) return 'if (column < N) { store_out4(place + column, sums[i]); }'
  return unroll(4, (g) => {
    const at = columnAt(config, g)
    return `if (${at} < N) { store_out(place + ${at} * ${word('outCol')}, sums[i][${g}]); }`
  })
}

export const lanesTemplate = keepTemplates((config: LanesConfig): MatmulTemplate => {
  const { rows, lanes, loadA, loadB, ragged, vectorStore } = config
  const [a, b] = [operandA(config), operandB(config)]
  const multiplyAdd = (row: number) => {
    const value = (j: number) => `subgroupShuffle(f${Math.floor(row / lanes)}[${j}], ${row % lanes}u)`
    return `sum${row} = (((sum${row} + ${value(0)} * v0) + ${value(1)} * v1) + ${value(2)} * v2) + ${value(3)} * v3;`
  }
  const names = Array.from({ length: rows }, (_, row) => `sum${row}`)
  const code = `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {${tilePrologue(rows, lanes * 4)}
  let column = col0 + lane${loadB === 'columns' ? ' * 4u' : ''};
  ${a.before}
  ${b.before}
  ${names.map((name) => `var ${name} = vec4<f32>();`).join('\n')}
  for (var k = 0u; k < K; k += 4u) {
    ${a.inside}
    ${b.inside}
    ${unroll(rows, multiplyAdd)}
  }
  var sums = array<vec4<f32>, ${rows}>(${names.join(', ')});
  let rowCount = min(${word('tileRows')}, M - row0);
  for (var i = 0u; i < rowCount; i++) {
    let place = outBase + (row0 + i) * ${word('outRow')};
    ${storeRow(config)}
  }
}
`
  return {
    key: `lanes${rows}x${lanes}:${loadA}:${loadB}${ragged ? ':ragged' : ''}${vectorStore ? ':w' : ''}`,
    code,
    tileRows: rows,
    tileColumns: lanes * 4,
    chunk: 4,
    workgroupSize: [lanes, 1, 1],
    vectorStore,
    vectorA: loadA === 'alongK',
    vectorB: loadB !== 'single',
    subgroups: true,
  }
})
