/** temporary */
export interface MatmulShape {
  readonly batch: readonly [number, number, number]
  readonly m: number
  readonly n: number
  readonly k: number
}
export interface MatmulOperand {
  readonly dtype: 'f32' | 'f16'
  readonly offset: number
  readonly batchStrides: readonly [number, number, number]
  readonly rowStride: number
  readonly colStride: number
}
export interface MatmulPlan {
  readonly key: string
  readonly code: string
  readonly workgroups: readonly [number, number, number]
  readonly params: readonly number[]
  readonly vectorStore: boolean
  readonly vectorA: boolean
  readonly vectorB: boolean
}
export function planMatmul(
  shape: MatmulShape,
  a: MatmulOperand,
  b: MatmulOperand,
  _limits: GPUSupportedLimits,
  _options: { software?: boolean } = {},
): MatmulPlan {
  const { batch, m, n, k } = shape
  const params = [m, n, k, batch[1], batch[2], batch[0] * batch[1] * batch[2], a.offset, a.rowStride, a.colStride, ...a.batchStrides, b.offset, b.rowStride, b.colStride, ...b.batchStrides]
  while (params.length % 4) params.push(0)
  const P = (i: number) => `params.mm[${i >> 2}][${i & 3}]`
  const code = `
var<workgroup> ta: array<f32, 512>;
var<workgroup> tb: array<f32, 512>;
@compute @workgroup_size(8, 8, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>, @builtin(local_invocation_index) lidx: u32) {
  let M = ${P(0)}; let N = ${P(1)}; let K = ${P(2)};
  let bz = wid.z;
  let i2 = bz % ${P(4)}; let i1 = (bz / ${P(4)}) % ${P(3)}; let i0 = bz / (${P(4)} * ${P(3)});
  let abase = ${P(6)} + i0*${P(9)} + i1*${P(10)} + i2*${P(11)};
  let bbase = ${P(12)} + i0*${P(15)} + i1*${P(16)} + i2*${P(17)};
  let row0 = wid.y * 32u; let col0 = wid.x * 32u;
  var acc: array<f32, 16>;
  for (var k0 = 0u; k0 < K; k0 += 16u) {
    for (var t = 0u; t < 8u; t++) {
      let e = t * 64u + lidx;
      let r = e / 16u; let c = e % 16u;
      var va = 0.0; if (row0 + r < M && k0 + c < K) { va = f32(mm_a[abase + (row0 + r) * ${P(7)} + (k0 + c) * ${P(8)}]); }
      ta[e] = va;
      let rb = e / 32u; let cb = e % 32u;
      var vb = 0.0; if (k0 + rb < K && col0 + cb < N) { vb = f32(mm_b[bbase + (k0 + rb) * ${P(13)} + (col0 + cb) * ${P(14)}]); }
      tb[e] = vb;
    }
    workgroupBarrier();
    for (var kk = 0u; kk < 16u; kk++) {
      for (var i = 0u; i < 4u; i++) { let x = ta[(lid.y * 4u + i) * 16u + kk];
        for (var j = 0u; j < 4u; j++) { acc[i*4u+j] += x * tb[kk * 32u + lid.x * 4u + j]; } }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 4u; i++) { for (var j = 0u; j < 4u; j++) {
    let r = row0 + lid.y * 4u + i; let c = col0 + lid.x * 4u + j;
    if (r < M && c < N) { store_out(bz * M * N + r * N + c, acc[i*4u+j]); }
  } }
}`
  return { key: 'simple', code, workgroups: [Math.ceil(n / 32), Math.ceil(m / 32), batch[0] * batch[1] * batch[2]], params, vectorStore: false, vectorA: false, vectorB: false }
}
