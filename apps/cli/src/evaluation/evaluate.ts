/** Held-out evaluation of the policy as it stands, on every task of a run, with progress on the terminal. */
import { createTask, evaluate, writeSamples, type Backend, type Evaluation, type Task } from '@revisual/bench'
import type { RunConfig } from '../config/schema.js'
import { startProgress } from '../terminal/progress.js'
import type { TaskResult } from '../run/records.js'

type EvaluationConfig = RunConfig['evaluation']

/** The tasks of a run; the restriction to kinds and levels is for those that know them. */
function evaluationTasks({ tasks, samples, seed, kinds, levels }: EvaluationConfig): Task[] {
  return tasks.map((name) =>
    createTask(
      name,
      name.startsWith('digits-')
        ? { n: samples, seed, ...(kinds && { kinds }), ...(levels && { levels }) }
        : { n: samples },
    ),
  )
}

function taskResult({ n, accuracy, ci95, formatRate, meanTokens }: Evaluation): TaskResult {
  return { n, accuracy, ci95, formatRate, meanTokens }
}

/** Runs one task with a progress line. */
async function runTask(
  task: Task,
  backend: Backend,
  options: {
    readonly temperature: number
    readonly seed: number
    readonly maxTokens: number
    readonly samplesPerProblem?: number
  },
  label: string,
  signal?: AbortSignal,
): Promise<Evaluation> {
  const total = (await task.load()).length * (options.samplesPerProblem ?? 1)
  const progress = startProgress(label, total)
  try {
    return await evaluate(task, backend, {
      ...options,
      batchSize: 128,
      ...(signal && { signal }),
      onProgress: ({ done, correct }) => progress.update(done, `${((100 * correct) / done).toFixed(1)} % right`),
    })
  } finally {
    progress.stop()
  }
}

/** Evaluates all tasks of a run and keeps the samples. `file` names the samples file of a task. */
export async function evaluateStage(
  config: EvaluationConfig,
  backend: Backend,
  stage: string,
  file: (task: string) => string,
  signal: AbortSignal,
): Promise<{ [task: string]: TaskResult }> {
  const results: { [task: string]: TaskResult } = {}
  const { temperature, seed, maxTokens } = config
  for (const task of evaluationTasks(config)) {
    const evaluation = await runTask(
      task,
      backend,
      { temperature, seed, maxTokens },
      `evaluate ${stage} on ${task.name}`,
      signal,
    )
    await writeSamples(file(task.name), evaluation.samples)
    results[task.name] = taskResult(evaluation)
  }
  return results
}
