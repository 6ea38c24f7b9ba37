/**
 * Matmul for CPU rasterisers without subgroups of a known size: the plain twin of `matmul-lanes.ts`, where the costs are
 * explained. A lane owns `rows` × four neighbouring columns (times `columnGroups`) and loads each value of A by itself. The
 * loops over k and over the stored rows take their bounds from the uniform, so that the driver cannot unroll them: it
 * compiles the short body, with the epilogue in it once, several times faster and keeps fewer loads alive at once.
 *
 * Ragged edges need no masks: rows and columns past the end repeat the last valid one, and what was computed for them is
 * never stored.
 */
import { keepTemplates, tilePrologue, unroll, word, type MatmulTemplate } from './matmul-plan.js'

interface RowsConfig {
  readonly rows: number
  /** Groups of 4 × lanes columns. */
  readonly columnGroups: number
  /** Invocations of a workgroup. */
  readonly lanes: number
  /** B is read four columns at a time, by `mm_b4`. */
  readonly vectorB: boolean
  readonly vectorStore: boolean
}

export const rowsTemplate = keepTemplates((config: RowsConfig): MatmulTemplate => {
  const { rows, columnGroups, lanes, vectorB, vectorStore } = config
  const column = (group: number) => `column${group}`
  const loadB = (group: number) =>
    vectorB
      ? `mm_b4(baseB${group} + bk)`
      : `vec4<f32>(${[0, 1, 2, 3].map((j) => `mm_b(baseB${group}_${j} + bk)`).join(', ')})`
  const bases = (group: number) =>
    vectorB
      ? `let baseB${group} = bBase + min(${column(group)}, N - 4u);`
      : unroll(4, (j) => `  let baseB${group}_${j} = bBase + min(${column(group)} + ${j}u, N - 1u) * ${word('bCol')};`)
  const multiplyAdd = (row: number) =>
    `{ let x = mm_a(baseA${row} + ak);\n${unroll(columnGroups, (g) => `acc${row}_${g} += x * v${g};`)} }`
  const store = (group: number) => {
    const place = `place + ${column(group)}`
    if (vectorStore) return `if (${column(group)} < N) { store_out4(${place}, sums${group}[i]); }`
    return `for (var j = 0u; j < min(4u, max(N, ${column(group)}) - ${column(group)}); j++) { store_out(place + (${column(group)} + j) * ${word('outCol')}, sums${group}[i][j]); }`
  }
  const code = `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {${tilePrologue(rows, lanes * 4 * columnGroups)}
  ${unroll(columnGroups, (g) => `let ${column(g)} = col0 + (lane + ${g * lanes}u) * 4u;\n  ${bases(g)}`)}
  ${unroll(rows, (i) => `let baseA${i} = aBase + min(row0 + ${i}u, M - 1u) * ${word('aRow')};`)}
  ${unroll(rows, (i) => unroll(columnGroups, (g) => `var acc${i}_${g} = vec4<f32>();`))}
  var ak = 0u;
  var bk = 0u;
  for (var k = 0u; k < K; k++) {
    ${unroll(columnGroups, (g) => `let v${g} = ${loadB(g)};`)}
    ${unroll(rows, multiplyAdd)}
    ak += ${word('aCol')};
    bk += ${word('bRow')};
  }
  ${unroll(columnGroups, (g) => `var sums${g} = array<vec4<f32>, ${rows}>(${Array.from({ length: rows }, (_, i) => `acc${i}_${g}`).join(', ')});`)}
  let rowCount = min(${word('tileRows')}, M - row0);
  for (var i = 0u; i < rowCount; i++) {
    let place = outBase + (row0 + i) * ${word('outRow')};
    ${unroll(columnGroups, store)}
  }
}
`
  return {
    key: `rows${rows}x${columnGroups}x${lanes}${vectorB ? 'v' : ''}${vectorStore ? 'w' : ''}`,
    code,
    tileRows: rows,
    tileColumns: lanes * 4 * columnGroups,
    chunk: lanes,
    workgroupSize: [lanes, 1, 1],
    vectorStore,
    vectorA: false,
    vectorB,
    subgroups: false,
  }
})
