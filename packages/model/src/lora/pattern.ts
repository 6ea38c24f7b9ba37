/**
 * Patterns over module names, as adapter files carry them. They come from strangers and may be regular expressions that
 * take for ever on purpose, so each is tried under a clock that interrupts the matcher. A pattern is only ever matched; no
 * code of a checkpoint runs.
 */
import { runInNewContext } from 'node:vm'
import { ConfigError } from '../config/json.js'

/** Longest pattern that is tried. Real ones have a few hundred characters. */
const MAX_PATTERN_LENGTH = 4096
/** Milliseconds for all names of a model together. */
const MATCH_TIMEOUT = 1000

/**
 * The names a regular expression matches from the first to the last character, as Python's `re.fullmatch`.
 *
 * @throws {ConfigError} the pattern is not valid, too long, or takes longer than a second.
 */
export function fullMatches(pattern: string, names: readonly string[], where: string): string[] {
  if (pattern.length > MAX_PATTERN_LENGTH) {
    throw new ConfigError(
      `${where}: the pattern has ${pattern.length} characters; allowed are ${MAX_PATTERN_LENGTH}. List the modules by name instead.`,
    )
  }
  let expression: RegExp
  try {
    expression = new RegExp(`^(?:${pattern})$`, 'u')
  } catch {
    // Python allows escapes such as `\-` that Unicode mode refuses.
    try {
      expression = new RegExp(`^(?:${pattern})$`)
    } catch (cause) {
      throw new ConfigError(`${where}: ${JSON.stringify(pattern)} is not a regular expression.`, { cause })
    }
  }
  const matched: boolean[] = []
  const test = (name: string) => expression.test(name)
  try {
    runInNewContext(
      'for (const name of names) matched.push(test(name))',
      { names, matched, test },
      { timeout: MATCH_TIMEOUT },
    )
  } catch (cause) {
    throw new ConfigError(
      `${where}: matching ${JSON.stringify(pattern.slice(0, 200))} took longer than ${MATCH_TIMEOUT} ms. List the modules by name instead.`,
      { cause },
    )
  }
  return names.filter((_, index) => matched[index])
}
