/**
 * What the property tests share: a device per file, random shapes, and inputs that reach the GPU as awkward views.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, expect } from 'vitest'
import { createDevice, type Device, type DeviceOptions, type Tensor } from '../../src/index.js'
import { generate, upload, type NdArray, type Tolerance } from '../../src/testing/index.js'

/** The operations run a second time with REVISUAL_TEST_BINDING: the most bytes of a binding, and few workgroups a side. */
const narrow = process.env['REVISUAL_TEST_BINDING']

/** Fewer random cases a property, in runs that repeat another. */
const few = process.env['REVISUAL_TEST_FEW']

function limitsOfRun(): DeviceOptions['limits'] {
  return narrow ? { maxStorageBufferBindingSize: Number(narrow), maxComputeWorkgroupsPerDimension: 32 } : {}
}

/** Fails on any binding or grid beyond the device's limits: lowered ones are not checked by WebGPU itself. */
export function checkLimits({ gpu, limits }: Device): void {
  const createEncoder = gpu.createCommandEncoder.bind(gpu)
  const createCommandEncoder = () => {
    const encoder = createEncoder()
    const begin = encoder.beginComputePass.bind(encoder)
    const beginComputePass = (descriptor: GPUComputePassDescriptor) => {
      const pass = begin(descriptor)
      const dispatch = pass.dispatchWorkgroups.bind(pass)
      const dispatchWorkgroups = (x: number, y = 1, z = 1) => {
        if (Math.max(x, y, z) > limits.maxComputeWorkgroupsPerDimension) {
          throw new Error(
            `A grid of ${x} × ${y} × ${z}, ${limits.maxComputeWorkgroupsPerDimension} are allowed an axis.`,
          )
        }
        dispatch(x, y, z)
      }
      return Object.assign(pass, { dispatchWorkgroups })
    }
    return Object.assign(encoder, { beginComputePass })
  }
  const create = gpu.createBindGroup.bind(gpu)
  const createBindGroup = (descriptor: GPUBindGroupDescriptor) => {
    const storages = [...descriptor.entries].filter(({ binding }) => binding > 0)
    if (storages.length > limits.maxStorageBuffersPerShaderStage) {
      throw new Error(`${storages.length} storage bindings, ${limits.maxStorageBuffersPerShaderStage} are allowed.`)
    }
    for (const { resource } of storages) {
      const { size } = resource as GPUBufferBinding
      if (size === undefined || size > limits.maxStorageBufferBindingSize) {
        throw new Error(`A binding of ${size} bytes, ${limits.maxStorageBufferBindingSize} are allowed.`)
      }
    }
    return create(descriptor)
  }
  Object.assign(gpu, { createBindGroup, createCommandEncoder })
}

/** A device for the tests of the file. */
export function useDevice(options: DeviceOptions = {}): { readonly current: Device } {
  const holder: { device?: Device } = {}
  beforeAll(async () => {
    holder.device = await createDevice({ ...options, limits: { ...limitsOfRun(), ...options.limits } })
    checkLimits(holder.device)
  })
  afterAll(async () => {
    await holder.device?.sync()
    holder.device?.destroy()
  })
  return {
    get current() {
      if (!holder.device) throw new Error('The device is there only while tests run.')
      return holder.device
    },
  }
}

/** The same cases every time, others in every test; REVISUAL_TEST_SEED=<n> tries new ones. */
function seedOfTest(): number {
  let hash = Number(process.env['REVISUAL_TEST_SEED'] ?? 20260)
  for (const character of expect.getState().currentTestName ?? '')
    hash = (Math.imul(hash, 31) + character.charCodeAt(0)) | 0
  return hash
}

/**
 * Runs an asynchronous property on random values. Every new combination of ranks, strides and vector widths compiles
 * kernels, which is what the time goes into on a CPU: few runs a test, many tests.
 */
