/**
 * Failures of the device under a policy. This package knows no tensor library, so they are told by name; see
 * {@link Policy}.
 */

/** Causes looked at, so that a cycle of them ends. */
const MOST_CAUSES = 8

function hasName(error: unknown, name: string): boolean {
  let at = error
  for (let depth = 0; depth < MOST_CAUSES && at instanceof Error; depth++) {
    if (at.name === name) return true
    at = at.cause
  }
  return false
}

export const isOutOfMemory = (error: unknown): boolean => hasName(error, 'OutOfMemoryError')
export const isDeviceLost = (error: unknown): boolean => hasName(error, 'DeviceLostError')
