/** What is wrong with settings only together. What an algorithm's settings mean together, `checkStages` of `@revisual/rl` knows. */
import { checkStages } from '@revisual/rl'
import { stageSettings } from '../train/stage-settings.js'
import type { RunConfig, StageConfig } from './schema.js'

/** Metrics of a run's evaluations. */
const evaluationMetrics = ({ evaluation }: RunConfig): string[] =>
  evaluation.tasks.flatMap((task) => ['accuracy', 'format_rate', 'mean_tokens'].map((name) => `eval/${task}/${name}`))

/** A metric of evaluations that nobody measures never has a value, and its rule never acts. */
function metricIssue(key: string, metric: string, config: RunConfig): string[] {
  const known = evaluationMetrics(config)
  if (!metric.startsWith('eval/') || known.includes(metric)) return []
  const allowed = known.length > 0 ? known.join(', ') : 'none, because evaluation.tasks is empty'
  return [`${key}: "${metric}" is not measured in this run; evaluations measure ${allowed}.`]
}

/** Whether there is a reference that this stage need not make: under the adapter, or of an earlier stage. */
const hasBase = ({ model, stages }: RunConfig, index: number): boolean =>
  ('lora' in model && model.lora !== null && model.lora !== undefined) ||
  stages.slice(0, index).some((stage) => stage.kind === 'rl' && stage.kl !== null && stage.kl.reference !== 'base')

function stageIssues(stage: StageConfig, index: number, config: RunConfig): string[] {
  const at = `stages[${index}]`
  const { stop, curriculum, data, steps } = stage
  const issues: string[] = []
  if (stop) {
    issues.push(...metricIssue(`${at}.stop.metric`, stop.metric, config))
    if (stop.metric.startsWith('eval/') && config.evaluation.every === null) {
      issues.push(
        `${at}.stop.metric: "${stop.metric}" has one value per stage, at its end; set evaluation.every to have more.`,
      )
    }
  }
  if (stage.kind === 'rl' && stage.kl?.reference === 'base' && !hasBase(config, index)) {
    issues.push(
      `${at}.kl.reference: "base" is the model without its adapter; allowed with model.lora. Without one use stage: the weights at the start of the stage.`,
    )
  }
  if (curriculum && data.length < 2) {
    issues.push(
      `${at}.curriculum: needs at least two sources in data, ordered from easy to hard; there is ${data.length}.`,
    )
  }
  if (curriculum && data.some(({ weight }) => weight !== 1)) {
    issues.push(`${at}.curriculum: chooses between the sources itself; leave their weight out.`)
  }
  if (curriculum?.kind === 'adaptive' && stage.kind === 'sft') {
    issues.push(
      `${at}.curriculum.kind: "adaptive" follows rewards, and a stage of kind sft has none; allowed here: linear.`,
    )
  }
  if (curriculum?.kind === 'linear' && (curriculum.steps ?? steps) > steps) {
    issues.push(`${at}.curriculum.steps: ${curriculum.steps} is more than the ${steps} steps of the stage.`)
  }
  return issues
}

/** The settings of a stage as the trainer checks them. */
function trainerIssue(stage: StageConfig): string[] {
  try {
    checkStages([stageSettings(stage)], 'copy')
    return []
  } catch (error) {
    if (error instanceof RangeError) return [error.message]
    throw error
  }
}

/** One line per thing that is wrong. */
export function crossFieldIssues(config: RunConfig): string[] {
  return [
    ...(config.best ? metricIssue('best.metric', config.best.metric, config) : []),
    ...(config.best && !config.best.metric.startsWith('eval/')
      ? [
          `best.metric: "${config.best.metric}" is none of the evaluations; allowed: ${evaluationMetrics(config).join(', ') || 'none, because evaluation.tasks is empty'}.`,
        ]
      : []),
    ...config.stages.flatMap((stage, index) => stageIssues(stage, index, config)),
    ...config.stages.flatMap(trainerIssue),
  ]
}
