/**
 * Finds the adapter and opens the device. The object that `create()` of the `webgpu` package returns must outlive every
 * device made from it: if V8 collects it, Dawn frees its instance under the event loop and the process dies at a random
 * later moment. So there is one per process, held by this module for ever.
 */
import type { MatrixUnit } from '../kernels/matmul-units.js'
import { AdapterError } from './errors.js'

let instance: GPU | undefined
let instanceToggles: readonly string[] = []

async function gpuInstance(toggles: readonly string[]): Promise<GPU> {
  const missing = toggles.filter((toggle) => !instanceToggles.includes(toggle))
  if (instance && missing.length > 0) {
    throw new AdapterError(
      `The toggles '${missing.join("', '")}' cannot be switched on any more: Dawn takes them when the process makes its first device. ` +
        `Give them to the first createDevice() of the process.`,
    )
  }
  if (instance) return instance
  const fromPlatform = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu
  if (fromPlatform) {
    instance = fromPlatform
    return instance
  }
  try {
    const { create, globals } = await import('webgpu')
    Object.assign(globalThis, globals)
    instance = create(toggles.length > 0 ? [`enable-dawn-features=${toggles.join(',')}`] : [])
    instanceToggles = toggles
    return instance
  } catch (error) {
    throw new AdapterError(
      `The 'webgpu' package (Dawn) could not be loaded: ${error instanceof Error ? error.message : String(error)}. ` +
        `Run 'npm install' again; on Linux it needs glibc ≥ 2.34.`,
      { cause: error },
    )
  }
}

export interface AdapterInfo {
  readonly vendor: string
  readonly architecture: string
  readonly device: string
  readonly description: string
  /** True for CPU rasterisers such as lavapipe and SwiftShader; kernels choose other tile shapes there. */
  readonly isSoftware: boolean
  /** Invocations of a subgroup, where all subgroups of the adapter have that size. */
  readonly subgroupSize: number | undefined
}

export function describeAdapter(adapter: GPUAdapter): AdapterInfo {
  const { vendor, architecture, device, description } = adapter.info
  const isSoftware = /llvmpipe|lavapipe|swiftshader|software/i.test(
    `${vendor} ${architecture} ${device} ${description}`,
  )
  const { subgroupMinSize, subgroupMaxSize } = adapter.info
  const subgroupSize = subgroupMinSize && subgroupMinSize === subgroupMaxSize ? subgroupMinSize : undefined
  return { vendor, architecture, device, description, isSoftware, subgroupSize }
}

/** The same adapter, taken for a GPU of which nothing is known. */
export function plainGpu({ description }: AdapterInfo): AdapterInfo {
  const unknown = { vendor: '', architecture: '', device: '', subgroupSize: undefined }
  return { ...unknown, description: `plain GPU, emulated on ${description}`, isSoftware: false }
}

/** One shape of product the adapter's matrix units do; Dawn's `adapter.info.subgroupMatrixConfigs`. */
interface SubgroupMatrixConfig {
  readonly componentType: string
  readonly resultComponentType: string
  readonly M: number
  readonly N: number
  readonly K: number
}

/**
 * The matrix unit worth using: f16 components before f32 ones, the largest product first; sums in f32. Null where the
 * adapter tells of none, or its subgroups have no one size.
 */
export function matrixUnitOf(
  info: GPUAdapterInfo,
  { subgroupSize }: Pick<AdapterInfo, 'subgroupSize'>,
): MatrixUnit | null {
  const { subgroupMatrixConfigs = [] } = info as { subgroupMatrixConfigs?: readonly SubgroupMatrixConfig[] }
  if (subgroupSize === undefined) return null
  const units = [...subgroupMatrixConfigs].flatMap(({ componentType, resultComponentType, M, N, K }): MatrixUnit[] => {
    const isFloat = componentType === 'f16' || componentType === 'f32'
    return isFloat && resultComponentType === 'f32' && 32 % M === 0 && 32 % N === 0
      ? [{ component: componentType, m: M, n: N, k: K, lanes: subgroupSize }]
      : []
  })
  const size = ({ m, n, k }: MatrixUnit) => m * n * k
  units.sort((a, b) => a.component.localeCompare(b.component) || size(b) - size(a))
  return units[0] ?? null
}

/**
 * The adapter WebGPU prefers.
 *
 * @throws {AdapterError} when there is none, with what to do about it on this platform.
 */
export async function requestAdapter(
  powerPreference: GPUPowerPreference = 'high-performance',
  toggles: readonly string[] = [],
): Promise<GPUAdapter> {
  const gpu = await gpuInstance(toggles)
  const adapter = await gpu.requestAdapter({ powerPreference })
  if (adapter) return adapter
  const advice =
    process.platform === 'linux'
      ? "Install a Vulkan driver (for a CPU: 'mesa-vulkan-drivers' ≥ 24; Debian 12 needs it from bookworm-backports), or run 'npm run setup'."
      : 'Update the graphics driver.'
  throw new AdapterError(`No WebGPU adapter was found on this ${process.platform} machine. ${advice}`)
}
