/**
 * Matmul for GPUs: the classic register-tiled kernel. A workgroup stages a `tileRows` × `depth` block of A and a
 * `depth` × `tileColumns` block of B in workgroup memory, and each invocation keeps `rows` × `columns` sums in
 * registers, so one value read from workgroup memory feeds several multiply-adds. Small outputs with a deep K would
 * leave most of the GPU idle; there `groups` teams of invocations take every groups-th block of K, and their sums are
 * added in a fixed order through workgroup memory, so the result is the same on every run.
 *
 * Both blocks lie with k slowest, padded by four elements a row against bank conflicts of the transposing store. The
 * loop over a block is unrolled by four here and takes its bound from the uniform, so that no driver unrolls it further:
 * compiling sixteen steps of a 4 × 4 tile takes some drivers many seconds.
 */
import { keepTemplates, tilePrologue, unroll, word, type MatmulTemplate } from './matmul-plan.js'

/** How an operand is read: which of its two dimensions neighbouring invocations walk, four elements at once or one. */
export interface StageOrder {
  /** True when k is the fast dimension in memory. */
  readonly alongK: boolean
  readonly vector: boolean
}

export interface TileConfig {
  readonly tileRows: number
  readonly tileColumns: number
  readonly depth: number
  readonly rows: number
  readonly columns: 1 | 2 | 4
  readonly groups: number
}

export function tileInvocations({ tileRows, tileColumns, rows, columns, groups }: TileConfig): number {
  return (tileRows / rows) * (tileColumns / columns) * groups
}

const padding = 4

/** Bytes of workgroup memory. */
export function tileStorage({ tileRows, tileColumns, depth, groups }: TileConfig): number {
  const blocks = groups * depth * (tileRows + tileColumns + 2 * padding)
  return 4 * (blocks + (groups > 1 ? tileRows * tileColumns : 0))
}

interface StagedOperand extends StageOrder {
  readonly name: 'a' | 'b'
  /** Extent of the tile in the dimension that is not k. */
  readonly extent: number
  /** Elements from one k of the block to the next. */
  readonly stride: number
  /** Type the block is held in. */
  readonly element: 'f32' | 'f16'
  readonly first: string
  readonly limit: string
  readonly strideOuter: string
  readonly strideK: string
}

/** WGSL of one team's copy of an operand's block into workgroup memory, zeros beyond the matrix. */
export function stage(operand: StagedOperand, depth: number, team: number): string {
  const { name, extent, stride, element, alongK, vector, first, limit, strideOuter, strideK } = operand
  const step = vector ? 4 : 1
  const fast = (alongK ? depth : extent) / step
  const count = (extent * depth) / step
  const [k, outer] = alongK
    ? [`(e % ${fast}u) * ${step}u`, `e / ${fast}u`]
    : [`e / ${fast}u`, `(e % ${fast}u) * ${step}u`]
  const index = `${name}Base + (${first} + o) * ${strideOuter} + (k0 + k) * ${strideK}`
  const place = `${name}Block + k * ${stride}u + o`
  const held = (value: string) => (element === 'f32' ? value : `${element}(${value})`)
  const load = vector
    ? `var v = vec4<f32>();
      if (${first} + o < ${limit} && k0 + k < K) { v = mm_${name}4(${index}); }
      ${unroll(4, (j) => `${name}Tile[${place} + ${alongK ? j * stride : j}u] = ${held(`v[${j}]`)};`)}`
    : `var v = 0.0;
      if (${first} + o < ${limit} && k0 + k < K) { v = mm_${name}(${index}); }
      ${name}Tile[${place}] = ${held('v')};`
  return `for (var e = member; e < ${count}u; e += ${team}u) {
      let k = ${k};
      let o = ${outer};
      ${load}
    }`
}

