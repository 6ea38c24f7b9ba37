/**
 * A model by whatever a user has: a folder, a name on the hub, or an adapter of either, whose settings name the base it
 * belongs to.
 */
import { existsSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import type { Device } from '@revisual/tensor'
import type { ModelConfig } from '../config/architecture.js'
import { ConfigError } from '../config/json.js'
import { isAdapterFolder, readAdapterConfig } from '../lora/folder.js'
import type { VisionLanguageModel } from '../model.js'
import { loadModel, readConfig, type LoadOptions } from './folder.js'
import { resolveModel, type ResolveModelOptions } from './hub.js'

export interface OpenModelOptions extends LoadOptions {
  /** How names of the hub are looked up. */
  readonly hub?: ResolveModelOptions
  /** The base of an adapter that does not say it, or says it wrongly. */
  readonly base?: string
}

/** The base an adapter names: a folder seen from the adapter or from here, or a name on the hub. */
async function baseOf(
  adapter: string,
  named: string | undefined,
  hub: ResolveModelOptions | undefined,
): Promise<string> {
  const base = named ?? (await readAdapterConfig(adapter)).base
  if (base === null) {
    throw new ConfigError(
      `${adapter}: adapter_config.json names no base_model_name_or_path; say which model it belongs to.`,
    )
  }
  const beside = resolve(adapter, base)
  return resolveModel(!isAbsolute(base) && !existsSync(base) && existsSync(beside) ? beside : base, hub)
}

/**
 * Opens a model, or a base with the adapter that `source` is.
 *
 * @param source A folder, or `org/name[@revision]` on the hub.
 * @throws {ConfigError} it is not there, malformed, or not supported.
 */
export async function openModel(
  source: string,
  device: Device,
  { hub, base, ...options }: OpenModelOptions = {},
): Promise<VisionLanguageModel> {
  const folder = await resolveModel(source, hub)
  if (!isAdapterFolder(folder)) return loadModel(folder, device, options)
  if (options.adapter !== undefined) {
    throw new ConfigError(`${source} is an adapter itself; merge it into its base before putting another one on top.`)
  }
  return loadModel(await baseOf(folder, base, hub), device, { ...options, adapter: folder })
}

/**
 * The configuration of a model, or of an adapter's base, without its weights: enough to plan it.
 * @throws {ConfigError} it is not there, malformed, or not supported.
 */
export async function openConfig(
  source: string,
  { hub, base }: Pick<OpenModelOptions, 'hub' | 'base'> = {},
): Promise<ModelConfig> {
  const options = { ...hub, configOnly: true }
  const folder = await resolveModel(source, options)
  return readConfig(isAdapterFolder(folder) ? await baseOf(folder, base, options) : folder)
}
