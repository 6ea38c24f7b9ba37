/**
 * Errors a user can mend: printed as a message without a stack, with an exit code. Everything else is a bug and keeps its
 * stack.
 */
export class UserError extends Error {
  override readonly name: string = 'UserError'
}

/** A configuration that does not say what it must. */
export class ConfigError extends UserError {
  override readonly name = 'ConfigError'
}

/** The text of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
