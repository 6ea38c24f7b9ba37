/**
 * Matmul on matrix units: the blocks of A and B are staged in workgroup memory as in the register-tiled kernel, whatever
 * their strides and storage types, and four subgroups multiply 32 × 32 pieces of the tile as fragments that the hardware
 * multiplies whole. Sums are f32; they leave through workgroup memory, so epilogues and ragged edges are those of the
 * other kernels.
 *
 * Dawn offers the units as `chromium-experimental-subgroup-matrix`
 * (https://dawn.googlesource.com/dawn/+/refs/heads/main/docs/dawn/features/subgroup_matrix.md). What a fragment is lies behind
 * {@link Fragments}, so that a test without such hardware runs everything else of this kernel with fragments of its own.
 */
import { keepTemplates, tilePrologue, unroll, word, type MatmulLimits, type MatmulTemplate } from './matmul-plan.js'
import { stage, type StageOrder } from './matmul-tile.js'

/** A product of fragments the hardware does: `m × k` by `k × n`, components of one type, sums in f32. */
export interface MatrixUnit {
  readonly component: 'f32' | 'f16'
  readonly m: number
  readonly n: number
  readonly k: number
  /** Invocations of a subgroup, all of one size. */
  readonly lanes: number
}

/** WGSL of fragments. Offsets and strides count elements of the workgroup arrays `aTile`, `bTile` and `sums`. */
export interface Fragments {
  readonly name: string
  readonly extensions: readonly string[]
  /** A fragment of sums, zeros. */
  sum(name: string): string
  /** A fragment of A from `aTile`, which has k slowest. */
  left(name: string, offset: string, stride: number): string
  /** A fragment of B from `bTile`, which has k slowest. */
  right(name: string, offset: string, stride: number): string
  multiply(sum: string, left: string, right: string): string
  /** Puts a fragment of sums into `sums`, row by row. */
  store(sum: string, offset: string, stride: number): string
}

/** The fragments of Dawn's extension. */
function subgroupMatrices({ component, m, n, k }: MatrixUnit): Fragments {
  const left = `subgroup_matrix_left<${component}, ${k}, ${m}>`
  const right = `subgroup_matrix_right<${component}, ${n}, ${k}>`
  const sum = `subgroup_matrix_result<f32, ${n}, ${m}>`
  return {
    name: 'units',
    extensions: ['chromium_experimental_subgroup_matrix', ...(component === 'f16' ? ['f16'] : [])],
    sum: (name) => `var ${name} = ${sum}();`,
    left: (name, offset, stride) =>
      `let ${name} = subgroupMatrixLoad<${left}, col_major>(&aTile, ${offset}, ${stride}u);`,
    right: (name, offset, stride) =>
      `let ${name} = subgroupMatrixLoad<${right}, row_major>(&bTile, ${offset}, ${stride}u);`,
    multiply: (name, a, b) => `${name} = subgroupMatrixMultiplyAccumulate(${a}, ${b}, ${name});`,
    store: (name, offset, stride) => `subgroupMatrixStore<row_major>(&sums, ${offset}, ${name}, ${stride}u);`,
  }
}

const side = 64
/** Rows and columns of a subgroup's piece of the tile. */
const piece = 32

/** Steps of k staged at once. */
const depthOf = ({ k }: MatrixUnit) => Math.max(16, k)

/** Elements behind each row of a block: 16 bytes, which fragments' strides must be multiples of. */
const paddingOf = ({ component }: MatrixUnit) => (component === 'f16' ? 8 : 4)

const invocations = ({ lanes }: MatrixUnit) => 4 * lanes

/** Whether the kernel can be made of this unit on a device. */
export function unitFits(unit: MatrixUnit, limits: MatmulLimits): boolean {
  const blocks = 2 * depthOf(unit) * (side + paddingOf(unit)) * (unit.component === 'f16' ? 2 : 4)
  return (
    piece % unit.m === 0 &&
    piece % unit.n === 0 &&
    depthOf(unit) % unit.k === 0 &&
    invocations(unit) <= limits.maxComputeInvocationsPerWorkgroup &&
    blocks + 4 * side * side <= limits.maxComputeWorkgroupStorageSize
  )
}

