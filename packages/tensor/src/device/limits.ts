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

/** The limits of a device or adapter, no higher than those asked for. WebGPU itself never goes below its defaults. */
export function limitsOf(limits: GPUSupportedLimits, asked: Partial<DeviceLimits> = {}): DeviceLimits {
  const values = LIMITS.map((name) => [name, Math.min(limits[name], asked[name] ?? Infinity)] as const)
  return Object.fromEntries(values) as Record<(typeof LIMITS)[number], number>
}
