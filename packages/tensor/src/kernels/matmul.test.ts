import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import fc from 'fast-check'
import { create, globals } from 'webgpu'
import { gpuTiles } from './matmul-choice.js'
import {
  planMatmul,
  planPanels,
  type MatmulLimits,
  type MatmulOperand,
  type MatmulOptions,
  type MatmulPlan,
  type MatmulShape,
} from './matmul.js'
import type { PanelCopy } from './matmul-panels.js'

type Family = 'gpu' | 'software' | 'shuffles'
type Layout = 'rows' | 'columns' | 'strided'

/** A product in the terms of the test: the planner's arguments and the numbers behind them. */
interface Case {
  readonly shape: MatmulShape
  readonly a: MatmulOperand
  readonly b: MatmulOperand
  readonly dataA: Float32Array
  readonly dataB: Float32Array
}

let gpu: GPU
let device: GPUDevice
let subgroupSize: number | undefined
const pipelines = new Map<string, { pipeline: GPUComputePipeline; code: string }>()

beforeAll(async () => {
  Object.assign(globalThis, globals)
  gpu = create([])
  const adapter = await gpu.requestAdapter()
  if (!adapter) throw new Error('No WebGPU adapter.')
  const features = ['shader-f16', 'subgroups'] as const
  device = await adapter.requestDevice({ requiredFeatures: features.filter((name) => adapter.features.has(name)) })
  const { subgroupMinSize, subgroupMaxSize } = adapter.info
  if (device.features.has('subgroups') && subgroupMinSize === subgroupMaxSize) subgroupSize = subgroupMinSize
})

afterAll(() => {
  device.destroy()
  expect(gpu).toBeDefined()
})

/**
 * Rasterisers take seconds to compile one unrolled register tile; the smallest is the same text with other numbers.
 * Products of one row keep the true limits, to run the tile whose teams share K.
 */
function limitsOf(family: Family, { m }: MatmulShape): MatmulLimits {
  if (family !== 'gpu' || m === 1) return device.limits
  return { ...smallDevice, maxComputeWorkgroupsPerDimension: device.limits.maxComputeWorkgroupsPerDimension }
}

const smallDevice = { maxComputeInvocationsPerWorkgroup: 32, maxComputeWorkgroupStorageSize: 4096 }

function options(family: Family): MatmulOptions {
  if (family === 'gpu') return {}
  return family === 'shuffles' && subgroupSize !== undefined ? { software: true, subgroupSize } : { software: true }
}

function moduleText(plan: MatmulPlan, a: MatmulOperand, b: MatmulOperand): string {
  const type = (operand: MatmulOperand, vector: boolean) => (vector ? `vec4<${operand.dtype}>` : operand.dtype)
  const load = (name: string, vector: boolean) =>
    vector
      ? `fn ${name}4(i: u32) -> vec4<f32> { return vec4<f32>(${name}_data[i >> 2u]); }`
      : `fn ${name}(i: u32) -> f32 { return f32(${name}_data[i]); }`
  return `${a.dtype === 'f16' || b.dtype === 'f16' ? 'enable f16;' : ''}
${plan.subgroups ? 'enable subgroups;' : ''}
struct Params { mm: array<vec4<u32>, ${plan.params.length / 4}> }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mm_a_data: array<${type(a, plan.vectorA)}>;
@group(0) @binding(2) var<storage, read> mm_b_data: array<${type(b, plan.vectorB)}>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;
${load('mm_a', plan.vectorA)}
${load('mm_b', plan.vectorB)}
fn store_out(i: u32, v: f32) { result[i] = result[i] + 1000.0 + v; }
${plan.vectorStore ? 'fn store_out4(i: u32, v: vec4<f32>) { for (var j = 0u; j < 4u; j++) { store_out(i + j, v[j]); } }' : ''}
${plan.code}`
}

function pipelineOf(plan: MatmulPlan, a: MatmulOperand, b: MatmulOperand): GPUComputePipeline {
  const code = moduleText(plan, a, b)
  const known = pipelines.get(plan.key)
  if (known) {
    expect(known.code).toBe(code)
    return known.pipeline
  }
  const module = device.createShaderModule({ code })
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } })
  pipelines.set(plan.key, { pipeline, code })
  return pipeline
}

