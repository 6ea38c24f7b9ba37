/**
 * Large products for CPU rasterisers with subgroups. Both operands are first copied into panels of `width` = 4 × lanes rows
 * of A or columns of B, element (k, x) of a panel at `k · width + x`, zeros following up to a multiple of four steps of k.
 * A tile then reads two streams from end to end, where rows of a matrix would come to a new page each and, at a stride that
 * is a power of two, into the same few sets of the cache; and one text serves operands of every type and order (the panels
 * of BLIS: Van Zee and van de Geijn 2015).
 *
 * The product is the lanes kernel (`matmul-lanes.ts`) with two steps of k an iteration instead of four. What limits it is the
 * size of its loop: a load is some 375 instructions, and a loop of more than about 4,000 is decoded again in every iteration.
 */
import { storeRow } from './matmul-lanes.js'
import { keepTemplates, tilePrologue, unroll, word, type MatmulOperand, type MatmulTemplate } from './matmul-plan.js'

/** How values of an operand are copied: four along the panel's width, four along k, or one by one. */
export type PanelLoad = 'across' | 'alongK' | 'single'

export interface PanelsConfig {
  /** Rows of a tile: one or two panels of A. */
  readonly panels: 1 | 2
  /** The subgroup's exact size, and the workgroup's. */
  readonly lanes: number
  readonly vectorStore: boolean
}

/** Steps of k an iteration; K is a multiple, since panels are filled up to one of four. */
const STEPS = 2

/** Multiplies panels: A and B of the uniform's shape are panels, whose K is what they are filled up to. */
export const panelsTemplate = keepTemplates(({ panels, lanes, vectorStore }: PanelsConfig): MatmulTemplate => {
  const width = lanes * 4
  const rows = panels * width
  const multiplyAdd = (row: number) => {
    const value = (j: number) =>
      `subgroupShuffle(f${j}_${Math.floor(row / width)}[${row % 4}], ${Math.floor((row % width) / 4)}u)`
    return `sum${row} = (sum${row} + ${value(0)} * v0) + ${value(1)} * v1;`
  }
  const names = Array.from({ length: rows }, (_, row) => `sum${row}`)
  const code = `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {${tilePrologue(rows, width)}
  let column = col0 + lane * 4u;
  let lastPanel = (M - 1u) / ${width}u;
  ${unroll(panels, (g) => `let baseA${g} = aBase + min(row0 / ${width}u + ${g}u, lastPanel) * K * ${width}u + lane * 4u;`)}
  let baseB = bBase + col0 * K + lane * 4u;
  ${names.map((name) => `var ${name} = vec4<f32>();`).join('\n')}
  for (var k = 0u; k < K; k += ${STEPS}u) {
    let at = k * ${width}u;
    ${unroll(STEPS, (j) => unroll(panels, (g) => `let f${j}_${g} = mm_a4(baseA${g} + at + ${j * width}u);`))}
    ${unroll(STEPS, (j) => `let v${j} = mm_b4(baseB + at + ${j * width}u);`)}
    ${unroll(rows, multiplyAdd)}
  }
  var sums = array<vec4<f32>, ${rows}>(${names.join(', ')});
  let rowCount = min(${word('tileRows')}, M - row0);
  for (var i = 0u; i < rowCount; i++) {
    let place = outBase + (row0 + i) * ${word('outRow')};
    ${storeRow({ lanes, loadB: 'columns', vectorStore })}
  }
}
`
  return {
    key: `panels${rows}x${lanes}${vectorStore ? ':w' : ''}`,
    code,
    tileRows: rows,
    tileColumns: width,
    chunk: STEPS,
    workgroupSize: [lanes, 1, 1],
    vectorStore,
    vectorA: true,
    vectorB: true,
    subgroups: true,
  }
})

/** Steps of k that one workgroup copies. */
const COPIED_STEPS = 64