export function forAll<T>(values: fc.Arbitrary<T>, property: (value: T) => Promise<void>, runs = 4): Promise<void> {
  const numRuns = few && runs <= 12 ? Math.ceil(runs / 3) : runs
  return fc.assert(fc.asyncProperty(values, property), { numRuns, seed: seedOfTest(), endOnFailure: true })
}

/** Random shapes of rank ≤ `maxRank`; sizes favour multiples of four, which take the vector paths. */
export function shapes(maxRank = 4, maxDimension = 9, minRank = 0): fc.Arbitrary<number[]> {
  const dimension = fc.oneof(fc.integer({ min: 1, max: maxDimension }), fc.constantFrom(1, 4, 8))
  return fc.array(dimension, { minLength: minRank, maxLength: maxRank })
}

/** A shape and another that broadcasts with it: some dimensions 1, some leading ones gone. */
export function broadcastPairs(maxRank = 4, maxDimension = 9): fc.Arbitrary<[number[], number[]]> {
  return shapes(maxRank, maxDimension).chain((shape) =>
    fc
      .tuple(
        fc.array(fc.constantFrom(0, 0, 1, 2), { minLength: shape.length, maxLength: shape.length }),
        fc.nat(shape.length),
        fc.boolean(),
      )
      .map(([ones, drop, swap]) => {
        const first = shape.map((dimension, axis) => (ones[axis] === 1 ? 1 : dimension))
        const second = shape.map((dimension, axis) => (ones[axis] === 2 ? 1 : dimension)).slice(drop)
        return swap ? [second, first] : [first, second]
      }),
  )
}

export const seeds = fc.nat(2 ** 31)

export type Placement = 'plain' | 'permuted' | 'sliced' | 'strided'

export const placements: fc.Arbitrary<Placement> = fc.constantFrom('plain', 'permuted', 'sliced', 'strided')

/** How an array gets onto the GPU. */
export type Upload = (device: Device, x: NdArray) => Tensor

/** The array on the GPU, contiguous or as a view of a larger or transposed buffer whose other elements are huge. */
export function placed(device: Device, x: NdArray, placement: Placement, put: Upload = upload): Tensor {
  const garbage = 1e30
  const rank = x.shape.length
  if (placement === 'permuted') {
    const reversed = x.shape.map((_, axis) => rank - 1 - axis)
    const strides = x.shape.map((_, axis) => x.shape.slice(axis + 1).reduce((a, b) => a * b, 1))
    const flipped = [...x.shape].reverse()
    const data = generate(flipped, (index) => {
      let rest = index
      let source = 0
      for (let axis = rank - 1; axis >= 0; axis--) {
        const dimension = flipped[axis] ?? 1
        source += (rest % dimension) * (strides[rank - 1 - axis] ?? 0)
        rest = Math.floor(rest / dimension)
      }
      return x.data[source] ?? NaN
    })
    return put(device, data).permute(reversed)
  }
  if (placement === 'sliced' && rank > 0) {
    const rows = x.shape[0] ?? 1
    const width = x.data.length / rows
    const larger = generate([rows + 2, ...x.shape.slice(1)], (i) => x.data[i - width] ?? garbage)
    return put(device, larger).slice(0, 1, rows + 1)
  }
  if (placement === 'strided') {
    const pairs = generate([...x.shape, 2], (i) => (i % 2 === 1 ? (x.data[(i - 1) / 2] ?? NaN) : garbage))
    return put(device, pairs).slice(rank, 1, 2).squeeze(rank)
  }
  return put(device, x)
}

/** Places each input by its own placement. */
export function placer(list: readonly Placement[], puts: readonly Upload[] = []) {
  return (device: Device, x: NdArray, index: number) => placed(device, x, list[index] ?? 'plain', puts[index])
}

/** For functions that drivers approximate (WGSL allows a few ulp, more far from zero). */
export const loose: Tolerance = { relative: 2e-5, absolute: 2e-5 }