function halfBits(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0
  const exponent = ((bits >>> 23) & 0xff) - 112
  return value === 0 ? 0 : ((bits >>> 16) & 0x8000) | (exponent << 10) | ((bits >>> 13) & 0x3ff)
}

function upload(data: Float32Array | Uint32Array, dtype: 'f32' | 'f16', usage: number): GPUBuffer {
  const source = dtype === 'f16' ? Uint16Array.from(data, halfBits) : data
  const bytes = new Uint8Array(Math.max(16, Math.ceil(source.byteLength / 16) * 16))
  bytes.set(new Uint8Array(source.buffer, source.byteOffset, source.byteLength))
  const buffer = device.createBuffer({ size: bytes.byteLength, usage: usage | GPUBufferUsage.COPY_DST })
  device.queue.writeBuffer(buffer, 0, bytes)
  return buffer
}

/** Runs a plan; every element of the output must have been stored exactly once. */
async function run(plan: MatmulPlan, { shape, a, b, dataA, dataB }: Case): Promise<Float64Array> {
  const size = shape.batch[0] * shape.batch[1] * shape.batch[2] * shape.m * shape.n
  const bytes = Math.max(16, size * 4)
  device.pushErrorScope('validation')
  const pipeline = pipelineOf(plan, a, b)
  const result = device.createBuffer({ size: bytes, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC })
  const staging = device.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
  const buffers = [
    upload(Uint32Array.from(plan.params), 'f32', GPUBufferUsage.UNIFORM),
    upload(dataA, a.dtype, GPUBufferUsage.STORAGE),
    upload(dataB, b.dtype, GPUBufferUsage.STORAGE),
    result,
  ]
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }))
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
  pass.dispatchWorkgroups(...plan.workgroups)
  pass.end()
  encoder.copyBufferToBuffer(result, 0, staging, 0, bytes)
  device.queue.submit([encoder.finish()])
  const error = await device.popErrorScope()
  if (error) throw new Error(error.message)
  await staging.mapAsync(GPUMapMode.READ)
  const values = Float64Array.from(
    new Float32Array(staging.getMappedRange(0, bytes)).subarray(0, size),
    (v) => v - 1000,
  )
  for (const buffer of [...buffers, staging]) buffer.destroy()
  return values
}

/** Runs the copy of an operand into panels. */
async function copied(
  { size, code, vector, params, workgroups }: PanelCopy,
  { dtype }: MatmulOperand,
  data: Float32Array,
) {
  const text = `${dtype === 'f16' ? 'enable f16;' : ''}
struct Params { mm: array<vec4<u32>, ${params.length / 4}> }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<${vector ? `vec4<${dtype}>` : dtype}>;
@group(0) @binding(2) var<storage, read_write> panels: array<vec4<f32>>;
fn mm_p${vector ? `4(i: u32) -> vec4<f32> { return vec4<f32>(values[i >> 2u]); }` : '(i: u32) -> f32 { return f32(values[i]); }'}
fn store_panel(i: u32, v: vec4<f32>) { panels[i >> 2u] = v; }
${code}`
  const module = device.createShaderModule({ code: text })
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } })
  const panels = device.createBuffer({ size: size * 4, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC })
  const staging = device.createBuffer({ size: size * 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
  const buffers = [
    upload(Uint32Array.from(params), 'f32', GPUBufferUsage.UNIFORM),
    upload(data, dtype, GPUBufferUsage.STORAGE),
    panels,
  ]
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }))
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
  // Folded as emission folds it, to test that.
  pass.dispatchWorkgroups(Math.ceil(workgroups / 2), 2)
  pass.end()
  encoder.copyBufferToBuffer(panels, 0, staging, 0, size * 4)
  device.queue.submit([encoder.finish()])
  await staging.mapAsync(GPUMapMode.READ)
  const values = new Float32Array(staging.getMappedRange().slice(0))
  for (const buffer of [...buffers, staging]) buffer.destroy()
  return values
}

