/** `revisual eval <model> --task …`: held-out accuracy of a model folder, with per-category tables and samples. */
import {
  createTask,
  evaluate,
  renderEvaluation,
  taskNames,
  writeSamples,
  type Evaluation,
  type Task,
} from '@revisual/bench'
import { createPolicy } from '@revisual/model'
import { didYouMean } from '../config/nearest.js'
import { messageOf, UserError } from '../errors.js'
import { policyBackend } from '../evaluation/backend.js'
import { openModel } from '../train/model.js'
import { promptMaker } from '../train/prompts.js'
import { startProgress } from '../terminal/progress.js'
import { withDevice } from './session.js'

export interface EvaluateCommandOptions {
  readonly tasks: readonly string[]
  /** Problems per task; the task's own number when absent. */
  readonly n?: number
  readonly seed: number
  readonly samplesPerProblem: number
  readonly temperature: number
  readonly topP: number
  readonly topK: number
  readonly maxTokens?: number
  readonly system: string | null
  readonly suffix: string
  /** JSONL file of all samples. */
  readonly out?: string
}

function openTask(name: string, { n, seed }: EvaluateCommandOptions): Task {
  if (!taskNames.includes(name)) {
    throw new UserError(
      `--task ${name}: there is no such task; allowed: ${taskNames.join(', ')}.${didYouMean(name, taskNames)}`,
    )
  }
  const size = n === undefined ? {} : { n }
  try {
    return createTask(name, name.startsWith('digits-') ? { ...size, seed } : size)
  } catch (error) {
    throw new UserError(messageOf(error))
  }
}

export async function evaluateModel(modelPath: string, options: EvaluateCommandOptions): Promise<void> {
  if (options.tasks.length === 0) throw new UserError(`Name at least one --task; allowed: ${taskNames.join(', ')}.`)
  const tasks = options.tasks.map((name) => openTask(name, options))
  await withDevice(async (device) => {
    const model = await openModel(modelPath, device)
    const prompt = promptMaker(model, { system: options.system, suffix: options.suffix })
    const backend = policyBackend(modelPath, createPolicy(model), prompt, options)
    const { temperature, seed, samplesPerProblem, maxTokens } = options
    const evaluations: Evaluation[] = []
    for (const task of tasks) {
      const progress = startProgress(task.name, (await task.load()).length * samplesPerProblem)
      const evaluation = await evaluate(task, backend, {
        temperature,
        seed,
        samplesPerProblem,
        ...(maxTokens === undefined ? {} : { maxTokens }),
        onProgress: ({ done, correct }) => progress.update(done, `${((100 * correct) / done).toFixed(1)} % right`),
      })
      progress.stop()
      evaluations.push(evaluation)
      process.stdout.write(`${renderEvaluation(evaluation)}\n\n`)
    }
    if (options.out !== undefined)
      await writeSamples(
        options.out,
        evaluations.flatMap(({ samples }) => samples),
      )
  })
}
