/** What went wrong in a reward. */
export type RewardErrorKind = 'load' | 'options' | 'throw' | 'timeout' | 'result' | 'exit'

/** An error that names the reward it is about. */
export class RewardError extends Error {
  override readonly name = 'RewardError'

  constructor(
    /** Name of the reward function, or what the configuration called it while it had no other name. */
    readonly reward: string,
    readonly kind: RewardErrorKind,
    message: string,
    options?: ErrorOptions,
  ) {
    super(`Reward '${reward}': ${message}`, options)
  }
}

/** The text of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}