function reference({ shape, a, b, dataA, dataB }: Case): Float64Array {
  const { batch, m, n, k } = shape
  const at = (data: Float32Array, o: MatmulOperand, [i, j, l]: readonly number[], row: number, column: number) =>
    data[
      o.offset +
        (i ?? 0) * o.batchStrides[0] +
        (j ?? 0) * o.batchStrides[1] +
        (l ?? 0) * o.batchStrides[2] +
        row * o.rowStride +
        column * o.colStride
    ] ?? NaN
  const values: number[] = []
  for (let i = 0; i < batch[0]; i++)
    for (let j = 0; j < batch[1]; j++)
      for (let l = 0; l < batch[2]; l++)
        for (let row = 0; row < m; row++)
          for (let column = 0; column < n; column++) {
            let sum = 0
            for (let d = 0; d < k; d++) sum += at(dataA, a, [i, j, l], row, d) * at(dataB, b, [i, j, l], d, column)
            values.push(sum)
          }
  return Float64Array.from(values)
}

interface OperandSpec {
  readonly layout: Layout
  readonly dtype: 'f32' | 'f16'
  readonly offset: number
  /** Batch dimensions along which the operand is broadcast. */
  readonly broadcast: readonly [boolean, boolean, boolean]
}

/** Small multiples of 1/8: exact in f16, and their products and short sums in f32. */
function numbers(length: number, seed: number): Float32Array {
  let state = seed | 1
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return ((state >>> 20) % 33) / 8 - 2
  })
}

function operand(
  spec: OperandSpec,
  batch: MatmulShape['batch'],
  rows: number,
  columns: number,
): [MatmulOperand, number] {
  const { layout, dtype, offset, broadcast } = spec
  const [rowStride, colStride] =
    layout === 'rows' ? [columns, 1] : layout === 'columns' ? [1, rows] : [2 * columns + 1, 2]
  let next = layout === 'strided' ? rows * rowStride : rows * columns
  const strides: [number, number, number] = [0, 0, 0]
  for (const axis of [2, 1, 0] as const) {
    if (broadcast[axis]) continue
    strides[axis] = next
    next *= batch[axis]
  }
  return [{ dtype, offset, batchStrides: strides, rowStride, colStride }, offset + next]
}

function makeCase(shape: MatmulShape, a: OperandSpec, b: OperandSpec): Case {
  const [operandA, sizeA] = operand(a, shape.batch, shape.m, shape.k)
  const [operandB, sizeB] = operand(b, shape.batch, shape.k, shape.n)
  return { shape, a: operandA, b: operandB, dataA: numbers(sizeA, 7), dataB: numbers(sizeB, 99) }
}

async function check(product: Case, family: Family): Promise<MatmulPlan> {
  const plan = planMatmul(product.shape, product.a, product.b, limitsOf(family, product.shape), options(family))
  await verify(plan, product)
  return plan
}

/** @param given What the kernel is given, where that is not the product itself. */
async function verify(plan: MatmulPlan, product: Case, given = product): Promise<void> {
  expect(plan.params.length % 4).toBe(0)
  const actual = await run(plan, given)
  const expected = reference(product)
  // The sums are exact; adding 1000 rounds to 2⁻¹³ of at most 2¹³.
  let worst = 0
  expected.forEach((value, index) => (worst = Math.max(worst, Math.abs(value - (actual[index] ?? NaN)))))
  expect(worst, `${plan.key} ${JSON.stringify(product.shape)}`).toBeLessThanOrEqual(1e-3)
}

const plain = (layout: Layout): OperandSpec => ({ layout, dtype: 'f32', offset: 0, broadcast: [false, false, false] })
const one: MatmulShape['batch'] = [1, 1, 1]
const families: Family[] = ['gpu', 'software', 'shuffles']
const layouts: Layout[] = ['rows', 'columns', 'strided']
const layoutPairs: [Layout, Layout][] = [
  ['rows', 'rows'],
  ['rows', 'columns'],
  ['columns', 'rows'],
  ['columns', 'columns'],
  ['rows', 'strided'],
  ['strided', 'strided'],
]

