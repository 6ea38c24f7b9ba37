/** Everything of a run that can be found wrong without a GPU: model folder, data, rewards. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { nanoConfig, parseConfig, type Architecture } from '@revisual/model'
import type { RunConfig } from '../config/schema.js'
import { ConfigError, messageOf } from '../errors.js'
import { openRows } from './data.js'
import { openRewards } from './rewards.js'

function architectureOf({ model }: RunConfig): Architecture {
  if ('preset' in model) return nanoConfig().architecture
  const path = join(model.path, 'config.json')
  if (!existsSync(path))
    throw new ConfigError(`model.path: ${model.path} is not a model folder (it has no config.json).`)
  try {
    return parseConfig(JSON.parse(readFileSync(path, 'utf8')) as { [key: string]: unknown }).architecture
  } catch (error) {
    throw new ConfigError(`model.path: ${path}: ${messageOf(error)}`)
  }
}

/**
 * @returns the architecture of the model to be trained.
 * @throws {ConfigError} naming what cannot be used.
 */
export async function preflight(config: RunConfig, baseDir: string): Promise<Architecture> {
  const architecture = architectureOf(config)
  for (const [index, stage] of config.stages.entries()) {
    try {
      await openRows(stage.data, config.seed)
    } catch (error) {
      throw new ConfigError(`stages[${index}].data: ${messageOf(error)}`)
    }
    if (stage.kind === 'rl') await (await openRewards(stage, baseDir)).close()
  }
  return architecture
}
