/**
 * The first half of an rl step: prompts in, completions with rewards and advantages out. Nothing here changes the policy.
 *
 *   data ─► sample ─► rewards (─► overlong penalty) ─► dynamic sampling ─► replay ─► advantages
 */
import { groupRewardMetrics, groupStatistics, type GroupStatistics } from '../advantages.js'
import { estimateAdvantages, type AdvantageInputs, type Advantages } from '../estimators.js'
import { klTerm } from '../losses/kl.js'
import { overlongPenalty } from '../overlong.js'
import { createRandom, deriveSeed } from '../random.js'
import { rewardFunctionMetrics, weightedSum, type CombinedRewards, type FunctionScores } from '../rewards/scores.js'
import { maximum, mean, minimum } from '../statistics.js'
import type { Completion, DataSource, ExampleOutcome, JsonValue, Policy, RewardBatch, RlExample } from '../types.js'
import type { Clock } from './clock.js'
import type { MemoryBudget } from './memory-budget.js'
import type { DrawnExample, Group, ReplayBuffer } from './replay.js'
import { scoreAll } from './score.js'
import type { DynamicSampling, RlStage } from './stages.js'

export interface Rollout<Prompt> {
  readonly examples: readonly RlExample<Prompt>[]
  /** Groups end to end, `groupSize` each. */
  readonly completions: readonly Completion[]
  readonly rewards: CombinedRewards
  readonly advantages: Advantages
  /** Whether a completion was sampled in an earlier step. */
  readonly replayed: readonly boolean[]
  /** Reference log-probs, where the reward needed them. */
  readonly reference: ReadonlyMap<number, Float32Array> | null
  /** What every fresh prompt got, for data sources that listen. */
  readonly outcomes: readonly ExampleOutcome[]
  readonly metrics: { readonly [metric: string]: number }
}

/** Where in the run a step is; random draws and messages are labelled with it. */
export interface StepPosition {
  readonly seed: number
  /** Counted from 1 within the stage. */
  readonly step: number
}

/** What a rollout is made with. */
export interface RolloutContext<Prompt> {
  readonly policy: Policy<Prompt>
  readonly stage: RlStage<Prompt>
  readonly position: StepPosition
  readonly promptText: (example: RlExample<Prompt>) => string
  readonly replay: ReplayBuffer<Prompt> | null
  /** β of a KL term inside the reward. */
  readonly klCoefficient: number
  readonly budget: MemoryBudget
  readonly clock: Clock
  readonly signal: AbortSignal | undefined
}

/** TRL's names: `completions/*_length`, those of completions that ended by themselves, and the share cut off by `maxTokens`. */
function lengthMetrics(completions: readonly Completion[]): { readonly [metric: string]: number } {
  const describe = (name: string, lengths: readonly number[]) =>
    lengths.length === 0
      ? {}
      : {
          [`completions/mean_${name}`]: mean(lengths),
          [`completions/min_${name}`]: minimum(lengths),
          [`completions/max_${name}`]: maximum(lengths),
        }
  const terminated = completions.filter(({ finishReason }) => finishReason === 'stop')
  const lengthsOf = (some: readonly Completion[]) => some.map(({ completionIds }) => completionIds.length)
  return {
    ...describe('length', lengthsOf(completions)),
    ...describe('terminated_length', lengthsOf(terminated)),
    'completions/clipped_ratio': 1 - terminated.length / completions.length,
  }
}

/** Draws examples and remembers where they came from. */
export async function drawExamples<Prompt>(
  data: DataSource<RlExample<Prompt>>,
  count: number,
): Promise<DrawnExample<Prompt>[]> {
  // By value: what comes back from a source may be its own, changing object.
  const cursor = JSON.parse(JSON.stringify(data.state())) as JsonValue
  const examples = await data.next(count)
  return examples.map((example, index) => ({ example, origin: { cursor, count, index } }))
}

/**
 * Completions of some prompts.
 * @param drawn prompts of this step sampled before, so that every prompt of a step has its own seed
 */