describe.each(families)('%s kernels', (family) => {
  test.each(layoutPairs)('A in %s, B in %s', async (a, b) => {
    await check(makeCase({ batch: one, m: 36, n: 44, k: 28 }, plain(a), plain(b)), family)
    if (a === b) await check(makeCase({ batch: one, m: 19, n: 33, k: 21 }, plain(a), plain(b)), family)
  })

  test.each([
    ['one row', 1, 70, 50],
    ['few rows', 6, 40, 30],
    ['one column', 50, 1, 37],
    ['few columns', 40, 6, 24],
    ['one element', 1, 1, 1],
    ['deep and small', 20, 36, 700],
    ['large', 513, 512, 5],
    ['nothing to sum', 5, 6, 0],
    ['no rows', 0, 6, 4],
    ['no columns', 6, 0, 4],
  ])('%s', async (_, m, n, k) => {
    await check(makeCase({ batch: one, m, n, k }, plain('rows'), plain('columns')), family)
  })

  test('shapes, layouts, types, offsets and broadcasts at random', async () => {
    const dtypes = fc.constantFrom(
      ...(device.features.has('shader-f16') ? (['f32', 'f16'] as const) : (['f32'] as const)),
    )
    const spec = fc.record({
      layout: fc.constantFrom(...layouts),
      dtype: dtypes,
      offset: fc.constantFrom(0, 3, 8),
      broadcast: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()),
    })
    const extent = fc.oneof(
      fc.integer({ min: 1, max: 70 }),
      fc.integer({ min: 1, max: 17 }).map((v) => v * 4),
    )
    const batch = fc.tuple(
      fc.integer({ min: 1, max: 2 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 2 }),
    )
    const shape = fc.record({ batch, m: extent, n: extent, k: extent })
    await fc.assert(
      fc.asyncProperty(shape, spec, spec, async (s, a, b) => {
        await check(makeCase(s, a, b), family)
      }),
      { numRuns: family === 'gpu' ? 5 : 8, seed: 20261122 },
    )
  })

  test('half-precision operands', async (context) => {
    if (!device.features.has('shader-f16')) context.skip()
    const half = (layout: Layout): OperandSpec => ({ ...plain(layout), dtype: 'f16', offset: 4 })
    await check(makeCase({ batch: one, m: 24, n: 40, k: 16 }, half('rows'), half('columns')), family)
    await check(makeCase({ batch: one, m: 24, n: 40, k: 16 }, half('rows'), plain('rows')), family)
  })

  test('a batch that meets one B becomes rows of one product', async () => {
    const shared: OperandSpec = { ...plain('columns'), broadcast: [true, true, true] }
    const plan = await check(makeCase({ batch: [2, 3, 4], m: 3, n: 20, k: 12 }, plain('rows'), shared), family)
    expect(plan.params.slice(0, 1)).toEqual([72])
  })

  test('grids beyond the limit of one dimension fold', async () => {
    const product = makeCase({ batch: [5, 7, 3], m: 2, n: 5, k: 3 }, plain('rows'), plain('strided'))
    const limits = { ...smallDevice, maxComputeWorkgroupsPerDimension: 8 }
    const plan = planMatmul(product.shape, product.a, product.b, limits, options(family))
    expect(plan.workgroups[1]).toBeGreaterThan(1)
    const actual = await run(plan, product)
    reference(product).forEach((value, index) => {
      expect(actual[index]).toBeCloseTo(value, 3)
    })
  })
})

/** Every tile meets every way of loading an operand, on edges that do and do not divide, with two compilations each. */
describe('tiles of the lanes kernel', () => {
  test.each([
    [1, 'rows', 'columns'],
    [4, 'columns', 'rows'],
    [8, 'strided', 'columns'],
    [16, 'rows', 'rows'],
    [32, 'columns', 'strided'],
    [32, 'rows', 'columns'],
  ] as const)('%i rows, A in %s, B in %s', async (rows, a, b) => {
    for (const shape of [
      { batch: one, m: 37, n: 44, k: 28 },
      { batch: [1, 1, 2] as const, m: 33, n: 37, k: 27 },
    ]) {
      const product = makeCase(shape, plain(a), plain(b))
      const plan = planMatmul(product.shape, product.a, product.b, device.limits, {
        ...options('shuffles'),
        kernel: `rows${rows}` as const,
      })
      await verify(plan, product)
    }
  })
})

