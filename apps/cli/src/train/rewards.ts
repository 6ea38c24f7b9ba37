/** The rewards of a stage, in a worker thread with a wall clock. */
import { RewardError, RewardWorker } from '@revisual/rl'
import type { RlStageConfig } from '../config/schema.js'
import { ConfigError } from '../errors.js'

/** Names that need no installation, seen from this package, so that they are found wherever the configuration lies. */
function builtIns(): { readonly [name: string]: string } {
  const math = import.meta.resolve('@revisual/reward-math')
  const style = import.meta.resolve('@revisual/reward-style')
  return {
    accuracy: math,
    format: `${style}#format`,
    length: `${style}#length`,
    repetition: `${style}#repetition`,
  }
}

/**
 * Loads the rewards of a stage and checks their options.
 * @param baseDir folder of the configuration: packages and files are looked up from there.
 * @throws {ConfigError} naming the stage and the reward that cannot be used.
 */
export async function openRewards(stage: RlStageConfig, baseDir: string): Promise<RewardWorker> {
  const specs = stage.rewards.map(({ use, weight, name, options }) => ({
    use,
    weight,
    ...(name === undefined ? {} : { name }),
    ...(options === undefined ? {} : { options }),
  }))
  try {
    return await RewardWorker.create(
      specs,
      { baseDir, builtIns: builtIns() },
      { timeout: stage.rewardTimeout * 1000, onError: stage.onRewardError },
    )
  } catch (error) {
    if (error instanceof RewardError || error instanceof RangeError) {
      throw new ConfigError(`Stage '${stage.name}': ${error.message}`)
    }
    throw error
  }
}
