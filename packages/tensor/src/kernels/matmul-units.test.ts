/**
 * The kernel for matrix units without matrix units: with fragments whose elements are spread over the lanes in plain WGSL,
 * staging, tiling, ragged edges and the way out are those of the real text. What the extension's own calls do only such
 * hardware can show.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDevice, type Device } from '../device/device.js'
import { matrixUnitOf } from '../device/adapter.js'
import { planMatmul, type MatmulOperand } from './matmul.js'
import { unitFits, unitsTemplateWith, type Fragments, type MatrixUnit } from './matmul-units.js'
import type { StageOrder } from './matmul-tile.js'

let device: Device
beforeAll(async () => {
  device = await createDevice()
})
afterAll(() => device.destroy())

/** Element e of a fragment lies in lane e mod lanes. */
function spread({ m, n, k, lanes }: MatrixUnit): Fragments {
  const own = Math.ceil((m * n) / lanes)
  // Not a constant to the driver, which would unroll sixteen such loops.
  const bound = (count: number) => `${count}u + (M >> 31u)`
  const each = (body: string) =>
    `for (var s = 0u; s < ${bound(own)}; s++) { let e = member % ${lanes}u + s * ${lanes}u; if (e < ${m * n}u) { ${body} } }`
  const strides: Record<string, number> = {}
  return {
    name: 'spread',
    extensions: [],
    sum: (name) => `var ${name}: array<f32, ${own}>;`,
    left: (name, offset, stride) => ((strides['a'] = stride), `let ${name} = ${offset};`),
    right: (name, offset, stride) => ((strides['b'] = stride), `let ${name} = ${offset};`),
    multiply: (sum, left, right) =>
      each(
        `for (var q = 0u; q < ${bound(k)}; q++) { ${sum}[s] += f32(aTile[${left} + q * ${strides['a']}u + e / ${n}u]) * f32(bTile[${right} + q * ${strides['b']}u + e % ${n}u]); }`,
      ),
    store: (sum, offset, stride) => each(`sums[${offset} + (e / ${n}u) * ${stride}u + e % ${n}u] = ${sum}[s];`),
  }
}

const units: readonly MatrixUnit[] = [
  { component: 'f32', m: 8, n: 8, k: 8, lanes: 32 },
  { component: 'f16', m: 16, n: 16, k: 16, lanes: 32 },
  { component: 'f16', m: 8, n: 16, k: 32, lanes: 16 },
]

/** Small multiples of 1/8: exact in f16, and so are their short sums. */
const numbers = (length: number, seed: number) =>
  Float32Array.from({ length }, (_, index) => (((index + seed) * 2654435761) % 33) / 8 - 2)

