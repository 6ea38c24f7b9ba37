/** Stage records of the configuration as stage records of the trainer. Names and numbers only; nothing is decided here. */
import type { Row } from '@revisual/data'
import type { ModelPrompt, VisionLanguageModel } from '@revisual/model'
import type { RewardWorker, RlStage, SftStage, Stage, StagePad, StageSettings } from '@revisual/rl'
import type { RlStageConfig, RunConfig, SftStageConfig, StageConfig } from '../config/schema.js'
import { openRows, rlExamples, sftExamples } from './data.js'
import { promptMaker, type PromptMaker } from './prompts.js'
import { openRewards } from './rewards.js'
import { deriveSeed } from './seed.js'

/** The stages of a run, and what must be closed after it. */
export interface OpenStages {
  readonly stages: readonly Stage<ModelPrompt>[]
  close(): Promise<void>
}

function scheduleOf(value: StageConfig['learningRate']): StageSettings['learningRate'] {
  if (typeof value === 'number') return value
  const { kind, from, to, warmupSteps, warmupRatio } = value
  return {
    kind,
    from,
    to,
    ...(warmupSteps === undefined ? {} : { warmupSteps }),
    ...(warmupRatio === undefined ? {} : { warmupRatio }),
  }
}

function commonSettings(stage: StageConfig): StageSettings {
  const { name, steps, weightDecay, maxGradNorm, trainable, tokensPerMicroBatch } = stage
  return {
    name,
    steps,
    weightDecay,
    trainable,
    tokensPerMicroBatch,
    learningRate: scheduleOf(stage.learningRate),
    ...(maxGradNorm === null ? {} : { maxGradNorm }),
  }
}

function padOf(pad: NonNullable<RlStageConfig['pad']>): StagePad {
  if (pad.variant === 'released') return pad
  const { high, ...rest } = pad
  return { ...rest, ...(high === null ? {} : { high }) }
}

function rlSettings(stage: RlStageConfig): Omit<RlStage<ModelPrompt>, 'data' | 'rewards'> {
  const { promptsPerStep, groupSize, updatesPerStep, sampling, clip, aggregation, pad, kl, entropy } = stage
  return {
    ...commonSettings(stage),
    kind: 'rl',
    promptsPerStep,
    groupSize,
    updatesPerStep,
    sampling,
    aggregation,
    clip: { low: clip.low, high: clip.high, ...(clip.dual === null ? {} : { dual: clip.dual }) },
    ...(pad === null ? {} : { pad: padOf(pad) }),
    ...(kl === null ? {} : { kl }),
    ...(entropy === null ? {} : { entropy }),
  }
}

function sftSettings(stage: SftStageConfig): Omit<SftStage<ModelPrompt>, 'data'> {
  return { ...commonSettings(stage), kind: 'sft', batchSize: stage.batchSize }
}

/**
 * Opens data and rewards of all stages.
 * @param baseDir folder of the configuration.
 * @param seen told of every row that an rl stage hands out.
 */
export async function openStages(
  config: RunConfig,
  baseDir: string,
  model: VisionLanguageModel,
  seen: (row: Row) => void,
): Promise<OpenStages> {
  const prompt: PromptMaker = promptMaker(model, config.prompt)
  const workers: RewardWorker[] = []
  const close = async () => {
    for (const worker of workers) await worker.close()
  }
  const open = async (stage: StageConfig): Promise<Stage<ModelPrompt>> => {
    const rows = await openRows(stage.data, deriveSeed(config.seed, 'data', stage.name))
    if (stage.kind === 'sft') return { ...sftSettings(stage), data: sftExamples(rows, model, prompt) }
    const rewards = await openRewards(stage, baseDir)
    workers.push(rewards)
    return { ...rlSettings(stage), data: rlExamples(rows, prompt, seen), rewards }
  }
  try {
    const stages: Stage<ModelPrompt>[] = []
    for (const stage of config.stages) stages.push(await open(stage))
    return { stages, close }
  } catch (error) {
    await close()
    throw error
  }
}