async function sample<Prompt>(
  { policy, stage, position, signal }: RolloutContext<Prompt>,
  examples: readonly RlExample<Prompt>[],
  drawn: number,
): Promise<Completion[]> {
  const { seed, step } = position
  const requests = examples.map(({ prompt }, index) => ({
    prompt,
    n: stage.groupSize,
    seed: deriveSeed(seed, 'sample', stage.name, step, drawn + index),
  }))
  const completions = await policy.sample(requests, { ...stage.sampling, ...(signal ? { signal } : {}) })
  signal?.throwIfAborted()
  const { groupSize } = stage
  const misplaced = completions.findIndex(
    ({ requestIndex, sampleIndex }, index) => requestIndex * groupSize + sampleIndex !== index,
  )
  if (completions.length !== examples.length * groupSize || misplaced >= 0) {
    throw new Error(
      `policy.sample returned ${completions.length} completions for ${examples.length} prompts × ${groupSize}` +
        `${misplaced >= 0 ? `, number ${misplaced} out of order` : ''}; return them all, ordered by (requestIndex, sampleIndex).`,
    )
  }
  return completions
}

function rewardBatch<Prompt>(
  { promptText, position }: RolloutContext<Prompt>,
  examples: readonly RlExample<Prompt>[],
  completions: readonly Completion[],
): RewardBatch {
  const exampleOf = ({ requestIndex }: Completion) => examples[requestIndex] as RlExample<Prompt>
  return {
    prompts: completions.map((completion) => promptText(exampleOf(completion))),
    completions: completions.map(({ text }) => text),
    completionLengths: completions.map(({ completionIds }) => completionIds.length),
    finishReasons: completions.map(({ finishReason }) => finishReason),
    rows: completions.map((completion) => exampleOf(completion).row),
    step: position.step,
  }
}

/** Adds the soft penalty for long completions as one more reward function. */
function withOverlong<Prompt>(
  { overlong, sampling }: RlStage<Prompt>,
  completions: readonly Completion[],
  rewards: CombinedRewards,
): CombinedRewards {
  if (!overlong) return rewards
  const settings = { factor: 1, maxTokens: sampling.maxTokens, ...overlong }
  const scores = completions.map(({ completionIds }, index) =>
    rewards.rewards[index] === null ? null : overlongPenalty(completionIds.length, settings),
  )
  return weightedSum([...rewards.functions, { name: 'overlong', weight: 1, scores, parts: {} }], completions.length)
}

const sliceParts = (parts: FunctionScores['parts'], from: number, to: number) =>
  Object.fromEntries(Object.entries(parts).map(([part, values]) => [part, values.slice(from, to)]))

/** Takes a scored batch apart into its groups. */
function groupsOf<Prompt>(
  drawn: readonly DrawnExample<Prompt>[],
  completions: readonly Completion[],
  { rewards, functions }: CombinedRewards,
  { groupSize }: RlStage<Prompt>,
  step: number,
): Group<Prompt>[] {
  return drawn.map((own, index) => {
    const [from, to] = [index * groupSize, (index + 1) * groupSize]
    return {
      ...own,
      step,
      completions: completions.slice(from, to),
      rewards: rewards.slice(from, to),
      functions: functions.map((one) => ({
        ...one,
        scores: one.scores.slice(from, to),
        parts: sliceParts(one.parts, from, to),
      })),
    }
  })
}

/** Puts groups together again; rewards keep the functions of each group, which are the same in all. */
function flatten<Prompt>(
  groups: readonly Group<Prompt>[],
): Pick<Rollout<Prompt>, 'examples' | 'completions' | 'rewards'> {
  const names = groups[0]?.functions ?? []
  const functions = names.map(({ name, weight }, at): FunctionScores => {
    const own = groups.map((group) => group.functions[at] as FunctionScores)
    const parts = [...new Set(own.flatMap((one) => Object.keys(one.parts)))]
    const error = own.find((one) => one.error)?.error
    return {
      name,
      weight,
      scores: own.flatMap(({ scores }) => scores),
      parts: Object.fromEntries(
        parts.map((part) => [part, own.flatMap((one) => one.parts[part] ?? one.scores.map(() => null))]),
      ),
      ...(error ? { error } : {}),
    }
  })
  return {
    examples: groups.map(({ example }) => example),
    completions: groups.flatMap(({ completions }, requestIndex) =>
      completions.map((completion) => ({ ...completion, requestIndex })),
    ),
    rewards: { rewards: groups.flatMap(({ rewards }) => rewards), functions },
  }
}