/** Copies of every order and type, on edges of the panels, of K and of a tile, with a stored width that is and is not a vector. */
describe('products over panels', () => {
  test.each([
    [1, 'rows', 'rows', 'f32', { batch: one, m: 64, n: 32, k: 128 }],
    [1, 'columns', 'columns', 'f32', { batch: one, m: 36, n: 44, k: 28 }],
    [1, 'strided', 'rows', 'f32', { batch: one, m: 33, n: 37, k: 27 }],
    [2, 'rows', 'columns', 'f16', { batch: one, m: 100, n: 68, k: 72 }],
    [2, 'columns', 'strided', 'f32', { batch: one, m: 65, n: 33, k: 5 }],
    [2, 'rows', 'rows', 'f32', { batch: [2, 3, 1] as const, m: 11, n: 40, k: 30 }],
  ] as const)('%i a tile, A in %s, B in %s of %s', async (panels, a, b, dtype, shape) => {
    if (subgroupSize === undefined || (dtype === 'f16' && !device.features.has('shader-f16'))) return
    const broadcast = [shape.batch[0] > 1, shape.batch[1] > 1, false] as const
    const product = makeCase(shape, { ...plain(a), dtype, offset: 4 }, { ...plain(b), broadcast })
    const plan = planPanels(product.shape, product.a, product.b, device.limits, options('shuffles'), panels)
    if (!plan) throw new Error('No plan.')
    const operand = { ...product.a, dtype: 'f32' } as const
    const dataA = await copied(plan.a, product.a, product.dataA)
    const dataB = await copied(plan.b, product.b, product.dataB)
    await verify(plan.product, product, { shape: product.shape, a: operand, b: operand, dataA, dataB })
  })

  test('are for large products of one matrix', () => {
    const plan = (batch: number, m: number, n: number, k: number, settings: MatmulOptions) => {
      const { shape, a, b } = makeCase({ batch: [1, 1, batch], m, n, k }, plain('rows'), plain('columns'))
      return planPanels(shape, a, b, device.limits, settings)?.product.key
    }
    const lanes = { software: true, subgroupSize: 8 }
    expect(plan(1, 512, 512, 64, lanes)).toBe('panels32x8:w:f32:f32')
    expect(plan(1, 512, 512, 1024, lanes)).toBe('panels64x8:w:f32:f32')
    expect(plan(1, 64, 1024, 64, lanes)).toBeUndefined()
    expect(plan(2, 512, 512, 64, lanes)).toBeUndefined()
    expect(plan(1, 512, 512, 64, { subgroupSize: 8 })).toBeUndefined()
    expect(plan(1, 512, 512, 64, { software: true })).toBeUndefined()
  })
})

describe('one row', () => {
  test.each([
    [16, 2048, 132, 1],
    [8, 1060, 28, 1],
    [4, 540, 64, 1],
    [8, 260, 68, 2],
    [1, 96, 36, 1],
  ])('%i strips: %i columns of %i rows, %i matrices', async (strips, n, k, matrices) => {
    for (const dtype of device.features.has('shader-f16') ? (['f32', 'f16'] as const) : (['f32'] as const)) {
      const b: OperandSpec = { ...plain('rows'), dtype }
      const product = makeCase({ batch: [1, 1, matrices], m: 1, n, k }, plain('rows'), b)
      const plan = await check(product, 'shuffles')
      if (subgroupSize === 8) expect(plan.key.startsWith(strips > 1 ? `vector${strips}x8` : 'lanes1x8')).toBe(true)
    }
  })

  test('strips of a column vector on its side, and of a matrix inside another', async () => {
    // n × 1 products are computed exchanged, with single stores.
    await check(makeCase({ batch: one, m: 600, n: 1, k: 32 }, plain('columns'), plain('rows')), 'shuffles')
    const inside = makeCase({ batch: one, m: 1, n: 600, k: 32 }, plain('rows'), { ...plain('rows'), offset: 8 })
    await check(inside, 'shuffles')
  })
})

