/**
 * Rewards by name: a built-in, a file of the project, or a package. Options are checked before anything runs, so a mistake in
 * a configuration costs no minute of training.
 */
import type { RewardFunction, RewardPlugin } from '../types.js'
import { efficientLength } from './efficient-length.js'
import { messageOf, RewardError } from './errors.js'
import { parseReference, resolveModule } from './resolve.js'
import type { WeightedReward } from './scorer.js'
import { importableUrl } from './typescript.js'

/** A plugin whose options are of some type that only it knows. */
export type AnyRewardPlugin = Omit<RewardPlugin, 'create'> & {
  readonly create: (options: never) => RewardFunction | Promise<RewardFunction>
}

/** A reward as a configuration names it. */
export interface RewardSpec {
  /** Name of a built-in, `./file.js`, `package`, each of the latter two with `#export` for another than the default export. */
  readonly use: string
  /** Name in metrics. Default: the plugin's own. */
  readonly name?: string
  /** Factor in the sum. Default 1. */
  readonly weight?: number
  readonly options?: unknown
}

export interface RewardLookup {
  /** Folder that relative files and packages are looked up from: that of the configuration. */
  readonly baseDir: string
  /** Names that need no package: a plugin, or what to use instead, such as a package or a `file:` URL with `#export`. */
  readonly builtIns?: { readonly [name: string]: AnyRewardPlugin | string }
  /** Tried first for files and packages; undefined falls through to the look-up from `baseDir`. */
  readonly resolve?: (specifier: string, baseDir: string) => string | undefined
}

/** What every project has, without a package. */
const ownBuiltIns: { readonly [name: string]: AnyRewardPlugin } = { [efficientLength.name]: efficientLength }

/** Where a reward is: an object in this thread, or an export of a module. */
export type LocatedReward =
  | { readonly kind: 'plugin'; readonly plugin: AnyRewardPlugin }
  | { readonly kind: 'module'; readonly url: string; readonly exportName: string }

/** Finds a reward without running any of its code. */
export async function locateReward(spec: RewardSpec, lookup: RewardLookup): Promise<LocatedReward> {
  const builtIns = { ...ownBuiltIns, ...lookup.builtIns }
  const builtIn = Object.hasOwn(builtIns, spec.use) ? builtIns[spec.use] : undefined
  if (typeof builtIn === 'object') return { kind: 'plugin', plugin: builtIn }
  try {
    const { specifier, exportName } = parseReference(builtIn ?? spec.use)
    const url = lookup.resolve?.(specifier, lookup.baseDir) ?? resolveModule(specifier, lookup.baseDir)
    return { kind: 'module', url: await importableUrl(url), exportName }
  } catch (thrown) {
    const known = Object.keys(builtIns).sort().join(', ')
    throw new RewardError(spec.use, 'load', `${messageOf(thrown)} Built-in names: ${known}.`, { cause: thrown })
  }
}

type Issue = { readonly message: string; readonly path?: readonly unknown[] | undefined }

/** One line per issue, with the path into the options. */
export function optionsError(name: string, issues: readonly Issue[]): RewardError {
  const step = (part: unknown) =>
    typeof part === 'object' && part !== null && 'key' in part ? String(part.key) : String(part)
  const lines = issues.map(
    ({ message, path }) => `options${(path ?? []).map((part) => `.${step(part)}`).join('')} ${message}`,
  )
  return new RewardError(name, 'options', lines.join('; '))
}

/** The error for options given to a reward that has none. */
export function noOptionsError(name: string): RewardError {
  return new RewardError(name, 'options', 'takes no options; remove them.')
}

/** Options as the plugin wants them. */
async function checkedOptions({ name, options: schema }: AnyRewardPlugin, options: unknown): Promise<unknown> {
  if (!schema) {
    if (options === undefined) return undefined
    throw noOptionsError(name)
  }
  const result = await schema['~standard'].validate(options ?? {})
  if (result.issues) throw optionsError(name, result.issues)
  return result.value
}

/** The named export, as a plugin; a plain function is a reward without options. */
async function importPlugin(use: string, url: string, exportName: string): Promise<AnyRewardPlugin> {
  let module: { readonly [name: string]: unknown }
  try {
    module = (await import(/* @vite-ignore */ url)) as { readonly [name: string]: unknown }
  } catch (thrown) {
    throw new RewardError(use, 'load', `cannot be imported: ${messageOf(thrown)}`, { cause: thrown })
  }
  const found = module[exportName]
  if (typeof found === 'function') {
    return { name: exportName === 'default' ? use : exportName, create: () => found as RewardFunction }
  }
  if (typeof found === 'object' && found !== null && 'create' in found && 'name' in found)
    return found as AnyRewardPlugin
  throw exportError(use, exportName, Object.keys(module))
}

/** The error for a module that has no reward where one was looked for. */
export function exportError(use: string, exportName: string, exports: readonly string[]): RewardError {
  return new RewardError(
    use,
    'load',
    `export '${exportName}' is no reward (a function, or what defineReward returns). The module exports: ${exports.join(', ') || 'nothing'}.`,
  )
}

/**
 * Loads a reward into this thread.
 * @throws {RewardError} when it is not found, is no reward, refuses its options, or cannot be created
 */
export async function loadReward(spec: RewardSpec, lookup: RewardLookup): Promise<WeightedReward> {
  const located = await locateReward(spec, lookup)
  const plugin =
    located.kind === 'plugin' ? located.plugin : await importPlugin(spec.use, located.url, located.exportName)
  const options = await checkedOptions(plugin, spec.options)
  const name = spec.name ?? plugin.name
  try {
    return { name, weight: spec.weight ?? 1, reward: await plugin.create(options as never) }
  } catch (thrown) {
    throw new RewardError(name, 'load', `cannot be created: ${messageOf(thrown)}`, { cause: thrown })
  }
}
