/**
 * Which linear layers of an architecture an adapter changes, and by which rank and scale. Modules have two names: the
 * hub's (`model.layers.0…`, `visual.blocks.0…`), which the network asks for, and the path transformers ≥ 4.52 gives them in
 * memory (`model.language_model.layers.0…`, `model.visual.blocks.0…`), which PEFT matches against and writes.
 */
import type { Architecture } from '../config/architecture.js'
import { ConfigError } from '../config/json.js'
import { parameterSpecs } from '../network/parameters.js'
import type { LoraConfig, LoraTargets } from './config.js'
import { fullMatches } from './pattern.js'

/** A linear layer with its adapter. */
export interface LoraModule {
  /** Hub name of the layer, without `.weight`. */
  readonly name: string
  readonly inputs: number
  readonly outputs: number
  readonly group: 'vision' | 'text'
  readonly rank: number
  /** alpha / rank, or alpha / √rank. */
  readonly scale: number
}

type LinearLayer = Pick<LoraModule, 'name' | 'inputs' | 'outputs' | 'group'>

/** Path of a module in transformers' memory. */
export function modulePath(hubName: string): string {
  return hubName
    .replace(/^visual\./, 'model.visual.')
    .replace(/^model\.(?!visual\.|language_model\.)/, 'model.language_model.')
}

/** Every linear layer between embedding and head. Tables and the patch convolution are not linear layers of PEFT's. */
export function linearLayers(architecture: Architecture): LinearLayer[] {
  return parameterSpecs(architecture).flatMap(({ name, shape, group }): LinearLayer[] => {
    const [outputs, inputs, ...rest] = shape
    const isTable = /(^|\.)(embed_tokens|pos_embed|lm_head)\.weight$/.test(name)
    if (!name.endsWith('.weight') || outputs === undefined || inputs === undefined || rest.length > 0 || isTable)
      return []
    return [{ name: name.slice(0, -'.weight'.length), outputs, inputs, group }]
  })
}

/** The paths a list of names or a pattern selects. */
function selected(targets: LoraTargets, paths: readonly string[], where: string): Set<string> {
  if (targets === 'all-linear') return new Set(paths)
  if ('pattern' in targets) return new Set(fullMatches(targets.pattern, paths, where))
  return new Set(paths.filter((path) => targets.some((name) => path === name || path.endsWith(`.${name}`))))
}

/** The first pattern that a path, or what follows one of its dots, matches whole: PEFT's `get_pattern_key`. */
function byPattern(
  patterns: { readonly [pattern: string]: number },
  paths: readonly string[],
  where: string,
): Map<string, number> {
  const found = new Map<string, number>()
  for (const [pattern, value] of Object.entries(patterns)) {
    for (const path of fullMatches(`(?:.*\\.)?(?:${pattern})`, paths, where))
      if (!found.has(path)) found.set(path, value)
  }
  return found
}

/**
 * The adapted layers of an architecture, in the order of the forward pass.
 *
 * @throws {ConfigError} a listed name fits no linear layer, or nothing is selected.
 */
export function loraModules(architecture: Architecture, config: LoraConfig): LoraModule[] {
  const layers = linearLayers(architecture)
  const paths = layers.map(({ name }) => modulePath(name))
  const chosen = selected(config.targets, paths, 'LoRA targets')
  const left = selected(config.exclude, paths, 'LoRA exclude')
  if (Array.isArray(config.targets)) {
    for (const name of config.targets as readonly string[]) {
      if (paths.some((path) => path === name || path.endsWith(`.${name}`))) continue
      const kinds = [...new Set(paths.map((path) => path.split('.').at(-1)))].join(', ')
      throw new ConfigError(
        `LoRA targets: '${name}' fits no linear layer of this model; their names end with ${kinds}. Embedding and head cannot be adapted.`,
      )
    }
  }
  const ranks = byPattern(config.rankPattern, paths, 'LoRA rankPattern')
  const alphas = byPattern(config.alphaPattern, paths, 'LoRA alphaPattern')
  const modules = layers.flatMap((layer, index): LoraModule[] => {
    const path = paths[index] as string
    if (!chosen.has(path) || left.has(path)) return []
    const rank = ranks.get(path) ?? config.rank
    const alpha = alphas.get(path) ?? config.alpha
    return [{ ...layer, rank, scale: alpha / (config.rslora ? Math.sqrt(rank) : rank) }]
  })
  if (modules.length === 0) {
    throw new ConfigError(
      `LoRA targets: ${JSON.stringify(config.targets)} selects none of the ${layers.length} linear layers of this model, ` +
        `whose paths look like ${paths[0]}.`,
    )
  }
  return modules
}