async function multiply(
  unit: MatrixUnit,
  m: number,
  n: number,
  k: number,
  bAlongK: boolean,
): Promise<[Float32Array, Float32Array]> {
  const [a, b] = [numbers(m * k, 3), numbers(k * n, 11)]
  const b2 = bAlongK ? Float32Array.from(b, (_, index) => b[(index % k) * n + Math.floor(index / k)] as number) : b
  const scalar: StageOrder = { alongK: true, vector: false }
  const template = unitsTemplateWith(unit, spread(unit), scalar, { alongK: bAlongK, vector: false }, n % 4 === 0)
  const operand = (rowStride: number, colStride: number): MatmulOperand => ({
    dtype: 'f32',
    offset: 0,
    batchStrides: [0, 0, 0],
    rowStride,
    colStride,
  })
  // Words of the uniform are those any tile of this size has.
  const shape = { batch: [1, 1, 1] as const, m, n, k }
  const plan = planMatmul(shape, operand(k, 1), bAlongK ? operand(1, k) : operand(n, 1), device.limits, {
    kernel: 'large',
  })
  const words = [...plan.params]
  words[24] = template.chunk
  const { gpu } = device
  const code = `${unit.component === 'f16' ? 'enable f16;' : ''}
struct Params { mm: array<vec4<u32>, ${words.length / 4}> }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a_data: array<f32>;
@group(0) @binding(2) var<storage, read> b_data: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;
fn mm_a(i: u32) -> f32 { return a_data[i]; }
fn mm_b(i: u32) -> f32 { return b_data[i]; }
fn store_out(i: u32, v: f32) { result[i] = result[i] + 1000.0 + v; }
fn store_out4(i: u32, v: vec4<f32>) { for (var j = 0u; j < 4u; j++) { store_out(i + j, v[j]); } }
${template.code}`
  gpu.pushErrorScope('validation')
  const module = gpu.createShaderModule({ code })
  const pipeline = gpu.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } })
  const buffer = (data: Float32Array | Uint32Array, usage: number) => {
    const made = gpu.createBuffer({ size: data.byteLength, usage: usage | GPUBufferUsage.COPY_DST })
    gpu.queue.writeBuffer(made, 0, data)
    return made
  }
  const out = gpu.createBuffer({ size: 4 * m * n, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC })
  const staging = gpu.createBuffer({ size: 4 * m * n, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
  const buffers = [
    buffer(Uint32Array.from(words), GPUBufferUsage.UNIFORM),
    buffer(a, GPUBufferUsage.STORAGE),
    buffer(b2, GPUBufferUsage.STORAGE),
    out,
  ]
  const entries = buffers.map((one, binding) => ({ binding, resource: { buffer: one } }))
  const encoder = gpu.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  pass.setBindGroup(0, gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
  pass.dispatchWorkgroups(...plan.workgroups)
  pass.end()
  encoder.copyBufferToBuffer(out, 0, staging, 0, 4 * m * n)
  gpu.queue.submit([encoder.finish()])
  expect((await gpu.popErrorScope())?.message).toBeUndefined()
  await staging.mapAsync(GPUMapMode.READ)
  const actual = new Float32Array(staging.getMappedRange().slice(0)).map((value) => value - 1000)
  const expected = new Float32Array(m * n)
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0
      for (let q = 0; q < k; q++) sum += (a[i * k + q] as number) * (b[q * n + j] as number)
      expected[i * n + j] = sum
    }
  for (const one of [...buffers, staging]) one.destroy()
  return [actual, expected]
}

describe.each(units)('a unit of %j', (unit) => {
  it.each([
    [64, 64, 32, false],
    [70, 100, 37, true],
    [131, 67, 50, false],
  ] as const)('multiplies %d × %d over %d', async (m, n, k, bAlongK) => {
    const [actual, expected] = await multiply(unit, m, n, k, bAlongK)
    let worst = 0
    expected.forEach((value, index) => (worst = Math.max(worst, Math.abs(value - (actual[index] as number)))))
    expect(worst).toBeLessThanOrEqual(1e-3)
  })
})

describe('choosing units', () => {
  const [single, half] = units as readonly [MatrixUnit, MatrixUnit, MatrixUnit]
  const limits = {
    maxComputeInvocationsPerWorkgroup: 1024,
    maxComputeWorkgroupStorageSize: 49_152,
    maxComputeWorkgroupsPerDimension: 65_535,
  }
  const operand = (dtype: 'f32' | 'f16', rowStride: number): MatmulOperand => ({
    dtype,
    offset: 0,
    batchStrides: [0, 0, 0],
    rowStride,
    colStride: 1,
  })
  const plan = (dtype: 'f32' | 'f16', unit: MatrixUnit, unitRounds = false, m = 128) =>
    planMatmul({ batch: [1, 1, 1], m, n: 128, k: 64 }, operand(dtype, 64), operand(dtype, 128), limits, {
      unit,
      unitRounds,
    })

  it('uses f32 units for everything, f16 units for f16 operands or where rounding is allowed', () => {
    const isUnit = (one: { readonly key: string }) => one.key.startsWith('units')
    expect(isUnit(plan('f32', single))).toBe(true)
    expect(isUnit(plan('f16', half))).toBe(true)
    expect(isUnit(plan('f32', half))).toBe(false)
    expect(isUnit(plan('f32', half, true))).toBe(true)
    expect(isUnit(plan('f16', half, false, 16))).toBe(false)
    expect(plan('f16', half).extensions).toEqual(['chromium_experimental_subgroup_matrix', 'f16'])
    expect(plan('f16', half).code).toContain('subgroupMatrixMultiplyAccumulate(left1, right1, sum1_1)')
  })

  it('leaves units alone that a device cannot stage for', () => {
    expect(unitFits(single, { ...limits, maxComputeWorkgroupStorageSize: 16_384 })).toBe(false)
    expect(unitFits(single, { ...limits, maxComputeInvocationsPerWorkgroup: 64 })).toBe(false)
    expect(unitFits(single, limits)).toBe(true)
  })

  it('reads them from what the adapter tells', () => {
    const config = (componentType: string, size: number, resultComponentType = 'f32') => ({
      componentType,
      resultComponentType,
      M: size,
      N: size,
      K: size,
    })
    const info = (subgroupMatrixConfigs: object[]) => ({ subgroupMatrixConfigs }) as unknown as GPUAdapterInfo
    const found = (configs: object[], adapter: { subgroupSize: number | undefined } = { subgroupSize: 32 }) =>
      matrixUnitOf(info(configs), adapter)
    expect(found([config('f32', 8), config('f16', 8), config('f16', 16), config('i8', 16, 'i32')])).toEqual({
      component: 'f16',
      m: 16,
      n: 16,
      k: 16,
      lanes: 32,
    })
    expect(found([config('f16', 16, 'f16')])).toBeNull()
    expect(found([config('f16', 16)], { subgroupSize: undefined })).toBeNull()
    expect(found([])).toBeNull()
  })

  it('asking where there are none leaves the other kernels in place', () => {
    expect(device.matrixUnit).toBeNull()
  })
})
