/** The rewards of a stage, in a worker thread with a wall clock. */
import { RewardError, type RewardSpec, RewardWorker } from '@revisual/rl'
import type { RlStageConfig } from '../config/schema.js'
import { ConfigError } from '../errors.js'

/** Names that need no installation, seen from this package, so that they are found wherever the configuration lies. */
export function builtInRewards(): { readonly [name: string]: string } {
  const math = import.meta.resolve('@revisual/reward-math')
  const style = import.meta.resolve('@revisual/reward-style')
  return {
    accuracy: math,
    format: `${style}#format`,
    length: `${style}#length`,
    cosineLength: `${style}#cosineLength`,
    repetition: `${style}#repetition`,
    language: `${style}#language`,
    selfCritique: `${style}#selfCritique`,
    imageRevisit: `${style}#imageRevisit`,
  }
}

/** What one name in a configuration may stand for: several rewards whose weights are shares of its own. */
const PRESETS: { readonly [name: string]: readonly RewardSpec[] } = {
  // `examples/reward_function/math.py` of the released code. The weights add up to 0.95, as there.
  'revisual-r1/math': [
    { use: 'accuracy', weight: 0.8, options: { profile: 'gradeAnswer' } },
    { use: 'selfCritique', weight: 0.05 },
    { use: 'imageRevisit', weight: 0.05 },
    { use: 'repetition', weight: 0.05 },
  ],
  // `text.py`, with the weights that it names; as released, a wrong argument replaces them.
  'revisual-r1/text': [
    { use: 'accuracy', weight: 0.85, options: { profile: 'gradeAnswer' } },
    { use: 'repetition', weight: 0.1 },
    { use: 'selfCritique', weight: 0.05 },
  ],
}

/**
 * The rewards with presets taken apart; options of a preset go to its accuracy reward.
 * @throws {ConfigError} for a name on a preset, whose parts keep their own.
 */
export function expandPresets(specs: readonly RewardSpec[]): readonly RewardSpec[] {
  return specs.flatMap((spec) => {
    const preset = Object.hasOwn(PRESETS, spec.use) ? PRESETS[spec.use] : undefined
    if (preset === undefined) return [spec]
    if (spec.name !== undefined)
      throw new ConfigError(`Reward '${spec.use}' is a preset of several rewards; remove its name '${spec.name}'.`)
    return preset.map((part) => {
      const weight = (part.weight ?? 1) * (spec.weight ?? 1)
      const given = part.use === 'accuracy' ? { ...(part.options as object), ...(spec.options ?? {}) } : part.options
      return { ...part, weight, ...(given === undefined ? {} : { options: given }) }
    })
  })
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
      expandPresets(specs),
      { baseDir, builtIns: builtInRewards() },
      { timeout: stage.rewardTimeout * 1000, onError: stage.onRewardError },
    )
  } catch (error) {
    if (error instanceof RewardError || error instanceof RangeError) {
      throw new ConfigError(`Stage '${stage.name}': ${error.message}`)
    }
    throw error
  }
}
