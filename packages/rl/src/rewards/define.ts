import type { RewardPlugin } from '../types.js'

/**
 * Types a reward package: `export default defineReward({ name, options, create })`. Returns its argument; a package that
 * wants no dependency on `@revisual/rl` at run time writes `satisfies RewardPlugin` with an `import type` instead.
 */
export function defineReward<Options = undefined>(plugin: RewardPlugin<Options>): RewardPlugin<Options> {
  return plugin
}
