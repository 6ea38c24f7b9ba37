/** Everything about a list of stages that can be wrong, found before the first forward pass. */
import { checkPolicyLossSettings } from '../losses/policy.js'
import { checkPad } from '../pad.js'
import { checkSchedule } from '../schedules.js'
import type { Policy } from '../types.js'
import { DEFAULT_CLIP, type RlStage, type SftStage, type Stage } from './stages.js'

class StageError extends RangeError {
  override readonly name = 'StageError'
}

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

function checkStopRule<Prompt>({ name, stop }: Stage<Prompt>): void {
  if (!stop) return
  checkCount(name, 'stop.window', stop.window, 1)
  if (stop.kind === 'patience') checkCount(name, 'stop.patience', stop.patience, 1)
}

function checkSft<Prompt>(stage: SftStage<Prompt>): void {
  checkCount(stage.name, 'batchSize', stage.batchSize, 1)
}

function checkRl<Prompt>(stage: RlStage<Prompt>, policy: Policy<Prompt>): void {
  const { name, sampling, kl, pad, entropy } = stage
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
  checkNumber(name, 'advantageEpsilon', stage.advantageEpsilon, 'a number ≥ 0', notNegative)
  checkPolicyLossSettings({
    clip: stage.clip ?? DEFAULT_CLIP,
    aggregation: stage.aggregation ?? 'token-mean',
    ...(kl ? { kl } : {}),
  })
  if (pad) checkPad(pad)
  if (pad?.variant === 'paper' && pad.temperature !== undefined) {
    const { temperature } = pad
    const { from, to } = typeof temperature === 'number' ? { from: temperature, to: temperature } : temperature
    checkNumber(name, 'pad.temperature', Math.min(from, to), 'numbers > 0', positive)
  }
  checkNumber(name, 'entropy.coefficient', entropy?.coefficient, 'a number ≥ 0', notNegative)
  checkNumber(name, 'entropy.decay', entropy?.decay, 'above 0, at most 1', (value) => value > 0 && value <= 1)
  checkNumber(name, 'entropy.floor', entropy?.floor, 'a number ≥ 0', notNegative)
  checkCount(name, 'entropy.warmupUpdates', entropy?.warmupUpdates, 0)
  if (kl && !(policy.scoreReference && policy.snapshotReference)) {
    throw new StageError(
      `Stage '${name}': kl is set, but the policy has no reference. Give it scoreReference and snapshotReference, or leave kl out.`,
    )
  }
}

/**
 * Checks a run before it starts.
 * @throws {RangeError} that names the stage, the setting, its value and what is allowed
 */
export function checkStages<Prompt>(stages: readonly Stage<Prompt>[], policy: Policy<Prompt>): void {
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
    else checkRl(stage, policy)
  }
}
