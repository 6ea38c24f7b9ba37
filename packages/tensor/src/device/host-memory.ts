/**
 * How much a software adapter may take. Its memory is the machine's, and Mesa's driver reports none missing: past the end
 * the system kills the process, or the driver crashes. So there the ceiling is set beforehand.
 */
import { totalmem } from 'node:os'

/** The rest is for the process itself and for others. */
const SHARE = 0.8

/** Bytes: a share of what the machine has, or of what its container may use. */
export function hostMemoryShare(): number {
  // Zero, or more than any machine has, where there is no container.
  const allowed = process.constrainedMemory()
  return Math.floor(SHARE * (allowed > 0 ? Math.min(allowed, totalmem()) : totalmem()))
}
