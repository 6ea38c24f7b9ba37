/**
 * A dispatch as data: what emission produces and the encoder consumes.
 */
import type { DeviceLimits } from '../device/limits.js'
import type { MatmulKernel } from '../kernels/matmul-choice.js'
import type { MatmulProduct } from '../kernels/matmul-plan.js'
import type { MatmulOptions } from '../kernels/matmul.js'
import type { Storage } from './node.js'

/** One compute dispatch, ready to be encoded. */
export interface Dispatch {
  readonly label: string
  readonly code: string
  readonly reads: readonly Storage[]
  readonly writes: readonly Storage[]
  readonly params: readonly number[]
  readonly workgroups: readonly [number, number, number]
  /** Storages cleared before the dispatch. */
  readonly zero?: readonly Storage[]
}

/** What emission needs of the device. */
export interface EmitContext {
  readonly limits: DeviceLimits
  readonly isSoftware: boolean
  /** WGSL's f16 is there; elsewhere halves are unpacked from words. */
  readonly hasF16: boolean
  /** Matrix units to multiply with, where they were asked for and are there. */
  readonly matrixUnits?: Pick<MatmulOptions, 'unit' | 'unitRounds'>
  /** Exact subgroup size, when the device has subgroups and they all have one size. */
  readonly subgroupSize: number | undefined
  /** The adapter's vendor, for defaults that differ. */
  readonly vendor?: string
  /** The measured choice of kernel for a product; undefined for the default. */
  readonly chooseMatmul?: (product: MatmulProduct) => MatmulKernel | undefined
  /** A buffer for the duration of the kernel. */
  temporary(bytes: number): Storage
  release(storage: Storage): void
}

/** Folds a number of workgroups into two dimensions of at most 65,535. */
export function foldGrid(groups: number, limit: number): [number, number] {
  if (groups <= limit) return [Math.max(1, groups), 1]
  const y = Math.ceil(groups / limit)
  return [Math.ceil(groups / y), y]
}
