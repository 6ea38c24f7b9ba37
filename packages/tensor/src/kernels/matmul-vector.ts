/**
 * Row vector times matrix for CPU rasterisers with subgroups, where rows of B are contiguous. No number of B is used twice,
 * so what counts is the order in which memory is walked: one narrow strip of columns from top to bottom comes to a new page
 * in every row. A workgroup therefore takes several strips, in each of which a lane owns four columns, and goes through them
 * block of rows by block of rows; the sums of the other strips wait in the lane's memory meanwhile.
 *
 * Steps of k come in fours. Columns past the end repeat the last valid ones and are not stored.
 */
import { keepTemplates, tilePrologue, word, type MatmulTemplate } from './matmul-plan.js'

/** Rows of a block: with all strips what one workgroup reads before it comes back to a strip stays in the caches. */
const BLOCK = 64

export interface VectorConfig {
  /** The subgroup's exact size, and the workgroup's. */
  readonly lanes: number
  readonly strips: number
  readonly vectorStore: boolean
}

export const vectorTemplate = keepTemplates(({ lanes, strips, vectorStore }: VectorConfig): MatmulTemplate => {
  const width = lanes * 4
  const four = [0, 1, 2, 3] as const
  const store = vectorStore
    ? 'store_out4(place + column, sums[s]);'
    : four.map((j) => `store_out(place + (column + ${j}u) * ${word('outCol')}, sums[s][${j}]);`).join(' ')
  const sum = four.reduce((text, j) => `(${text} + a[${j}] * mm_b4(at + ${j}u * step))`, 'sum')
  const code = `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {${tilePrologue(1, width * strips)}
  let place = outBase + row0 * ${word('outRow')};
  let step = ${word('bRow')};
  var sums: array<vec4<f32>, ${strips}>;
  let count = (min(N - col0, ${width * strips}u) + ${width - 1}u) / ${width}u;
  for (var start = 0u; start < K; start += ${BLOCK}u) {
    let end = min(start + ${BLOCK}u, K);
    for (var s = 0u; s < count; s++) {
      var at = bBase + min(col0 + s * ${width}u + lane * 4u, N - 4u) + start * step;
      var sum = sums[s];
      for (var k = start; k < end; k += 4u) {
        let a = mm_a4(aBase + k);
        sum = ${sum};
        at += 4u * step;
      }
      sums[s] = sum;
    }
  }
  for (var s = 0u; s < count; s++) {
    let column = col0 + s * ${width}u + lane * 4u;
    if (column < N) { ${store} }
  }
}
`
  return {
    key: `vector${strips}x${lanes}${vectorStore ? ':w' : ''}`,
    code,
    tileRows: 1,
    tileColumns: width * strips,
    chunk: 4,
    workgroupSize: [lanes, 1, 1],
    vectorStore,
    vectorA: true,
    vectorB: true,
    subgroups: true,
  }
})
