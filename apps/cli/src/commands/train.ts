/** `revisual train`: reads the configuration, assembles the packages, runs the trainer, and fills the run folder. */
import { dirname, resolve } from 'node:path'
import { createPolicy, saveAdapter, saveModel } from '@revisual/model'
import { imageBytes, type Row } from '@revisual/data'
import { train as runStages, type BestRule, type Evaluation, type StageReport, type TrainHooks } from '@revisual/rl'
import type { ModelPrompt } from '@revisual/model'
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
import { openLoggers } from '../train/loggers.js'
import { memoryPlan } from '../train/memory-plan.js'
import { startModel } from '../train/model.js'
import { preflight } from '../train/preflight.js'
import { promptMaker } from '../train/prompts.js'
import { rolloutPlan } from '../train/rollout-plan.js'
import { StageProgress } from '../train/stage-progress.js'
import { openStages } from '../train/stages.js'
import { profiled } from './profile.js'
import { adapterName, withDevices, type OpenDevice } from './session.js'

export interface TrainCommandOptions {
  /** File for a Chrome trace of the first kernels; null: none. */
  readonly profile: string | null
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

/** The model as the run begins with it, on a device of its own. */
async function assemble(config: RunConfig, open: OpenDevice) {
  const device = await open()
  const model = await startModel(config, device)
  const { checkpointLayers, momentBits } = config.device
  return { device, model, policy: createPolicy(model, { checkpointLayers, momentBits }) }
}

/** Trains, on another device when one is lost. @returns whether the run was interrupted */
export async function runTraining(
  config: RunConfig,
  baseDir: string,
  folder: RunFolder,
  open: OpenDevice,
  profile: string | null = null,
): Promise<boolean> {
  const interruption = listenForInterruption()
  let current = await assemble(config, open)
  // What is read of this model, tokenizer and templates, does not live on the device.
  const { model } = current
  const rows = new Map<string, Row>()
  const opened = await openStages(config, baseDir, model, (row) => rows.set(row.id, row))
  const progress = new StageProgress(config.stages)
  const prompt = promptMaker(model, config.prompt)
  const backend = policyBackend(config.out, { sample: (...given) => current.policy.sample(...given) }, prompt, {
    topP: config.evaluation.topP,
    topK: 0,
  })

  const hooks: TrainHooks<ModelPrompt> = {
    onStart(position) {
      if (position) process.stderr.write(`resumed at step ${position.step} of ${position.stage}\n`)
    },
    onMetrics: (record) => {
      if (config.logging.console === 'bar') progress.update(record)
    },
    onNote: (note) => {
      progress.stop()
      process.stderr.write(`${note}\n`)
    },
    async onSamples({ prompts }) {
      for (const { example } of prompts.slice(0, config.logging.samplesPerStep)) {
        const row = rows.get(example.id)
        if (row) folder.saveImages(row.id, await Promise.all(row.images.map(imageBytes)))
      }
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
    const run = () =>
      runStages({
        policy: current.policy,
        async rebuildPolicy() {
          progress.stop()
          current.device.destroy()
          current = await assemble(config, open)
          return current.policy
        },
        stages: opened.stages,
        seed: config.seed,
        runDirectory: folder.path,
        resume: true,
        checkpoints: config.checkpoints,
        ...(config.evaluation.every === null ? {} : { evaluateEvery: config.evaluation.every }),
        ...(config.best === null ? {} : { best: config.best satisfies BestRule }),
        maxSkippedSteps: config.maxSkippedSteps,
        samplesPerStep: config.logging.samplesPerStep,
        loggers: openLoggers(config.logging, folder.path),
        promptText: ({ prompt: { text } }) => text,
        hooks,
        signal: interruption.signal,
      })
    const { interrupted, stages, evaluations } = await profiled(current.device, profile, run)
    progress.stop()
    const adapter = adapterName(current.device)
    const summary: RunSummary = { stages: summaryStages(evaluations, stages), adapter, seed: config.seed }
    folder.writeReport(renderReport(folder, summary))
    if (!interrupted) {
      await saveModel(current.model, folder.model)
      if (current.model.adapter && 'path' in config.model) {
        await saveAdapter(current.model, folder.adapter, config.model.path)
      }
      folder.writeSummary(summary)
    }
    return interrupted
  } finally {
    progress.stop()
    await opened.close()
    interruption.release()
  }
}

function printResults(folder: RunFolder): void {
  const { stages, adapter } = folder.readSummary()
  process.stdout.write(`\n${resultsTable(stages)}\n\n${adapter}\n${folder.path}\n`)
}

export async function train(
  configPath: string,
  { overrides, dryRun, mode, profile }: TrainCommandOptions,
): Promise<void> {
  const config = await readConfig(configPath, overrides)
  const baseDir = dirname(resolve(configPath))
  const architecture = await preflight(config, baseDir)
  if (dryRun) {
    process.stdout.write(`${stringify(config)}\n${rolloutPlan(config)}\n\n${memoryPlan(architecture, config)}\n`)
    return
  }
  const folder = openRunFolder(config, mode)
  if (folder.isFinished) {
    process.stderr.write(`This run is finished; --overwrite trains again.\n`)
    printResults(folder)
    return
  }
  const { memoryLimit } = config.device
  const interrupted = await withDevices(memoryLimit === null ? {} : { memoryLimit }, (open) =>
    runTraining(config, baseDir, folder, open, profile),
  )
  if (interrupted) {
    process.stderr.write(`Stopped; continue with --resume. ${folder.path}\n`)
    process.exitCode = 130
    return
  }
  printResults(folder)
}
