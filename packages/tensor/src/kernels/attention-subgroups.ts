/**
 * The attention engine for CPU rasterisers: a workgroup is one subgroup, that is one vector register, and there is no
 * workgroup memory (see `matmul-rows.ts` for what things cost there). For scores a lane owns four rows of the other side
 * and the own rows are fetched one per lane and broadcast; for results a lane owns columns, and the weights are passed
 * round by shuffles. Both are register permutes, so each load meets all own rows.
 *
 * The driver compiles for seconds what is unrolled without need: each load and each store is a loop over lanes in its
 * code. So matrices are read one number at a time (four at once would cost the same), and loops take their bounds from
 * the uniform.
 */
import { each, list, type AttentionEngine, type AttentionMatrix } from './attention-engine.js'

const engines = new Map<string, AttentionEngine>()

/**
 * The engine, one and the same for equal arguments.
 *
 * @param rows Own rows of a tile: more make each load worth more and need more registers.
 */
export function subgroupEngine(lanes: number, rows: number): AttentionEngine {
  const known = engines.get(`${lanes}:${rows}`)
  if (known) return known
  const engine = writeEngine(lanes, rows)
  engines.set(`${lanes}:${rows}`, engine)
  return engine
}

function writeEngine(lanes: number, rows: number): AttentionEngine {
  const loads = Math.ceil(rows / lanes)
  const groups = (width: number) => Math.ceil(width / lanes)
  const column = (group: number) => `(lane + ${group * lanes}u)`
  const scores = (target: string, own: AttentionMatrix, other: AttentionMatrix) => `{
  ${each(loads, (h) => `let own${h} = ${own.row(`tile.x + min(lane + ${h * lanes}u, tile.y - 1u)`)};`)}
  ${each(4, (j) => `let other${j} = ${other.row(`min(first + lane * 4u + ${j}u, last)`)};`)}
  for (var d = 0u; d < ${own.width}; d++) {
    ${each(loads, (h) => `let x${h} = load_${own.name}(own${h} + d);`)}
    let y = vec4<f32>(${list(4, (j) => `load_${other.name}(other${j} + d)`).join(', ')});
    ${each(rows, (r) => `${target}${r} += subgroupBroadcast(x${Math.floor(r / lanes)}, ${r % lanes}u) * y;`)}
  }
}`
  const reduce = (name: string, operation: 'max' | 'sum') => {
    const steps = list(Math.log2(lanes), (step) => `${2 ** step}u`)
    const merge = (value: string, step: string) =>
      operation === 'max'
        ? `max(${value}, subgroupShuffleXor(${value}, ${step}))`
        : `${value} + subgroupShuffleXor(${value}, ${step})`
    return steps.map((step) => each(rows, (r) => `${name}${r} = ${merge(`${name}${r}`, step)};`)).join('\n')
  }
  const accumulate = (results: string, weights: string, other: AttentionMatrix, columns: number) => `
  for (var part = 0u; part < params.four; part++) {
    ${each(rows, (r) => `let w${r} = ${weights}${r}[part];`)}
    let count = (min(${4 * lanes}u, run.y - block) + 3u - part) / 4u;
    for (var turn = 0u; turn < count; turn++) {
      let row = ${other.row('first + turn * 4u + part')};
      ${each(groups(columns), (g) => `let v${g} = load_${other.name}(row + min(${column(g)}, ${other.width} - 1u));`)}
      ${each(rows, (r) => `{ let w = subgroupShuffle(w${r}, turn); ${list(groups(columns), (g) => `${results}${r}_${g} += w * v${g};`).join(' ')} }`)}
    }
  }`
  const storeScalars = (output: string, name: string, place: (row: string) => string) =>
    each(
      loads,
      (h) => `{
  var value = 0.0;
  ${each(Math.min(lanes, rows - h * lanes), (i) => `value = select(value, ${name}${h * lanes + i}, lane == ${i}u);`)}
  let at = lane + ${h * lanes}u;
  if (at < min(tile.y, ${rows}u)) { store_${output}(${place('tile.x + at')}, value); }
}`,
    )
  return {
    unit: 1,
    rows,
    tileRows: rows,
    block: 4 * lanes,
    workgroupSize: lanes,
    subgroups: true,
    declarations: '',
    prologue: 'let lane = subgroup_lane;',
    ownRow: (r) => r,
    firstOther: 'lane * 4u',
    groups,
    column,
    storeScalars,
    scores,
    reduce,
    accumulate,
  }
}
