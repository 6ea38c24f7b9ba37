/**
 * `--set stages.mrl.steps=10`: overrides on the raw configuration, before it is checked. Elements of a list are named by
 * index or by their `name`. The value is YAML, so numbers, lists and `null` are what they look like.
 */
import { parse } from 'yaml'
import { ConfigError, messageOf } from '../errors.js'
import { didYouMean } from './nearest.js'

type Container = { [key: string]: unknown } | unknown[]

const isContainer = (value: unknown): value is Container => typeof value === 'object' && value !== null

/** Keys one can go on with: of a list, its indices and the names of its elements. */
function keysOf(container: Container): string[] {
  if (!Array.isArray(container)) return Object.keys(container)
  return container.flatMap((element: unknown, index) =>
    isContainer(element) && !Array.isArray(element) && typeof element['name'] === 'string'
      ? [String(index), element['name']]
      : [String(index)],
  )
}

/** The key as the container knows it: names of list elements become indices. */
function locate(container: Container, key: string): string | number {
  if (!Array.isArray(container)) return key
  if (/^\d+$/.test(key)) return Number(key)
  return container.findIndex(
    (element: unknown) => isContainer(element) && !Array.isArray(element) && element['name'] === key,
  )
}

function read(container: Container, key: string | number): unknown {
  return (container as { [key: string | number]: unknown })[key]
}

/** Applies one `path=value` to `root` in place. Missing objects on the way are made; missing list elements are an error. */
export function applyOverride(root: { [key: string]: unknown }, assignment: string): void {
  const equals = assignment.indexOf('=')
  if (equals <= 0) throw new ConfigError(`--set ${assignment}: must look like key.of.the.config=value`)
  const path = assignment.slice(0, equals).replace(/\[(\d+)\]/g, '.$1')
  const keys = path.split('.').filter((key) => key !== '')
  let value: unknown
  try {
    value = parse(assignment.slice(equals + 1))
  } catch (error) {
    throw new ConfigError(`--set ${assignment}: the value is not YAML: ${messageOf(error)}`)
  }

  let container: Container = root
  for (const [depth, key] of keys.entries()) {
    const at = locate(container, key)
    if (Array.isArray(container) && (at === -1 || (at as number) >= container.length)) {
      const allowed = keysOf(container)
      throw new ConfigError(
        `--set ${assignment}: '${keys.slice(0, depth).join('.')}' has no element '${key}'; it has ${allowed.join(', ') || 'none'}.` +
          didYouMean(key, allowed),
      )
    }
    if (depth === keys.length - 1) {
      ;(container as { [key: string | number]: unknown })[at] = value
      return
    }
    let next = read(container, at)
    if (next === undefined || next === null) {
      next = {}
      ;(container as { [key: string | number]: unknown })[at] = next
    }
    if (!isContainer(next)) {
      const seen = keys.slice(0, depth + 1).join('.')
      throw new ConfigError(`--set ${assignment}: '${seen}' is ${JSON.stringify(next)}, which has no keys below it.`)
    }
    container = next
  }
}
