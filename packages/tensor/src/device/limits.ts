/**
 * The limits that matter here. A device is opened with all its adapter has; tests lower them to see what happens there.
 */
const LIMITS = [
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
] as const

export type DeviceLimits = Readonly<Record<(typeof LIMITS)[number], number>>

/** What every WebGPU adapter has (the specification's default limits). */
export const guaranteedLimits: DeviceLimits = {
  maxStorageBufferBindingSize: 2 ** 27,
  maxBufferSize: 2 ** 28,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 2 ** 14,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupSizeZ: 64,
  maxComputeWorkgroupsPerDimension: 65_535,
}

/** The limits of a device or adapter, no higher than those asked for. WebGPU itself never goes below its defaults. */
export function limitsOf(limits: GPUSupportedLimits, asked: Partial<DeviceLimits> = {}): DeviceLimits {
  const values = LIMITS.map((name) => [name, Math.min(limits[name], asked[name] ?? Infinity)] as const)
  return Object.fromEntries(values) as Record<(typeof LIMITS)[number], number>
}