/** Samples and scores a group per example. */
async function sampleGroups<Prompt>(
  context: RolloutContext<Prompt>,
  drawn: readonly DrawnExample<Prompt>[],
  before: number,
): Promise<Group<Prompt>[]> {
  const { stage, clock, signal, position } = context
  const examples = drawn.map(({ example }) => example)
  const completions = await clock.time('sample', () => sample(context, examples, before))
  const batch = rewardBatch(context, examples, completions)
  const scored = await clock.time('reward', () => stage.rewards.score(batch))
  signal?.throwIfAborted()
  return groupsOf(drawn, completions, withOverlong(stage, completions, scored), stage, position.step)
}

/** Whether the rewards of a group differ, and its mean is within the bounds. */
function teaches<Prompt>({ rewards, functions }: Group<Prompt>, settings: DynamicSampling): boolean {
  const { tolerance = 0, meanAbove = -Infinity, meanBelow = Infinity, metric } = settings
  const scores = metric === undefined ? rewards : functions.find(({ name }) => name === metric)?.scores
  if (!scores) {
    throw new RangeError(
      `dynamicSampling.metric is '${metric}'; allowed: ${functions.map(({ name }) => name).join(', ')}.`,
    )
  }
  const [{ std, mean: centre }] = groupStatistics(scores, scores.length) as [GroupStatistics]
  return std > tolerance && centre > meanAbove && centre < meanBelow
}

interface Sampled<Prompt> {
  /** All groups that were sampled. */
  readonly all: readonly Group<Prompt>[]
  /** Those to learn from. */
  readonly kept: readonly Group<Prompt>[]
  readonly metrics: { readonly [metric: string]: number }
}

/** Samples until `promptsPerStep` groups teach something, or rounds or data are used up. */
async function sampleDynamically<Prompt>(
  context: RolloutContext<Prompt>,
  first: readonly DrawnExample<Prompt>[],
  settings: DynamicSampling,
): Promise<Sampled<Prompt>> {
  const { stage, clock } = context
  const { maxRounds = 10, onExhausted = 'train' } = settings
  const all: Group<Prompt>[] = []
  let kept: Group<Prompt>[] = []
  let drawn = first
  let rounds = 0
  while (drawn.length > 0) {
    const groups = await sampleGroups(context, drawn, all.length)
    all.push(...groups)
    kept.push(...groups.filter((group) => teaches(group, settings)))
    rounds++
    const missing = stage.promptsPerStep - kept.length
    if (missing <= 0 || rounds >= maxRounds) break
    drawn = await clock.time('data', () => drawExamples(stage.data, missing))
  }
  if (kept.length < stage.promptsPerStep && onExhausted === 'raise') {
    throw new Error(
      `Stage '${stage.name}': dynamic sampling found ${kept.length} of ${stage.promptsPerStep} groups that teach something in ` +
        `${rounds} rounds (${all.length} prompts). The data is too easy or too hard for the policy, or tolerance ` +
        `(${settings.tolerance ?? 0}) too high; raise maxRounds, or set onExhausted: train.`,
    )
  }
  kept = kept.slice(0, stage.promptsPerStep)
  return {
    all,
    kept,
    metrics: {
      'dynamic_sampling/rounds': rounds,
      'dynamic_sampling/num_prompts': all.length,
      'dynamic_sampling/num_kept': kept.length,
    },
  }
}

/** Replaces groups without spread by kept ones of earlier steps, then keeps what is worth keeping. */
function replayInto<Prompt>(
  { replay, position, stage }: RolloutContext<Prompt>,
  groups: readonly Group<Prompt>[],
): { readonly groups: readonly Group<Prompt>[]; readonly metrics: { readonly [metric: string]: number } } {
  if (!replay) return { groups, metrics: {} }
  const informative = groups.filter((group) => teaches(group, {}))
  const random = createRandom(position.seed, 'replay', stage.name, position.step)
  const again = replay.draw(stage.promptsPerStep - informative.length, position.step, random)
  replay.add(informative)
  let next = 0
  const filled = groups.map((group) => (teaches(group, {}) ? group : (again[next++] ?? group)))
  return {
    groups: [...filled, ...again.slice(next)],
    metrics: { 'replay/num_groups': again.length, 'replay/size': replay.size },
  }
}

