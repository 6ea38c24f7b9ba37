/** Settings of a stage of the configuration as the trainer has them. Names and numbers only; nothing is decided here. */
import type { PlannedStage, RlSettings, SftSettings, StagePad, StageSettings } from '@revisual/rl'
import type { RlStageConfig, SftStageConfig, StageConfig } from '../config/schema.js'

/** A record without the keys whose values are undefined or null: what was left out keeps the trainer's default. */
type Given<Fields> = {
  readonly [Key in keyof Fields as Extract<Fields[Key], null | undefined> extends never ? Key : never]: Fields[Key]
} & {
  readonly [Key in keyof Fields as Extract<Fields[Key], null | undefined> extends never ? never : Key]?: Exclude<
    GivenValue<Fields[Key]>,
    null | undefined
  >
}
type GivenValue<Value> = Value extends readonly unknown[] ? Value : Value extends object ? Given<Value> : Value

export function given<Fields extends object>(fields: Fields): Given<Fields> {
  const entries = Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([key, value]: [string, unknown]) => [
      key,
      typeof value === 'object' && !Array.isArray(value) ? given(value as object) : value,
    ])
  return Object.fromEntries(entries) as Given<Fields>
}

function commonSettings(stage: StageConfig): StageSettings {
  const { name, steps, weightDecay, maxGradNorm, trainable, tokensPerMicroBatch, resetOptimizer, stop } = stage
  const { learningRate } = stage
  return {
    name,
    steps,
    weightDecay,
    trainable,
    tokensPerMicroBatch,
    resetOptimizer,
    learningRate: typeof learningRate === 'number' ? learningRate : given(learningRate),
    ...given({ maxGradNorm, stop }),
  }
}

function padOf(pad: NonNullable<RlStageConfig['pad']>): StagePad {
  return pad.variant === 'released' ? pad : given(pad)
}

function rlSettings(stage: RlStageConfig): RlSettings {
  const { promptsPerStep, groupSize, updatesPerStep, innerEpochs, sampling, pad, correction } = stage
  const { algorithm, advantage, loss, clip, aggregation, localBatch, kl, entropy } = stage
  const { highEntropyShare, offPolicyThreshold, dynamicSampling, replay, overlong, maskTruncated } = stage
  return {
    ...commonSettings(stage),
    kind: 'rl',
    promptsPerStep,
    groupSize,
    updatesPerStep,
    innerEpochs,
    sampling,
    ...given({ algorithm, advantage, loss, clip, aggregation, localBatch, kl, entropy }),
    ...given({ highEntropyShare, offPolicyThreshold, dynamicSampling, replay, overlong, maskTruncated }),
    ...(pad === null ? {} : { pad: padOf(pad) }),
    // Null is a setting of its own here: no correction, whatever samples.
    ...(correction === undefined ? {} : { correction: correction === null ? null : given(correction) }),
  }
}

function sftSettings(stage: SftStageConfig): SftSettings {
  const { batchSize, aggregation } = stage
  return { ...commonSettings(stage), kind: 'sft', batchSize, aggregation }
}

/** Everything of a stage but its data and rewards. */
export const stageSettings = (stage: StageConfig): PlannedStage =>
  stage.kind === 'sft' ? sftSettings(stage) : rlSettings(stage)
