/** Everything of a run that can be found wrong without a GPU: model folder, data, rewards. */
import { planMemory, type Architecture } from '@revisual/model'
import type { RunConfig } from '../config/schema.js'
import { ConfigError, messageOf } from '../errors.js'
import { openRows } from './data.js'
import { planOptions, startArchitecture } from './model.js'
import { openRewards } from './rewards.js'

/** The architecture, and whether the adapter that is asked for finds layers in it. */
async function architectureOf(config: RunConfig): Promise<Architecture> {
  try {
    const architecture = await startArchitecture(config)
    planMemory(architecture, planOptions(config))
    return architecture
  } catch (error) {
    throw new ConfigError(`model: ${messageOf(error)}`)
  }
}

/**
 * @returns the architecture of the model to be trained.
 * @throws {ConfigError} naming what cannot be used.
 */
export async function preflight(config: RunConfig, baseDir: string): Promise<Architecture> {
  const architecture = await architectureOf(config)
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
