/** Stages of the configuration as stages of the trainer, with their data and rewards opened. */
import type { Row, RowStream } from '@revisual/data'
import type { ModelPrompt, VisionLanguageModel } from '@revisual/model'
import {
  curriculumSource,
  type DataSource,
  type RewardWorker,
  type RlSettings,
  type SftSettings,
  type Stage,
} from '@revisual/rl'
import type { RunConfig, StageConfig } from '../config/schema.js'
import { openRows, rlExamples, sftExamples } from './data.js'
import { promptMaker, type PromptMaker } from './prompts.js'
import { openRewards } from './rewards.js'
import { deriveSeed } from './seed.js'
import { given, stageSettings } from './stage-settings.js'

/** The stages of a run, and what must be closed after it. */
export interface OpenStages {
  readonly stages: readonly Stage<ModelPrompt>[]
  close(): Promise<void>
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
  /** The examples of a stage: its sources mixed, or chosen between by its curriculum. */
  const dataOf = async <Example extends { readonly id: string }>(
    { name, data, curriculum, steps }: StageConfig,
    examples: (rows: RowStream) => DataSource<Example>,
  ): Promise<DataSource<Example>> => {
    const seed = deriveSeed(config.seed, 'data', name)
    if (!curriculum) return examples(await openRows(data, seed))
    const levels = await Promise.all(data.map((source, index) => openRows([source], deriveSeed(seed, 'level', index))))
    const rule =
      curriculum.kind === 'linear' ? { kind: 'linear' as const, calls: curriculum.steps ?? steps } : given(curriculum)
    return curriculumSource(levels.map(examples), { rule, seed })
  }
  const open = async (stage: StageConfig): Promise<Stage<ModelPrompt>> => {
    const settings = stageSettings(stage)
    if (stage.kind === 'sft') {
      return { ...(settings as SftSettings), data: await dataOf(stage, (rows) => sftExamples(rows, model, prompt)) }
    }
    const data = await dataOf(stage, (rows) => rlExamples(rows, prompt, seen))
    const rewards = await openRewards(stage, baseDir)
    workers.push(rewards)
    return { ...(settings as RlSettings), data, rewards }
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
