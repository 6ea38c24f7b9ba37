/**
 * Matmul for CPU rasterisers (lavapipe, SwiftShader), where a workgroup is a vector register and every storage or
 * workgroup-memory load is a gather of about twelve cycles, the same address in all lanes or not, while a multiply-add
 * takes half a cycle. So: no workgroup memory and as few loads as possible for each multiply-add. A lane owns `rows` ×
 * four neighbouring columns (times `columnGroups`); with subgroups, the lanes fetch different k of a row of A in one
 * gather and pass them round by shuffles, which are register permutes. The loops over k and over the stored rows take
 * their bounds from the uniform, constant though they are, so that the driver cannot unroll them: it compiles the short
 * body, with the epilogue in it once, several times faster and keeps fewer loads alive at once.
 *
 * Ragged edges need no masks: rows, columns and k past the end repeat the last valid one, and what was computed for
 * them is never stored or never used.
 */
import { tilePrologue, unroll, word, type MatmulTemplate } from './matmul-plan.js'

interface RowsConfig {
  readonly rows: number
  /** Groups of 4 × lanes columns. */
  readonly columnGroups: number
  /** Invocations of a workgroup; the subgroup's exact size where `subgroups`. */
  readonly lanes: number
  readonly subgroups: boolean
  /** B is read four columns at a time, by `mm_b4`. */
  readonly vectorB: boolean
  readonly vectorStore: boolean
}

export function rowsTemplate(config: RowsConfig): MatmulTemplate {
  const { rows, columnGroups, lanes, subgroups, vectorB, vectorStore } = config
  const column = (group: number) => `column${group}`
  const loadB = (group: number) =>
    vectorB
      ? `mm_b4(baseB${group} + bk)`
      : `vec4<f32>(${[0, 1, 2, 3].map((j) => `mm_b(baseB${group}_${j} + bk)`).join(', ')})`
  const bases = (group: number) =>
    vectorB
      ? `let baseB${group} = bBase + min(${column(group)}, N - 4u);`
      : unroll(4, (j) => `  let baseB${group}_${j} = bBase + min(${column(group)} + ${j}u, N - 1u) * ${word('bCol')};`)
  const product = (a: (row: number) => string) => `
      ${unroll(columnGroups, (g) => `let v${g} = ${loadB(g)};`)}
      ${unroll(rows, (i) => `{ let x = ${a(i)};\n${unroll(columnGroups, (g) => `acc${i}_${g} += x * v${g};`)} }`)}
      bk += ${word('bRow')};`
  const loop = subgroups
    ? `
  for (var k = 0u; k < K; k += ${lanes}u) {
    let ak = min(k + lane, K - 1u) * ${word('aCol')};
    ${unroll(rows, (i) => `let f${i} = mm_a(baseA${i} + ak);`)}
    let count = min(${word('chunk')}, K - k);
    for (var q = 0u; q < count; q++) {${product((i) => `subgroupShuffle(f${i}, q)`)}
    }
  }`
    : `
  var ak = 0u;
  for (var k = 0u; k < K; k++) {${product((i) => `mm_a(baseA${i} + ak)`)}
    ak += ${word('aCol')};
  }`
  const store = (group: number) => {
    const place = `place + ${column(group)}`
    if (vectorStore) return `if (${column(group)} < N) { store_out4(${place}, sums${group}[i]); }`
    return `for (var j = 0u; j < min(4u, max(N, ${column(group)}) - ${column(group)}); j++) { store_out(place + (${column(group)} + j) * ${word('outCol')}, sums${group}[i][j]); }`
  }
  const code = `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(${subgroups ? 'subgroup_invocation_id' : 'local_invocation_index'}) lane: u32) {${tilePrologue(rows, lanes * 4 * columnGroups)}
  ${unroll(columnGroups, (g) => `let ${column(g)} = col0 + (lane + ${g * lanes}u) * 4u;\n  ${bases(g)}`)}
  ${unroll(rows, (i) => `let baseA${i} = aBase + min(row0 + ${i}u, M - 1u) * ${word('aRow')};`)}
  ${unroll(rows, (i) => unroll(columnGroups, (g) => `var acc${i}_${g} = vec4<f32>();`))}
  var bk = 0u;${loop}
  ${unroll(columnGroups, (g) => `var sums${g} = array<vec4<f32>, ${rows}>(${Array.from({ length: rows }, (_, i) => `acc${i}_${g}`).join(', ')});`)}
  let rowCount = min(${word('tileRows')}, M - row0);
  for (var i = 0u; i < rowCount; i++) {
    let place = outBase + (row0 + i) * ${word('outRow')};
    ${unroll(columnGroups, store)}
  }
}
`
  return {
    key: `rows${rows}x${columnGroups}x${lanes}${subgroups ? 's' : ''}${vectorB ? 'v' : ''}${vectorStore ? 'w' : ''}`,
    code,
    tileRows: rows,
    tileColumns: lanes * 4 * columnGroups,
    chunk: lanes,
    workgroupSize: [lanes, 1, 1],
    vectorStore,
    vectorA: false,
    vectorB,
    subgroups,
  }
}