export interface PanelCopy {
  /** Elements of the panels. */
  readonly size: number
  /** K of the panels. */
  readonly filledK: number
  /** WGSL that reads `params.mm`, calls `mm_p4` when `vector`, else `mm_p`, as `mm_a` elsewhere, and `store_panel(i, v)`. */
  readonly code: string
  readonly vector: boolean
  readonly params: readonly number[]
  readonly workgroups: number
}

/** A lane copies blocks of four by four: loads `w0` … `w3`, the values at `x` … `x + 3` for four steps from `k`, and stores them. */
function copyBlock(lanes: number, load: PanelLoad): string {
  const four = [0, 1, 2, 3] as const
  const step = (j: number) => `min(k + ${j}u, K - 1u)`
  const place = (i: number) => `min(x + ${i}u, extent - 1u)`
  const single = (i: number, j: number) => `mm_p(offset + ${place(i)} * strideX + ${step(j)} * strideK)`
  const values = {
    across: (j: number) => `mm_p4(offset + min(x, extent - 4u) + ${step(j)} * strideK)`,
    alongK: (j: number) => `vec4(${four.map((i) => `q${i}[${j}]`).join(', ')})`,
    single: (j: number) => `vec4(${four.map((i) => single(i, j)).join(', ')})`,
  }
  const rows = unroll(4, (i) => `let q${i} = mm_p4(offset + ${place(i)} * strideX + k);`)
  return `
    ${load === 'alongK' ? rows : ''}
    let to = (panel * filledK + k) * ${lanes * 4}u + x - panel * ${lanes * 4}u;
    ${unroll(4, (j) => `store_panel(to + ${j * lanes * 4}u, select(vec4<f32>(), ${values[load](j)}, k + ${j}u < K));`)}`
}

/** Lanes lie along what is contiguous in memory. */
function copyCode(lanes: number, load: PanelLoad): string {
  const width = `${lanes * 4}u`
  const across = `
  let x = panel * ${width} + lane * 4u;
  for (var k = start; k < end; k += 4u) {${copyBlock(lanes, load)}
  }`
  // The bound is in the uniform to keep the driver from unrolling.
  const along = `
  for (var k = start + lane * 4u; k < end; k += ${width}) {
    for (var q = 0u; q < blocks; q++) {
    let x = panel * ${width} + q * 4u;${copyBlock(lanes, load)}
    }
  }`
  const names = ['extent', 'K', 'strideX', 'strideK', 'offset', 'filledK', 'panels', 'total', 'blocks']
  return `
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  ${names.map((name, index) => `let ${name} = params.mm[${index >> 2}][${index & 3}];`).join('\n  ')}
  let group = wid.x + wid.y * groups.x;
  if (group >= total) { return; }
  let part = group / panels;
  let panel = group - part * panels;
  let start = part * ${COPIED_STEPS}u;
  let end = min(start + ${COPIED_STEPS}u, filledK);
  ${load === 'alongK' ? along : across}
}
`
}

/**
 * Plans the copy of `extent` rows of A (or columns of B) into panels.
 *
 * @param strideX Elements between rows of A or columns of B.
 * @param strideK Elements between steps of k.
 */
export function planPanelCopy(
  { offset }: Pick<MatmulOperand, 'offset'>,
  load: PanelLoad,
  lanes: number,
  { extent, k, strideX, strideK }: Readonly<Record<'extent' | 'k' | 'strideX' | 'strideK', number>>,
): PanelCopy {
  const filledK = Math.ceil(k / 4) * 4
  const panels = Math.ceil(extent / (lanes * 4))
  const workgroups = panels * Math.ceil(filledK / COPIED_STEPS)
  return {
    size: panels * lanes * 4 * filledK,
    filledK,
    code: copyCode(lanes, load),
    vector: load !== 'single',
    params: [extent, k, strideX, strideK, offset, filledK, panels, workgroups, lanes, 0, 0, 0],
    workgroups,
  }
}