/** Rewards of greedy completions, one per example, for ReMax. */
async function greedyRewards<Prompt>(
  context: RolloutContext<Prompt>,
  examples: readonly RlExample<Prompt>[],
): Promise<readonly (number | null)[]> {
  const { policy, stage, clock, signal } = context
  const requests = examples.map(({ prompt }) => ({ prompt, n: 1, seed: 0 }))
  const options = { maxTokens: stage.sampling.maxTokens, temperature: 0, ...(signal ? { signal } : {}) }
  const completions = await clock.time('sample', () => policy.sample(requests, options))
  const batch = rewardBatch(context, examples, completions)
  const scored = await clock.time('reward', () => stage.rewards.score(batch))
  return withOverlong(stage, completions, scored).rewards
}

interface RewardKl {
  readonly penalties: readonly ArrayLike<number>[]
  readonly reference: ReadonlyMap<number, Float32Array>
}

/** β·KL per token, for a KL term inside the reward. */
async function rewardKl<Prompt>(
  { policy, stage, clock, klCoefficient, budget }: RolloutContext<Prompt>,
  examples: readonly RlExample<Prompt>[],
  completions: readonly Completion[],
): Promise<RewardKl | null> {
  const { kl } = stage
  const scoreReference = policy.scoreReference?.bind(policy)
  if (kl?.in !== 'reward' || !scoreReference) return null
  const batch = { completions, examples, temperature: stage.sampling.temperature, policy }
  const every = completions.map((_, index) => index)
  const own = await clock.time('score', () => scoreAll(batch, every, budget, (tokens) => policy.score(tokens)))
  const reference = (await clock.time('score', () => scoreAll(batch, every, budget, scoreReference))).logProbs
  const penalties = every.map((index) =>
    Float64Array.from(own.logProbs.get(index) as Float32Array, (logProb, t) => {
      const term = klTerm(kl.estimator, logProb, reference.get(index)?.[t] as number, kl.maxValue)
      return klCoefficient * term.value
    }),
  )
  return { penalties, reference }
}

/** Metrics of everything that was sampled in this step, before anything was left out. */
function sampledMetrics<Prompt>(groups: readonly Group<Prompt>[], groupSize: number) {
  const { completions, rewards } = flatten(groups)
  return {
    ...groupRewardMetrics(rewards.rewards, groupStatistics(rewards.rewards, groupSize)),
    ...rewardFunctionMetrics(rewards.functions),
    ...lengthMetrics(completions),
  }
}

function outcomeOf<Prompt>({ example, rewards }: Group<Prompt>): ExampleOutcome {
  const scored = rewards.filter((reward) => reward !== null)
  return { id: example.id, reward: scored.length > 0 ? mean(scored) : null }
}

/**
 * Samples a group per prompt, scores it, and computes advantages.
 *
 * @param first the prompts of the first round; dynamic sampling draws further ones from the stage's data
 * @throws when the signal is aborted meanwhile
 */
export async function rollOut<Prompt>(
  context: RolloutContext<Prompt>,
  first: readonly DrawnExample<Prompt>[],
): Promise<Rollout<Prompt>> {
  const { stage, position } = context
  const { groupSize, dynamicSampling } = stage
  let sampled: Sampled<Prompt>
  if (dynamicSampling) {
    sampled = await sampleDynamically(context, first, dynamicSampling)
  } else {
    const groups = await sampleGroups(context, first, 0)
    sampled = { all: groups, kept: groups, metrics: {} }
  }
  const { groups, metrics: replayMetrics } = replayInto(context, sampled.kept)
  const { examples, completions, rewards } = flatten(groups)
  const penalised = await rewardKl(context, examples, completions)
  const estimator = stage.advantage ?? { kind: 'grpo' }
  const greedy = estimator.kind === 'remax' ? await greedyRewards(context, examples) : null
  const inputs: AdvantageInputs = {
    rewards: rewards.rewards,
    groupSize,
    lengths: completions.map(({ completionIds }) => completionIds.length),
    components: rewards.functions,
    ...(greedy ? { greedy } : {}),
    ...(penalised ? { penalties: penalised.penalties } : {}),
  }
  return {
    examples,
    completions,
    rewards,
    // Dynamic sampling may have found nothing to learn from.
    advantages: groups.length === 0 ? [] : estimateAdvantages(estimator, inputs),
    replayed: groups.flatMap(({ step }) => Array<boolean>(groupSize).fill(step !== position.step)),
    reference: penalised?.reference ?? null,
    outcomes: sampled.all.map(outcomeOf),
    metrics: { ...sampledMetrics(sampled.all, groupSize), ...sampled.metrics, ...replayMetrics },
  }
}
