/**
 * The attention engine for GPUs: 64 invocations hold 32 × 32 scores, 4 × 4 each, and both matrices pass through workgroup
 * memory a slice at a time, so that a value read from memory serves 32 rows. Neither matrix is ever there as a whole:
 * the engine takes 14 KiB whatever the head size, within the 16 KiB every device has.
 */
import { components, each, list, type AttentionEngine, type AttentionMatrix } from './attention-engine.js'

const [across, rows, size] = [8, 4, 32]
const invocations = 64
/** vec4 of a row staged at once, and the length of a staged row, odd against bank conflicts. */
const [depth, pitch] = [4, 5]

const scores = (target: string, own: AttentionMatrix, other: AttentionMatrix) => `
for (var start = 0u; start < ${own.width}; start += ${depth}u) {
  workgroupBarrier();
  for (var e = lidx; e < params.four * ${(size * depth) / 4}u; e += ${invocations}u) {
    let row = e / ${depth}u;
    let d = e % ${depth}u;
    var x = vec4<f32>();
    var y = vec4<f32>();
    if (start + d < ${own.width}) {
      x = load_${own.name}(${own.row('tile.x + min(row, tile.y - 1u)')} + start + d);
      y = load_${other.name}(${other.row('min(first + row, last)')} + start + d);
    }
    staged[row * ${pitch}u + d] = x;
    staged[${size * pitch}u + row * ${pitch}u + d] = y;
  }
  workgroupBarrier();
  for (var d = 0u; d < params.four; d++) {
    ${each(4, (j) => `let y${j} = staged[${size * pitch}u + (lane * 4u + ${j}u) * ${pitch}u + d];`)}
    ${each(rows, (r) => `{ let x = staged[(team * ${rows}u + ${r}u) * ${pitch}u + d]; ${target}${r} += vec4<f32>(${list(4, (j) => `dot(x, y${j})`).join(', ')}); }`)}
  }
}`

const reduce = (name: string, operation: 'max' | 'sum') => {
  const values = list(rows, (r) => `${name}${r}`).join(', ')
  const merge = operation === 'max' ? 'max(all, staged[team * 8u + k])' : 'all + staged[team * 8u + k]'
  return `{
  workgroupBarrier();
  staged[lidx] = vec4<f32>(${values});
  workgroupBarrier();
  var all = staged[team * ${across}u];
  for (var k = 1u; k < params.four * ${across / 4}u; k++) { all = ${merge}; }
  ${components.map((c, r) => `${name}${r} = all.${c};`).join('\n')}
}`
}

const groupsOf = (width: number) => Math.ceil(width / across)

const accumulate = (results: string, weights: string, other: AttentionMatrix, columns: number) => `
workgroupBarrier();
${components.map((c, j) => `spread[(lane * 4u + ${j}u) * ${across + 1}u + team] = vec4<f32>(${list(rows, (r) => `${weights}${r}.${c}`).join(', ')});`).join('\n')}
${each(
  groupsOf(columns),
  (g) => `
workgroupBarrier();
for (var e = lidx; e < params.four * ${(size * across) / 4}u; e += ${invocations}u) {
  staged[e] = load_${other.name}(${other.row(`min(first + e / ${across}u, last)`)} + min(${g * across}u + e % ${across}u, ${other.width} - 1u));
}
workgroupBarrier();
for (var k = 0u; k < min(${size}u, run.y - block); k++) {
  let w = spread[k * ${across + 1}u + team];
  let v = staged[k * ${across}u + lane];
  ${components.map((c, r) => `${results}${r}_${g} += w.${c} * v;`).join('\n')}
}`,
)}`

const storeScalars = (output: string, name: string, place: (row: string) => string) =>
  each(
    rows,
    (r) => `{
  let at = team * ${rows}u + ${r}u;
  if (lane == 0u && at < tile.y) { store_${output}(${place('tile.x + at')}, ${name}${r}); }
}`,
  )

export const tileEngine: AttentionEngine = {
  unit: 4,
  rows,
  tileRows: size,
  block: size,
  workgroupSize: invocations,
  subgroups: false,
  declarations: `
var<workgroup> staged: array<vec4<f32>, ${2 * size * pitch}>;
var<workgroup> spread: array<vec4<f32>, ${size * (across + 1)}>;`,
  prologue: `let lane = lidx % ${across}u;\n  let team = lidx / ${across}u;`,
  ownRow: (r) => `(team * ${rows}u + ${r})`,
  firstOther: 'lane * 4u',
  groups: groupsOf,
  column: (group) => `(lane + ${group * across}u)`,
  storeScalars,
  scores,
  reduce,
  accumulate,
}
