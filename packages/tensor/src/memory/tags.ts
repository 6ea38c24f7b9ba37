/**
 * Tags: what memory is for. Everything made while a tag is set carries it, and accounting adds up by it.
 */
let current = 'untagged'

/** The tag of whatever is made now. */
export function currentTag(): string {
  return current
}

/** Runs `fn`, which must be synchronous, with another tag. */
export function withTag<T>(tag: string, fn: () => T): T {
  const before = current
  current = tag
  try {
    return fn()
  } finally {
    current = before
  }
}