function write(
  unit: MatrixUnit,
  fragments: Fragments,
  a: StageOrder,
  b: StageOrder,
  vectorStore: boolean,
): MatmulTemplate {
  const depth = depthOf(unit)
  const stride = side + paddingOf(unit)
  const team = invocations(unit)
  const [down, across] = [piece / unit.m, piece / unit.n]
  const cells = (line: (i: number, j: number) => string) => unroll(down, (i) => unroll(across, (j) => line(i, j)))
  const block = { extent: side, stride, element: unit.component }
  const store = vectorStore
    ? `store_out4(place + column, vec4<f32>(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]));`
    : unroll(
        4,
        (j) => `if (column + ${j}u < N) { store_out(place + (column + ${j}u) * ${word('outCol')}, sums[at + ${j}u]); }`,
      )
  const code = `
var<workgroup> aTile: array<${unit.component}, ${depth * stride}>;
var<workgroup> bTile: array<${unit.component}, ${depth * stride}>;
var<workgroup> sums: array<f32, ${side * side}>;
@compute @workgroup_size(${team})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) member: u32) {${tilePrologue(side, side)}
  let part = member / ${unit.lanes}u;
  let y = (part / 2u) * ${piece}u;
  let x = (part % 2u) * ${piece}u;
  let aBlock = 0u;
  let bBlock = 0u;
  ${cells((i, j) => fragments.sum(`sum${i}_${j}`))}
  for (var k0 = 0u; k0 < K; k0 += ${depth}u) {
    ${stage({ ...a, ...block, name: 'a', first: 'row0', limit: 'M', strideOuter: word('aRow'), strideK: word('aCol') }, depth, team)}
    ${stage({ ...b, ...block, name: 'b', first: 'col0', limit: 'N', strideOuter: word('bCol'), strideK: word('bRow') }, depth, team)}
    workgroupBarrier();
    for (var k = 0u; k < ${word('chunk')}; k += ${unit.k}u) {
      ${unroll(down, (i) => fragments.left(`left${i}`, `k * ${stride}u + y + ${i * unit.m}u`, stride))}
      ${unroll(across, (j) => fragments.right(`right${j}`, `k * ${stride}u + x + ${j * unit.n}u`, stride))}
      ${cells((i, j) => fragments.multiply(`sum${i}_${j}`, `left${i}`, `right${j}`))}
    }
    workgroupBarrier();
  }
  ${cells((i, j) => fragments.store(`sum${i}_${j}`, `(y + ${i * unit.m}u) * ${side}u + x + ${j * unit.n}u`, side))}
  workgroupBarrier();
  for (var e = member; e < ${(side * side) / 4}u; e += ${team}u) {
    let at = e * 4u;
    let row = row0 + at / ${side}u;
    let column = col0 + at % ${side}u;
    if (row < M && column < N) {
      let place = outBase + row * ${word('outRow')};
      ${store}
    }
  }
}
`
  const order = ({ alongK, vector }: StageOrder) => `${alongK ? 'k' : 'o'}${vector ? 'v' : ''}`
  return {
    key: `${fragments.name}${unit.component}x${unit.m}x${unit.n}x${unit.k}x${unit.lanes}${order(a)}${order(b)}${vectorStore ? 'w' : ''}`,
    code,
    tileRows: side,
    tileColumns: side,
    chunk: depth,
    workgroupSize: [team, 1, 1],
    vectorStore,
    vectorA: a.vector,
    vectorB: b.vector,
    subgroups: false,
    extensions: fragments.extensions,
  }
}

/** The kernel of a unit. `a` and `b` say how the operands are staged. */
export const unitsTemplate = keepTemplates(
  (unit: MatrixUnit, a: StageOrder, b: StageOrder, vectorStore: boolean): MatmulTemplate =>
    write(unit, subgroupMatrices(unit), a, b, vectorStore),
)

/** The kernel with fragments of the caller's: for tests where there are no matrix units. */
export const unitsTemplateWith = write
