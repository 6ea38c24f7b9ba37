/** What a run amounts to, for `--dry-run`: prompts, completions, tokens and optimizer steps, before anything is loaded. */
import { planStages } from '@revisual/rl'
import type { RunConfig } from '../config/schema.js'
import { textTable } from '../terminal/table.js'
import { stageSettings } from './stage-settings.js'

const count = (value: number) => value.toLocaleString('en')
/** One number, or a range where it is not known before. */
const range = (least: number, most: number) => (least === most ? count(least) : `${count(least)} to ${count(most)}`)

/** The plan of all stages as text. */
export function rolloutPlan({ stages, evaluation }: RunConfig): string {
  const rows = planStages(stages.map(stageSettings)).map((plan) => [
    plan.stage,
    count(plan.steps),
    range(plan.prompts, plan.maxPrompts),
    count(plan.maxCompletions),
    count(plan.maxGeneratedTokens),
    count(plan.updates),
    String(plan.scoringPasses),
  ])
  const head = ['stage', 'steps', 'prompts', 'completions ≤', 'generated tokens ≤', 'optimizer steps', 'scoring passes']
  const { every } = evaluation
  // The last step of a stage has its evaluation anyway.
  const during = every === null ? 0 : stages.reduce((sum, { steps }) => sum + Math.floor((steps - 1) / every), 0)
  const evaluations = evaluation.tasks.length === 0 ? 0 : 1 + stages.length + during
  return (
    `${textTable(head, rows)}\n\n` +
    `Scoring passes are forward passes over the completions of a step beside sampling and learning (old log-probs, reference, choice of ` +
    `tokens). Evaluations: ${evaluations}, of ${evaluation.tasks.length} tasks with ${count(evaluation.samples)} problems at most.`
  )
}
