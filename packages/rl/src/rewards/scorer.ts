/**
 * Reward functions as one scorer. What a failure costs is decided here, once: it stops the run, or it is counted and the
 * completions get a score set for that case.
 */
import type { RewardBatch, RewardFunction } from '../types.js'
import { messageOf, RewardError } from './errors.js'
import { checkValues, weightedSum, type CombinedRewards, type FunctionScores } from './scores.js'

/** Scores completions. Made by {@link combineRewards} (this thread) or `RewardWorker` (a thread that can be killed). */
export interface RewardScorer {
  score(batch: RewardBatch): Promise<CombinedRewards>
}

/** What a reward that throws, runs out of time or returns nonsense leads to. */
export type OnRewardError = 'raise' | { readonly score: number }

export interface ScorerOptions {
  /** Wall clock of one call in milliseconds. Default 60 000. */
  readonly timeout?: number
  /** Default `raise`. */
  readonly onError?: OnRewardError
}

export const DEFAULT_TIMEOUT = 60_000

/** A reward function with its place in the sum. */
export interface WeightedReward {
  readonly name: string
  readonly weight: number
  readonly reward: RewardFunction
}

/** One function to be asked: what it is called, and how it is called. */
export interface Judge {
  readonly name: string
  readonly weight: number
  /** Values as returned, not yet checked. Rejects with a {@link RewardError}. */
  readonly call: (batch: RewardBatch) => Promise<unknown>
}

/** Throws when two functions would write the same metrics, or a number is out of range. */
export function checkJudges(
  judges: readonly { name: string; weight: number }[],
  { timeout, onError }: ScorerOptions,
): void {
  if (judges.length === 0) throw new RangeError('There is no reward; give at least one.')
  const names = judges.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) {
    throw new RangeError(`Two rewards are called '${twice}'; give one of them another 'name', since metrics carry it.`)
  }
  const wrong = judges.find(({ weight }) => !Number.isFinite(weight))
  if (wrong) throw new RangeError(`The weight of reward '${wrong.name}' is ${wrong.weight}; allowed: a finite number.`)
  if (timeout !== undefined && !(timeout > 0 && timeout < 2 ** 31)) {
    throw new RangeError(`The reward timeout is ${timeout}; allowed: milliseconds > 0 and below 2^31.`)
  }
  if (typeof onError === 'object' && !Number.isFinite(onError.score)) {
    throw new RangeError(`onError.score is ${onError.score}; allowed: a finite number, or 'raise'.`)
  }
}

/** Asks every function in turn and adds their scores up. */
export async function scoreWith(
  judges: readonly Judge[],
  batch: RewardBatch,
  onError: OnRewardError,
): Promise<CombinedRewards> {
  const count = batch.completions.length
  const functions: FunctionScores[] = []
  for (const { name, weight, call } of judges) {
    try {
      functions.push({ name, weight, ...checkValues(name, await call(batch), count) })
    } catch (thrown) {
      if (onError === 'raise' || !(thrown instanceof RewardError)) throw thrown
      functions.push({ name, weight, scores: Array<number>(count).fill(onError.score), parts: {}, error: thrown })
    }
  }
  return weightedSum(functions, count)
}

/**
 * Calls a function in this thread. An asynchronous one is given up when the time is over; a synchronous loop cannot be
 * stopped from here, for that there is `RewardWorker`.
 */
export async function callHere(
  name: string,
  reward: RewardFunction,
  batch: RewardBatch,
  timeout: number,
): Promise<unknown> {
  const clock = new AbortController()
  const expired = new RewardError(name, 'timeout', `took longer than ${timeout} ms.`)
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      clock.abort(expired)
      reject(expired)
    }, timeout)
  })
  try {
    return await Promise.race([limit, (async () => reward(batch, { signal: clock.signal }))()])
  } catch (thrown) {
    if (thrown instanceof RewardError) throw thrown
    throw new RewardError(name, 'throw', `threw: ${messageOf(thrown)}`, { cause: thrown })
  } finally {
    clearTimeout(timer)
  }
}

/** Weighted sum of functions that run in this thread: for trusted code and for tests. */
export function combineRewards(rewards: readonly WeightedReward[], options: ScorerOptions = {}): RewardScorer {
  checkJudges(rewards, options)
  const { timeout = DEFAULT_TIMEOUT, onError = 'raise' } = options
  const judges = rewards.map(({ name, weight, reward }): Judge => {
    return { name, weight, call: (batch) => callHere(name, reward, batch, timeout) }
  })
  return { score: (batch) => scoreWith(judges, batch, onError) }
}
