/** Everything about a list of stages that can be wrong, found before the first forward pass. */
import { withAlgorithm } from '../algorithms.js'
import type { AdvantageEstimator } from '../estimators.js'
import { checkPolicyLossSettings } from '../losses/policy.js'
import { checkPad } from '../pad.js'
import { checkSchedule } from '../schedules.js'
import type { Policy } from '../types.js'
import { DEFAULT_CLIP, type PlannedStage, type RlSettings, type SftSettings } from './stages.js'

class StageError extends RangeError {
  override readonly name = 'StageError'
}

/** `copy`: the weights of any moment. `fixed`: one of the policy's own, such as the model without its adapter. */
export type ReferenceKind = 'copy' | 'fixed' | 'none'

function checkCount(stage: string, name: string, value: number | undefined, least: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= least)) return
  throw new StageError(`Stage '${stage}': ${name} is ${value}; allowed: an integer ≥ ${least}.`)
}

function checkNumber(
  stage: string,
  name: string,
  value: number | undefined,
  allowed: string,
  fits: (value: number) => boolean,
): void {
  if (value === undefined || fits(value)) return
  throw new StageError(`Stage '${stage}': ${name} is ${value}; allowed: ${allowed}.`)
}

const positive = (value: number) => value > 0 && value < Infinity
const notNegative = (value: number) => value >= 0 && value < Infinity

function checkStopRule({ name, stop }: PlannedStage): void {
  if (!stop) return
  checkCount(name, 'stop.window', stop.window, 1)
  if (stop.kind === 'patience') checkCount(name, 'stop.patience', stop.patience, 1)
}

function checkSft(stage: SftSettings): void {
  checkCount(stage.name, 'batchSize', stage.batchSize, 1)
}

const share = (value: number) => value > 0 && value <= 1

function checkAdvantage(name: string, advantage: AdvantageEstimator | undefined): void {
  if (!advantage) return
  if ('epsilon' in advantage) {
    checkNumber(name, 'advantage.epsilon', advantage.epsilon, 'a number ≥ 0', notNegative)
  }
  if (advantage.kind === 'reinforce-plus-plus') {
    checkNumber(name, 'advantage.gamma', advantage.gamma, 'above 0, at most 1', share)
  }
}

/** What decides which completions and tokens are learnt from. */
function checkSelection({ name, ...stage }: RlSettings): void {
  const { dynamicSampling, replay, overlong, sampling, loss, highEntropyShare } = stage
  checkNumber(name, 'highEntropyShare', highEntropyShare, 'above 0, at most 1', share)
  checkNumber(name, 'dynamicSampling.tolerance', dynamicSampling?.tolerance, 'a number ≥ 0', notNegative)
  checkCount(name, 'dynamicSampling.maxRounds', dynamicSampling?.maxRounds, 1)
  checkCount(name, 'replay.capacity', replay?.capacity, 1)
  checkCount(name, 'replay.maxAge', replay?.maxAge, 1)
  if (overlong) {
    const limit = overlong.maxTokens ?? sampling.maxTokens
    checkCount(name, 'overlong.maxTokens', overlong.maxTokens, 1)
    checkNumber(name, 'overlong.factor', overlong.factor, 'a number > 0', positive)
    checkNumber(name, 'overlong.buffer', overlong.buffer, `1 to the limit (${limit})`, (it) => it >= 1 && it <= limit)
  }
  if (replay && (loss?.kind === 'reinforce' || loss?.kind === 'kl-cov')) {
    throw new StageError(
      `Stage '${name}': replay is set, but loss '${loss.kind}' does not bound the ratio of old completions. ` +
        `Choose a clipped loss, or leave replay out.`,
    )
  }
}

function checkEntropy({ name, entropy }: RlSettings): void {
  if (!entropy) return
  checkNumber(name, 'entropy.coefficient', entropy.coefficient, 'a number ≥ 0', notNegative)
  checkNumber(name, 'entropy.decay', entropy.decay, 'above 0, at most 1', share)
  checkNumber(name, 'entropy.floor', entropy.floor, 'a number ≥ 0', notNegative)
  checkCount(name, 'entropy.warmupUpdates', entropy.warmupUpdates, 0)
  checkCount(name, 'entropy.linearUpdates', entropy.linearUpdates, 1)
  const { adaptive, ...schedule } = entropy
  if (schedule.decay !== undefined && schedule.linearUpdates !== undefined) {
    throw new StageError(`Stage '${name}': entropy has both decay and linearUpdates; give one of them.`)
  }
  if (!adaptive) return
  const scheduled = (['decay', 'linearUpdates', 'warmupUpdates', 'floor'] as const).find(
    (key) => schedule[key] !== undefined,
  )
  if (scheduled !== undefined) {
    throw new StageError(`Stage '${name}': entropy has both adaptive and ${scheduled}; give one of them.`)
  }
  checkNumber(name, 'entropy.adaptive.target', adaptive.target, 'a number ≥ 0', notNegative)
  checkNumber(name, 'entropy.adaptive.delta', adaptive.delta, 'a number > 0', positive)
  const { min = 0, max = 1 } = adaptive
  checkNumber(
    name,
    'entropy.adaptive.min',
    min,
    `0 to entropy.adaptive.max (${max})`,
    (value) => value >= 0 && value <= max,
  )
}

