/**
 * Two products written for the probes, C = A·B of square matrices whose size is a multiple of 64: one of register tiles in
 * workgroup memory, and one of matrix units (Dawn's `chromium_experimental_subgroup_matrix`,
 * https://dawn.googlesource.com/dawn/+/refs/heads/main/docs/dawn/features/subgroup_matrix.md).
 */

const bindings = (element) => `
struct Size { m: u32, n: u32, k: u32, unused: u32 }
@group(0) @binding(0) var<uniform> size: Size;
@group(0) @binding(1) var<storage, read> a: array<${element}>;
@group(0) @binding(2) var<storage, read> b: array<${element}>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;`

const repeat = (count, line) => Array.from({ length: count }, (_, index) => line(index)).join('\n')

/** 64 × 64 a workgroup of 16 × 16 invocations, 4 × 4 sums each. */
export function tiledCode(element) {
  return `${element === 'f16' ? 'enable f16;' : ''}${bindings(element)}
var<workgroup> aTile: array<${element}, ${16 * 68}>;
var<workgroup> bTile: array<${element}, ${16 * 68}>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
  let row = group.y * 64u;
  let column = group.x * 64u;
  let y = (at / 16u) * 4u;
  let x = (at % 16u) * 4u;
  ${repeat(4, (i) => `var sum${i} = vec4<f32>();`)}
  for (var start = 0u; start < size.k; start += 16u) {
    for (var e = at; e < 1024u; e += 256u) {
      aTile[(e % 16u) * 68u + e / 16u] = a[(row + e / 16u) * size.k + start + e % 16u];
      bTile[(e / 64u) * 68u + e % 64u] = b[(start + e / 64u) * size.n + column + e % 64u];
    }
    workgroupBarrier();
    for (var k = 0u; k < min(16u, size.k); k++) {
      let v = vec4<f32>(vec4(bTile[k * 68u + x], bTile[k * 68u + x + 1u], bTile[k * 68u + x + 2u], bTile[k * 68u + x + 3u]));
      ${repeat(4, (i) => `sum${i} += f32(aTile[k * 68u + y + ${i}u]) * v;`)}
    }
    workgroupBarrier();
  }
  ${repeat(4, (i) => repeat(4, (j) => `c[(row + y + ${i}u) * size.n + column + x + ${j}u] = sum${i}[${j}];`))}
}`
}

/** 64 × 64 a workgroup of four subgroups, each two by two blocks of 16 rows, as many fragments as that takes. */
export function matrixUnitCode({ componentType, M, N, K, lanes }) {
  const left = `subgroup_matrix_left<${componentType}, ${K}, ${M}>`
  const right = `subgroup_matrix_right<${componentType}, ${N}, ${K}>`
  const result = `subgroup_matrix_result<f32, ${N}, ${M}>`
  const [down, across] = [32 / M, 32 / N]
  const cells = repeat(down, (i) => repeat(across, (j) => `var sum${i}_${j} = ${result}();`))
  return `enable chromium_experimental_subgroup_matrix;
${componentType === 'f16' ? 'enable f16;' : ''}${bindings(componentType)}
@compute @workgroup_size(${4 * lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) at: u32) {
  let part = at / ${lanes}u;
  let row = group.y * 64u + (part / 2u) * 32u;
  let column = group.x * 64u + (part % 2u) * 32u;
  ${cells}
  for (var k = 0u; k < size.k; k += ${K}u) {
    ${repeat(down, (i) => `let left${i} = subgroupMatrixLoad<${left}, row_major>(&a, (row + ${i * M}u) * size.k + k, size.k);`)}
    ${repeat(across, (j) => `let right${j} = subgroupMatrixLoad<${right}, row_major>(&b, k * size.n + column + ${j * N}u, size.n);`)}
    ${repeat(down, (i) => repeat(across, (j) => `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(left${i}, right${j}, sum${i}_${j});`))}
  }
  ${repeat(down, (i) => repeat(across, (j) => `subgroupMatrixStore<row_major>(&c, (row + ${i * M}u) * size.n + column + ${j * N}u, sum${i}_${j}, size.n);`))}
}`
}