/** Tiles no software GPU is given by itself: with accumulators of eight rows, and with teams that share K. */
describe('tiles of the GPU kernel', () => {
  test.each([
    ['wide', 'rows', 'columns'],
    ['tall', 'columns', 'strided'],
    ['large', 'strided', 'rows'],
    ['deep', 'rows', 'rows'],
  ] as const)(
    '%s, A in %s, B in %s',
    async (kernel, a, b) => {
      const product = makeCase({ batch: [1, 1, 2], m: 131, n: 133, k: 37 }, plain(a), plain(b))
      const plan = planMatmul(product.shape, product.a, product.b, device.limits, { kernel })
      const { tileRows, tileColumns } = gpuTiles[kernel]
      expect(plan.key.startsWith(`tile${tileRows}x${tileColumns}x`)).toBe(true)
      await verify(plan, product)
    },
    60_000,
  )
})

describe('planMatmul()', () => {
  const limits = {
    maxComputeInvocationsPerWorkgroup: 256,
    maxComputeWorkgroupStorageSize: 16384,
    maxComputeWorkgroupsPerDimension: 65535,
  }
  const plan = (
    m: number,
    n: number,
    k: number,
    overrides: Partial<typeof limits> = {},
    settings: MatmulOptions = {},
  ) => {
    const { shape, a, b } = makeCase({ batch: one, m, n, k }, plain('rows'), plain('columns'))
    return planMatmul(shape, a, b, { ...limits, ...overrides }, settings)
  }

  test.each([
    [512, 512, 128, 'tile64x64'],
    [100, 100, 128, 'tile32x32x16'],
    [128, 64, 4096, 'tile32x32x8x4x4x4'],
    [8, 512, 128, 'tile8x32'],
    [1, 512, 128, 'tile1x32'],
  ])('%i × %i × %i takes %s', (m, n, k, key) => {
    expect(plan(m, n, k).key.startsWith(key)).toBe(true)
  })

  test('the key is free of shapes', () => {
    expect(plan(96, 64, 32).key).toBe(plan(48, 36, 100).key)
    expect(plan(96, 64, 32).code).toBe(plan(48, 36, 100).code)
  })

  test('small devices get a tile that fits', () => {
    const small = plan(512, 512, 128, smallDevice)
    expect(small.workgroupSize[0] * small.workgroupSize[1]).toBeLessThanOrEqual(32)
    expect(small.key.startsWith('tile16x16')).toBe(true)
  })

  test('an unaligned offset or row stride forbids vector loads', () => {
    const { shape, a, b } = makeCase({ batch: one, m: 64, n: 64, k: 64 }, plain('rows'), plain('columns'))
    expect(planMatmul(shape, a, b, limits)).toMatchObject({ vectorA: true, vectorB: true, vectorStore: true })
    expect(planMatmul(shape, { ...a, offset: 2 }, b, limits)).toMatchObject({ vectorA: false, vectorB: true })
    expect(planMatmul(shape, a, { ...b, colStride: 66 }, limits)).toMatchObject({ vectorA: true, vectorB: false })
  })

  test('narrow outputs exchange the operands and their vector flags', () => {
    const { shape, a, b } = makeCase({ batch: one, m: 64, n: 3, k: 64 }, plain('rows'), plain('columns'))
    const narrow = planMatmul(shape, a, { ...b, offset: 1 }, limits)
    expect(narrow).toMatchObject({ vectorA: true, vectorB: false, vectorStore: false })
  })

  test('rasterisers use shuffles only where the subgroup has one size', () => {
    expect(plan(64, 64, 64, {}, { software: true, subgroupSize: 8 })).toMatchObject({ subgroups: true })
    expect(plan(64, 64, 64, {}, { software: true })).toMatchObject({ subgroups: false })
    expect(plan(64, 64, 64, {}, { software: true, subgroupSize: 64 })).toMatchObject({ subgroups: false })
  })
})
