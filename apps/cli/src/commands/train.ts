/** `revisual train`: reads the configuration, assembles the packages, runs the trainer, and fills the run folder. */
import { dirname, resolve } from 'node:path'
import { createPolicy, saveModel } from '@revisual/model'
import { imageBytes, type Row } from '@revisual/data'
import { train as runStages, type Evaluation, type StageReport, type TrainHooks } from '@revisual/rl'
import type { ModelPrompt } from '@revisual/model'
import type { Device } from '@revisual/tensor'
import { stringify } from 'yaml'
import { readConfig } from '../config/read.js'
import { baseName, type RunConfig } from '../config/schema.js'
import { policyBackend } from '../evaluation/backend.js'
import { evaluateStage } from '../evaluation/evaluate.js'
import { renderReport } from '../report/report.js'
import { openRunFolder, type OpenMode, type RunFolder } from '../run/folder.js'
import type { RunSummary, StageSummary, TaskResult } from '../run/records.js'
import { resultsTable } from '../terminal/results.js'
import { listenForInterruption } from '../train/interruption.js'
import { memoryPlan } from '../train/memory-plan.js'
import { startModel } from '../train/model.js'
import { preflight } from '../train/preflight.js'
import { promptMaker } from '../train/prompts.js'
import { StageProgress } from '../train/stage-progress.js'
import { openStages } from '../train/stages.js'
import { adapterName, withDevice } from './session.js'

export interface TrainCommandOptions {
  readonly overrides: readonly string[]
  readonly dryRun: boolean
  readonly mode: OpenMode
}

type TaskResults = { readonly [task: string]: TaskResult }

/** Held-out results by stage, as the trainer keeps them, with the steps and seconds of each stage. */
function summaryStages(evaluations: readonly Evaluation[], reports: readonly StageReport[]): StageSummary[] {
  const tasks = (found: Evaluation | undefined) => (found?.details ?? {}) as unknown as TaskResults
  const base = evaluations.find(({ phase }) => phase === 'before')
  return [
    { name: baseName, tasks: tasks(base), seconds: 0, steps: 0 },
    ...reports.map(({ name, seconds, steps }) => {
      const after = evaluations.find(({ stage, phase }) => stage === name && phase === 'after')
      return { name, tasks: tasks(after), seconds, steps }
    }),
  ]
}

const metricsOf = (results: TaskResults) =>
  Object.fromEntries(
    Object.entries(results).flatMap(([task, { accuracy, formatRate, meanTokens }]) => [
      [`${task}/accuracy`, accuracy],
      [`${task}/format_rate`, formatRate],
      [`${task}/mean_tokens`, meanTokens],
    ]),
  )

/** Trains on an open device. @returns whether the run was interrupted */
async function runTraining(config: RunConfig, baseDir: string, folder: RunFolder, device: Device): Promise<boolean> {
  const interruption = listenForInterruption()
  const model = await startModel(config, device)
  const policy = createPolicy(model)
  const rows = new Map<string, Row>()
  const open = await openStages(config, baseDir, model, (row) => rows.set(row.id, row))
  const progress = new StageProgress(config.stages)
  const prompt = promptMaker(model, config.prompt)
  const backend = policyBackend(config.out, policy, prompt, { topP: config.evaluation.topP, topK: 0 })

  const hooks: TrainHooks<ModelPrompt> = {
    onStart(position) {
      if (position) process.stderr.write(`resumed at step ${position.step} of ${position.stage}\n`)
    },
    onMetrics: (record) => progress.update(record),
    async onSamples({ prompts: [first] }) {
      const row = first && rows.get(first.example.id)
      if (row) folder.saveImages(row.id, await Promise.all(row.images.map(imageBytes)))
      rows.clear()
    },
    async evaluate({ stage, phase }) {
      progress.stop()
      const name = phase === 'before' ? baseName : stage
      const file = (task: string) => folder.evaluationFile(name, task)
      const results = await evaluateStage(config.evaluation, backend, name, file, interruption.signal)
      return { metrics: metricsOf(results), details: JSON.parse(JSON.stringify(results)) as never }
    },
    onWarning: (message) => process.stderr.write(`warning: ${message}\n`),
  }
  try {
    const { interrupted, stages, evaluations } = await runStages({
      policy,
      stages: open.stages,
      seed: config.seed,
      runDirectory: folder.path,
      resume: true,
      checkpoints: config.checkpoints,
      promptText: ({ prompt: { text } }) => text,
      hooks,
      signal: interruption.signal,
    })
    progress.stop()
    const adapter = adapterName(device)
    const summary: RunSummary = { stages: summaryStages(evaluations, stages), adapter, seed: config.seed }
    folder.writeReport(renderReport(folder, summary))
    if (!interrupted) {
      await saveModel(model, folder.model)
      folder.writeSummary(summary)
    }
    return interrupted
  } finally {
    progress.stop()
    await open.close()
    interruption.release()
  }
}

function printResults(folder: RunFolder): void {
  const { stages, adapter } = folder.readSummary()
  process.stdout.write(`\n${resultsTable(stages)}\n\n${adapter}\n${folder.path}\n`)
}

export async function train(configPath: string, { overrides, dryRun, mode }: TrainCommandOptions): Promise<void> {
  const config = await readConfig(configPath, overrides)
  const baseDir = dirname(resolve(configPath))
  const architecture = await preflight(config, baseDir)
  if (dryRun) {
    process.stdout.write(`${stringify(config)}\n${memoryPlan(architecture, config)}\n`)
    return
  }
  const folder = openRunFolder(config, mode)
  if (folder.isFinished) {
    process.stderr.write(`This run is finished; --overwrite trains again.\n`)
    printResults(folder)
    return
  }
  const interrupted = await withDevice((device) => runTraining(config, baseDir, folder, device))
  if (interrupted) {
    process.stderr.write(`Stopped; continue with --resume. ${folder.path}\n`)
    process.exitCode = 130
    return
  }
  printResults(folder)
}