function checkKl({ name, kl, advantage }: RlSettings, reference: ReferenceKind): void {
  if (!kl) return
  if (reference === 'none' || (kl.reference === 'stage' && reference === 'fixed')) {
    throw new StageError(
      `Stage '${name}': kl is set, but the policy has no reference. Give it scoreReference and snapshotReference, or leave kl out.`,
    )
  }
  checkNumber(name, 'kl.adaptive.target', kl.adaptive?.target, 'a number > 0', positive)
  checkNumber(name, 'kl.adaptive.horizon', kl.adaptive?.horizon, 'a number > 0', positive)
  if (kl.in !== 'reward') return
  if (advantage?.kind === 'gdpo') {
    throw new StageError(`Stage '${name}': kl.in is 'reward', but GDPO normalises rewards one by one; use kl.in: loss.`)
  }
  if (kl.ratioCorrected) {
    throw new StageError(`Stage '${name}': kl.ratioCorrected is for a KL in the loss; here kl.in is 'reward'.`)
  }
  if (kl.estimator.endsWith('straight-through')) {
    throw new StageError(
      `Stage '${name}': kl.estimator '${kl.estimator}' has a gradient of its own, which a KL in the reward does not use; take k1 or k3.`,
    )
  }
}

function checkRl(stage: RlSettings, reference: ReferenceKind): void {
  const { name, sampling, kl, pad } = stage
  checkCount(name, 'promptsPerStep', stage.promptsPerStep, 1)
  checkCount(name, 'groupSize', stage.groupSize, 2)
  checkCount(name, 'updatesPerStep', stage.updatesPerStep, 1)
  checkCount(name, 'sampling.maxTokens', sampling.maxTokens, 1)
  checkNumber(
    name,
    'sampling.temperature',
    sampling.temperature,
    'a number > 0 (greedy completions are all alike)',
    positive,
  )
  checkNumber(name, 'sampling.topP', sampling.topP, 'above 0, at most 1', (value) => value > 0 && value <= 1)
  checkCount(name, 'sampling.topK', sampling.topK, 0)
  checkCount(name, 'innerEpochs', stage.innerEpochs, 1)
  if (typeof stage.localBatch === 'number') checkCount(name, 'localBatch', stage.localBatch, 1)
  checkAdvantage(name, stage.advantage)
  checkPolicyLossSettings({
    clip: stage.clip ?? DEFAULT_CLIP,
    aggregation: stage.aggregation ?? 'token-mean',
    ...(stage.loss ? { objective: stage.loss } : {}),
    ...(kl ? { kl } : {}),
    ...(stage.correction ? { correction: stage.correction } : {}),
    ...(stage.offPolicyThreshold === undefined ? {} : { offPolicyThreshold: stage.offPolicyThreshold }),
  })
  checkSelection(stage)
  if (pad) checkPad(pad)
  if (pad?.variant === 'paper' && pad.temperature !== undefined) {
    const { temperature } = pad
    const { from, to } = typeof temperature === 'number' ? { from: temperature, to: temperature } : temperature
    checkNumber(name, 'pad.temperature', Math.min(from, to), 'numbers > 0', positive)
  }
  checkEntropy(stage)
  checkKl(stage, reference)
}

/** What a policy has. */
export function referenceOf<Prompt>(policy: Policy<Prompt>): ReferenceKind {
  if (policy.scoreReference === undefined) return 'none'
  return policy.snapshotReference === undefined ? 'fixed' : 'copy'
}

/**
 * Checks the settings of a run before it starts.
 *
 * @param reference what the policy has
 * @throws {RangeError} that names the stage, the setting, its value and what is allowed
 */
export function checkStages(stages: readonly PlannedStage[], reference: ReferenceKind): void {
  if (stages.length === 0) throw new StageError('There is no stage; give at least one.')
  const names = stages.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw new StageError(`Two stages are called '${twice}'; names must differ.`)
  for (const stage of stages) {
    checkCount(stage.name, 'steps', stage.steps, 1)
    checkCount(stage.name, 'tokensPerMicroBatch', stage.tokensPerMicroBatch, 1)
    checkSchedule(stage.learningRate, `Stage '${stage.name}': learningRate`)
    checkNumber(stage.name, 'weightDecay', stage.weightDecay, 'a number ≥ 0', notNegative)
    checkNumber(stage.name, 'maxGradNorm', stage.maxGradNorm, 'a number > 0, or absent', positive)
    checkStopRule(stage)
    if (stage.kind === 'sft') checkSft(stage)
    else checkRl(withAlgorithm(stage), reference)
  }
}