export const tileTemplate = keepTemplates(
  (config: TileConfig, a: StageOrder, b: StageOrder, vectorStore: boolean): MatmulTemplate => {
    const { tileRows, tileColumns, depth, rows, columns, groups } = config
    const across = tileColumns / columns
    const team = (tileRows / rows) * across
    const store4 = vectorStore && columns === 4
    const [strideA, strideB] = [tileRows + padding, tileColumns + padding]
    const vec = columns === 1 ? 'f32' : `vec${columns}<f32>`
    const part = (value: string, j: number) => (columns === 1 ? value : `${value}[${j}]`)
    const readB = Array.from({ length: columns }, (_, j) => `bTile[bAt + ${j}u]`).join(', ')
    const first = (axis: 'row' | 'col') => `${axis}0`
    const reduce =
      groups === 1
        ? ''
        : `
  for (var g = 1u; g < ${groups}u; g++) {
    if (group == g) {
      ${unroll(rows, (i) => unroll(columns, (j) => `sums[(y + ${i}u) * ${tileColumns}u + x + ${j}u] = ${part(`acc${i}`, j)};`))}
    }
    workgroupBarrier();
    if (group == 0u) {
      ${unroll(rows, (i) => unroll(columns, (j) => `${part(`acc${i}`, j)} += sums[(y + ${i}u) * ${tileColumns}u + x + ${j}u];`))}
    }
    workgroupBarrier();
  }
  if (group != 0u) { return; }`
    const storeRow = (i: number) =>
      store4
        ? `if (column < N) { store_out4(place + column, acc${i}); }`
        : unroll(
            columns,
            (j) =>
              `if (column + ${j}u < N) { store_out(place + (column + ${j}u) * ${word('outCol')}, ${part(`acc${i}`, j)}); }`,
          )
    const code = `
var<workgroup> aTile: array<f32, ${groups * depth * strideA}>;
var<workgroup> bTile: array<f32, ${groups * depth * strideB}>;
${groups > 1 ? `var<workgroup> sums: array<f32, ${tileRows * tileColumns}>;` : ''}
@compute @workgroup_size(${team}, ${groups})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>) {${tilePrologue(tileRows, tileColumns)}
  let member = lid.x;
  let group = lid.y;
  let x = (member % ${across}u) * ${columns}u;
  let y = (member / ${across}u) * ${rows}u;
  let aBlock = group * ${depth * strideA}u;
  let bBlock = group * ${depth * strideB}u;
  ${unroll(rows, (i) => `var acc${i} = ${vec}();`)}
  for (var start = 0u; start < K; start += ${depth * groups}u) {
    let k0 = start + group * ${depth}u;
    ${stage({ ...a, name: 'a', extent: tileRows, stride: strideA, element: 'f32', first: first('row'), limit: 'M', strideOuter: word('aRow'), strideK: word('aCol') }, depth, team)}
    ${stage({ ...b, name: 'b', extent: tileColumns, stride: strideB, element: 'f32', first: first('col'), limit: 'N', strideOuter: word('bCol'), strideK: word('bRow') }, depth, team)}
    workgroupBarrier();
    for (var k = 0u; k < ${word('chunk')}; k += 4u) {
      ${unroll(
        4,
        (q) => `{
        let aAt = aBlock + (k + ${q}u) * ${strideA}u + y;
        let bAt = bBlock + (k + ${q}u) * ${strideB}u + x;
        let v = ${vec}(${readB});
        ${unroll(rows, (i) => `acc${i} += aTile[aAt + ${i}u] * v;`)}
      }`,
      )}
    }
    workgroupBarrier();
  }${reduce}
  let column = col0 + x;
  ${unroll(
    rows,
    (i) => `if (row0 + y + ${i}u < M) {
    let place = outBase + (row0 + y + ${i}u) * ${word('outRow')};
    ${storeRow(i)}
  }`,
  )}
}
`
    const order = ({ alongK, vector }: StageOrder) => `${alongK ? 'k' : 'o'}${vector ? 'v' : ''}`
    return {
      key: `tile${[tileRows, tileColumns, depth, rows, columns, groups].join('x')}${order(a)}${order(b)}${store4 ? 'w' : ''}`,
      code,
      tileRows,
      tileColumns,
      chunk: depth,
      workgroupSize: [team, groups, 1],
      vectorStore: store4,
      vectorA: a.vector,
      vectorB: b.vector,
      subgroups: false,
    }
  },
)
