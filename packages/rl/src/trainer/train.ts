/**
 * The staged trainer. A step is a pure function of (policy, data cursor, seed, stage, step), and everything else that decides
 * the future is in {@link TrainerState}: killed at any moment and resumed, a run ends as one never killed.
 */
import { readFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { withAlgorithm } from '../algorithms.js'
import { scheduleValue } from '../schedules.js'
import type { JsonValue, Policy, RlExample } from '../types.js'
import { checkStages, referenceOf } from './check-stages.js'
import { checkpointPath, latestCheckpoint, removeCheckpointsAfter, writeCheckpoint } from './checkpoint.js'
import { Clock } from './clock.js'
import { isDeviceLost } from './device-errors.js'
import { DivergenceError } from './divergence.js'
import { MemoryBudget } from './memory-budget.js'
import type {
  Evaluation,
  EvaluationPhase,
  EvaluationRequest,
  EvaluationResult,
  MetricRecord,
  StepSamples,
} from './records.js'
import { freshControllers, klCoefficientOf } from './controllers.js'
import { firstStepNotes } from './explanations.js'
import type { TrainLogger } from './logger.js'
import { ReplayBuffer } from './replay.js'
import { learn } from './rl-step.js'
import { drawExamples, rollOut } from './rollout.js'
import { RunFolder } from './run-folder.js'
import { stepSamples } from './samples.js'
import { sftStep } from './sft-step.js'
import {
  DEFAULT_CORRECTION,
  DEFAULT_TOKENS_PER_MICRO_BATCH,
  type RlStage,
  type SftStage,
  type Stage,
} from './stages.js'
import {
  checkSameRun,
  completeState,
  freshProgress,
  freshState,
  type BestCheckpoint,
  type StageEnd,
  type StageReport,
  type TrainerState,
} from './state.js'
import type { StepOutcome } from './step-outcome.js'
import { watch } from './stop-rule.js'

/** Where a run is. */
export interface RunPosition {
  readonly stage: string
  /** Steps of the stage done. */
  readonly step: number
  readonly globalStep: number
}

export interface TrainHooks<Prompt> {
  /** Before anything else; `null` for a run that starts from the beginning. */
  readonly onStart?: (resumedFrom: RunPosition | null) => void | Promise<void>
  readonly onMetrics?: (record: MetricRecord) => void | Promise<void>
  /** All completions of an rl step. */
  readonly onSamples?: (samples: StepSamples<Prompt>) => void | Promise<void>
  /** Before the first stage, after every stage, and every `evaluateEvery` steps. Must not change the policy. */
  readonly evaluate?: (request: EvaluationRequest) => EvaluationResult | Promise<EvaluationResult>
  readonly onCheckpoint?: (path: string) => void | Promise<void>
  /** Something is wrong that the run survives, such as a damaged checkpoint. */
  readonly onWarning?: (message: string) => void
  /** Answers to what the numbers of the first rl step make people ask. Once per run. */
  readonly onNote?: (message: string) => void
}

/** Which checkpoint is the best, by a metric of the evaluations. */
export interface BestRule {
  /** Such as `eval/accuracy`. */
  readonly metric: string
  readonly mode: 'max' | 'min'
  /** A new best is better by more than this. Default 0. */
  readonly minDelta?: number
  /** Loads the best one into the policy when the run is over. Default false. */
  readonly restore?: boolean
}

export interface TrainOptions<Prompt> {
  readonly policy: Policy<Prompt>
  readonly stages: readonly Stage<Prompt>[]
  /** Default 0. */
  readonly seed?: number
  /** Folder for metrics, samples and checkpoints. Absent: nothing is written, and the run cannot be resumed. */
  readonly runDirectory?: string
  /** Go on from the newest whole checkpoint of `runDirectory`, or start when there is none. Default false: refuse a used one. */
  readonly resume?: boolean
  readonly checkpoints?: {
    /** Steps between checkpoints; the end of every stage has one too. Default 50. */
    readonly every?: number
    /** Checkpoints kept. Default 2, so that a damaged one has a predecessor. */
    readonly keep?: number
  }
  /** Steps of a stage between evaluations. Absent: only before the first stage and after every stage. */
  readonly evaluateEvery?: number
  /** The policy at its best evaluation is kept in `best/` of the run folder. Absent: none. */
  readonly best?: BestRule
  /** Told of every record and every rollout beside `metrics.jsonl`; see `csvLogger`, `tensorBoardLogger`, `tableLogger`. */
  readonly loggers?: readonly TrainLogger<Prompt>[]
  /** Optimizer steps in a row that may be lost to values that are not finite; the last of them ends the run. Default 3. */
  readonly maxSkippedSteps?: number
  /**
   * Makes the policy anew, as it was when the run began, after its device was lost: on another device, or in another way. It
   * then goes on from the newest checkpoint of `runDirectory`, with the same result as if nothing had happened. Absent: a lost
   * device ends the run.
   */
  readonly rebuildPolicy?: (error: Error) => Policy<Prompt> | Promise<Policy<Prompt>>
  /** Devices that may be lost in a row without a step more being done than ever before. Default 3. */
  readonly maxLostDevices?: number
  /** Prompts per rl step whose completions are written to `samples/training.jsonl`. Default 1. */
  readonly samplesPerStep?: number
  /** The prompt as rewards see it. Default: the prompt itself when it is a string, else the row's `question`, else ''. */
  readonly promptText?: (example: RlExample<Prompt>) => string
  readonly hooks?: TrainHooks<Prompt>
  /** Aborted: the step at hand is finished, or dropped if it has changed nothing yet; a checkpoint is saved; `train` returns. */
  readonly signal?: AbortSignal
}

export interface TrainResult {
  /** True when `signal` ended the run before its last stage was done. */
  readonly interrupted: boolean
  readonly globalStep: number
  /** Finished stages, those before a resume included. */
  readonly stages: readonly StageReport[]
  readonly evaluations: readonly Evaluation[]
  /** The best evaluation by `best.metric`; null without that option or any value. */
  readonly best: BestCheckpoint | null
}

/** Records shown when a run diverges. */
const RECENT = 5

const defaultPromptText = <Prompt>({ prompt, row }: RlExample<Prompt>): string => {
  if (typeof prompt === 'string') return prompt
  return typeof row['question'] === 'string' ? row['question'] : ''
}

/** Stages with what their algorithm and the policy imply filled in. */
function resolvedStages<Prompt>({ stages, policy }: TrainOptions<Prompt>): Stage<Prompt>[] {
  return stages.map((stage) => {
    if (stage.kind === 'sft') return stage
    const own = withAlgorithm(stage)
    const elsewhere = 'samplesElsewhere' in policy && policy.samplesElsewhere === true
    return elsewhere && own.correction === undefined ? { ...own, correction: DEFAULT_CORRECTION } : own
  })
}

class Run<Prompt> {
  readonly #options: TrainOptions<Prompt>
  readonly #policy: Policy<Prompt>
  readonly #hooks: TrainHooks<Prompt>
  readonly #folder: RunFolder | null
  readonly #stages: readonly Stage<Prompt>[]
  #state: TrainerState
  #budget!: MemoryBudget
  #recent: readonly MetricRecord[] = []
  #replay: ReplayBuffer<Prompt> | null = null

  constructor(options: TrainOptions<Prompt>, policy: Policy<Prompt>, folder: RunFolder | null, state: TrainerState) {
    this.#options = options
    this.#stages = resolvedStages(options)
    this.#policy = policy
    this.#hooks = options.hooks ?? {}
    this.#folder = folder
    this.#state = state
  }

  /** Runs all stages that are left. */
  async stages(): Promise<TrainResult> {
    const stages = this.#stages
    const first = stages[this.#state.stage]
    if (first && this.#state.globalStep === 0 && !this.#aborted) await this.#evaluate(first, 'before')
    while (this.#state.stage < stages.length) {
      const stage = stages[this.#state.stage] as Stage<Prompt>
      await this.#enter(stage)
      while (this.#state.progress.ended === null && !this.#aborted) await this.#step(stage)
      if (this.#state.globalStep > 0) await this.#save(stage)
      if (this.#aborted || !(await this.#leave(stage))) return this.#result(true)
    }
    const { best } = this.#state
    if (this.#options.best?.restore && best && this.#folder) {
      await this.#policy.load(join(checkpointPath(this.#folder.best, best.globalStep), 'policy'))
    }
    return this.#result(false)
  }

  /** Steps of the run done. */
  get globalStep(): number {
    return this.#state.globalStep
  }

  get #aborted(): boolean {
    return this.#options.signal?.aborted ?? false
  }

  #result(interrupted: boolean): TrainResult {
    const { globalStep, finished, evaluations, best } = this.#state
    return { interrupted, globalStep, stages: finished, evaluations, best }
  }

  async #enter(stage: Stage<Prompt>): Promise<void> {
    const { progress } = this.#state
    this.#budget = this.#budgetOf(stage)
    if (stage.trainable) this.#policy.setTrainable(stage.trainable)
    this.#replay = stage.kind === 'rl' && stage.replay ? new ReplayBuffer(stage.replay) : null
    if (progress.step > 0) {
      stage.data.restore(progress.cursor)
      if (stage.kind === 'rl') await this.#replay?.restore(progress.replay, stage.data)
      return
    }
    if (progress.ended) return
    if (stage.resetOptimizer ?? true) await this.#policy.resetOptimizer()
    if (stage.kind !== 'rl') return
    this.#state = { ...this.#state, progress: { ...progress, controllers: freshControllers(stage) } }
    if (stage.kl && stage.kl.reference !== 'base') await this.#policy.snapshotReference?.()
  }

  /** How large micro-batches may be, as the stage says or as memory allowed so far. */
  #budgetOf({ name, tokensPerMicroBatch = DEFAULT_TOKENS_PER_MICRO_BATCH }: Stage<Prompt>): MemoryBudget {
    return new MemoryBudget(this.#state.progress.tokensPerMicroBatch ?? tokensPerMicroBatch, (tokens, error) => {
      const { progress } = this.#state
      this.#state = { ...this.#state, progress: { ...progress, tokensPerMicroBatch: tokens } }
      this.#hooks.onWarning?.(
        `Stage '${name}', step ${progress.step + 1}: ${error.message} ` +
          `The step is done again with at most ${tokens} tokens per micro-batch, and so are the steps after it.`,
      )
    })
  }

  /** Evaluates a finished stage and goes on to the next one. @returns false when aborted meanwhile */
  async #leave(stage: Stage<Prompt>): Promise<boolean> {
    if (!(await this.#evaluate(stage, 'after'))) return false
    const { progress, finished } = this.#state
    const { step, applied, seconds, ended } = progress
    const report = { name: stage.name, kind: stage.kind, steps: step, updates: applied, seconds }
    const end = ended ?? { end: 'steps', reason: 'all steps done' }
    this.#state = {
      ...this.#state,
      stage: this.#state.stage + 1,
      progress: freshProgress,
      finished: [...finished, { ...report, ...end }],
    }
    return true
  }

  /** One step of the present stage: data, work, records, then what is due. */
  async #step(stage: Stage<Prompt>): Promise<void> {
    const clock = new Clock()
    const { progress } = this.#state
    // By value: what comes back from a source may be its own, changing object.
    const cursor = JSON.parse(JSON.stringify(stage.data.state())) as JsonValue
    const done = stage.kind === 'sft' ? await this.#sft(stage, clock) : await this.#rl(stage, clock)
    if (done === 'no-data') return this.#end('data', 'the data source is exhausted')
    if (done === 'dropped') {
      stage.data.restore(cursor)
      return
    }
    const { applied, skipped, tokens, metrics } = done
    const step = progress.step + 1
    const learningRate = this.#learningRate(stage)
    const lost = applied > 0 ? 0 : this.#state.skippedInRow + skipped
    this.#state = {
      ...this.#state,
      globalStep: this.#state.globalStep + 1,
      tokens: this.#state.tokens + tokens,
      skipped: this.#state.skipped + skipped,
      skippedInRow: lost,
      emptySelections: this.#state.emptySelections + (applied + skipped === 0 ? 1 : 0),
      progress: {
        ...this.#state.progress,
        step,
        updates: progress.updates + applied + skipped,
        applied: progress.applied + applied,
        seconds: progress.seconds + clock.elapsed,
        cursor: stage.data.state(),
        controllers: done.controllers ?? progress.controllers,
        replay: this.#replay?.state() ?? [],
      },
    }
    await this.#record(stage, {
      ...metrics,
      learning_rate: learningRate,
      num_tokens: this.#state.tokens,
      skipped_steps: this.#state.skipped,
      ...(stage.kind === 'rl' && stage.pad ? { 'pad/num_empty_batches': this.#state.emptySelections } : {}),
      ...clock.metrics(),
    })
    this.#explain(stage)
    if (lost >= (this.#options.maxSkippedSteps ?? 3)) throw new DivergenceError(stage.name, step, lost, this.#recent)
    await this.#afterStep(stage)
  }

  async #afterStep(stage: Stage<Prompt>): Promise<void> {
    const { step } = this.#state.progress
    const { evaluateEvery, checkpoints } = this.#options
    if (step === stage.steps && this.#state.progress.ended === null) return this.#end('steps', 'all steps done')
    if (this.#state.progress.ended) return
    if (evaluateEvery !== undefined && step % evaluateEvery === 0) await this.#evaluate(stage, 'during')
    if (step % (checkpoints?.every ?? 50) === 0) await this.#save(stage)
  }

  #learningRate({ learningRate, steps }: Stage<Prompt>): number {
    return scheduleValue(learningRate, this.#state.progress.step, steps)
  }

  #stepOptions(stage: Stage<Prompt>) {
    const { weightDecay = 0, maxGradNorm } = stage
    return {
      learningRate: this.#learningRate(stage),
      weightDecay,
      ...(maxGradNorm === undefined ? {} : { maxGradNorm }),
    }
  }

  async #sft(stage: SftStage<Prompt>, clock: Clock): Promise<StepOutcome | 'no-data'> {
    const examples = await clock.time('data', async () => stage.data.next(stage.batchSize))
    if (examples.length === 0) return 'no-data'
    return sftStep(this.#policy, stage, examples, this.#stepOptions(stage), this.#budget, clock)
  }

  async #rl(stage: RlStage<Prompt>, clock: Clock): Promise<StepOutcome | 'no-data' | 'dropped'> {
    const { signal, promptText = defaultPromptText, seed = 0 } = this.#options
    const examples = await clock.time('data', () => drawExamples(stage.data, stage.promptsPerStep))
    if (examples.length === 0) return 'no-data'
    const position = { seed, step: this.#state.progress.step + 1 }
    const { controllers, updates } = this.#state.progress
    const klCoefficient = klCoefficientOf(stage, controllers)
    const policy = this.#policy
    const replay = this.#replay
    const budget = this.#budget
    let rollout
    try {
      rollout = await rollOut(
        { policy, stage, position, promptText, replay, klCoefficient, budget, clock, signal },
        examples,
      )
    } catch (thrown) {
      // Nothing was learnt yet, so the step can be done again after a resume.
      if (this.#aborted) return 'dropped'
      throw thrown
    }
    const options = { ...this.#stepOptions(stage), updates, controllers }
    const outcome = await learn(policy, stage, rollout, position, options, this.#budget, clock)
    stage.data.observe?.(rollout.outcomes)
    const samples = stepSamples(rollout, outcome.selected, stage.groupSize, {
      stage: stage.name,
      step: position.step,
      globalStep: this.#state.globalStep + 1,
    })
    await this.#recordSamples(samples)
    return { ...outcome, metrics: { ...rollout.metrics, ...outcome.metrics } }
  }

  /** After the first rl step of a run: what its numbers mean. */
  #explain(stage: Stage<Prompt>): void {
    const { onNote } = this.#hooks
    const { progress, finished } = this.#state
    const record = this.#recent.at(-1)
    if (!onNote || !record || stage.kind !== 'rl' || progress.step !== 1) return
    if (finished.some(({ kind }) => kind === 'rl')) return
    for (const note of firstStepNotes(stage, record)) onNote(note)
  }

  async #recordSamples(samples: StepSamples<Prompt>): Promise<void> {
    const { stage, step, globalStep, prompts } = samples
    for (const { example, completions } of prompts.slice(0, this.#options.samplesPerStep ?? 1)) {
      const { id, row } = example
      this.#folder?.appendSamples({ stage, step, global_step: globalStep, id, row, completions })
      this.#count('samples')
    }
    await this.#hooks.onSamples?.(samples)
    for (const logger of this.#options.loggers ?? []) await logger.samples?.(samples)
  }

  async #record(stage: Stage<Prompt>, metrics: { readonly [metric: string]: string | number }): Promise<void> {
    const { globalStep, progress } = this.#state
    const record = { stage: stage.name, step: progress.step, global_step: globalStep, ...metrics }
    this.#recent = [...this.#recent, record].slice(-RECENT)
    this.#folder?.appendMetrics(record)
    this.#count('metrics')
    if (stage.stop && progress.ended === null && progress.step > 0) {
      const { state, reason } = watch(stage.stop, progress.stop, metrics)
      this.#state = { ...this.#state, progress: { ...progress, stop: state } }
      if (reason !== null) this.#end('stop-rule', reason)
    }
    await this.#hooks.onMetrics?.(record)
    for (const logger of this.#options.loggers ?? []) await logger.record?.(record)
  }

  #count(file: 'metrics' | 'samples'): void {
    const { records } = this.#state
    this.#state = { ...this.#state, records: { ...records, [file]: records[file] + 1 } }
  }

  #end(end: StageEnd, reason: string): void {
    this.#state = { ...this.#state, progress: { ...this.#state.progress, ended: { end, reason } } }
  }

  /** @returns false when the evaluation was given up because the run was aborted */
  async #evaluate(stage: Stage<Prompt>, phase: EvaluationPhase): Promise<boolean> {
    const { evaluate } = this.#hooks
    if (!evaluate) return true
    const { globalStep, progress } = this.#state
    const request = { stage: stage.name, step: progress.step, globalStep, phase }
    const clock = new Clock()
    let result: EvaluationResult
    try {
      result = await evaluate(request)
    } catch (thrown) {
      if (this.#aborted) return false
      throw thrown
    }
    const metrics = Object.entries(result.metrics).map(([name, value]) => [`eval/${name}`, value] as const)
    this.#state = { ...this.#state, evaluations: [...this.#state.evaluations, { ...request, ...result }] }
    await this.#record(stage, { phase, ...Object.fromEntries(metrics), 'time/evaluation': clock.elapsed })
    await this.#keepBest(stage, Object.fromEntries(metrics))
    return true
  }

  /** Keeps the policy when an evaluation was the best so far. */
  async #keepBest(stage: Stage<Prompt>, metrics: { readonly [metric: string]: number }): Promise<void> {
    const { best: rule } = this.#options
    const value = rule ? metrics[rule.metric] : undefined
    if (!rule || value === undefined || !Number.isFinite(value)) return
    const { globalStep, progress, best } = this.#state
    const sign = rule.mode === 'max' ? 1 : -1
    if (best && !(sign * (value - best.value) > (rule.minDelta ?? 0))) return
    const { metric } = rule
    this.#state = { ...this.#state, best: { metric, value, stage: stage.name, step: progress.step, globalStep } }
    if (!this.#folder) return
    await writeCheckpoint(this.#folder.best, globalStep, 1, async (target) => {
      await mkdir(join(target, 'policy'))
      await this.#policy.save(join(target, 'policy'))
    })
  }

  async #save(stage: Stage<Prompt>): Promise<void> {
    const folder = this.#folder
    if (!folder) return
    folder.sync()
    const { globalStep } = this.#state
    const state = { ...this.#state, progress: { ...this.#state.progress, cursor: stage.data.state() } }
    const path = await writeCheckpoint(
      folder.checkpoints,
      globalStep,
      this.#options.checkpoints?.keep ?? 2,
      async (target) => {
        await mkdir(join(target, 'policy'))
        await this.#policy.save(join(target, 'policy'))
        await writeFile(join(target, 'trainer.json'), `${JSON.stringify(state, null, 2)}\n`)
      },
    )
    await this.#hooks.onCheckpoint?.(path)
  }
}

async function restore<Prompt>(
  options: TrainOptions<Prompt>,
  policy: Policy<Prompt>,
  folder: RunFolder,
  fresh: TrainerState,
): Promise<TrainerState> {
  const warn = options.hooks?.onWarning ?? (() => undefined)
  const path = await latestCheckpoint(folder.checkpoints, warn)
  if (path === null) {
    folder.rewind(fresh.records)
    await removeCheckpointsAfter(folder.best, -1)
    return fresh
  }
  const state = completeState(JSON.parse(await readFile(join(path, 'trainer.json'), 'utf8')) as TrainerState)
  // What was the best later will be found again; kept, it would be taken for the best of now.
  await removeCheckpointsAfter(folder.best, state.globalStep)
  checkSameRun(state, fresh.seed, fresh.stageNames, path)
  await policy.load(join(path, 'policy'))
  const records = folder.rewind(state.records)
  if (records.metrics < state.records.metrics) {
    warn(
      `${folder.metrics} has ${records.metrics} of the ${state.records.metrics} records of ${path}; the others are lost.`,
    )
  }
  return { ...state, records }
}

/**
 * Trains a policy through a list of stages.
 *
 * @throws {RangeError} for settings that cannot work, before anything runs
 * @throws {RewardError} when a reward fails and its scorer was told to raise
 * @throws {DivergenceError} after `maxSkippedSteps` optimizer steps in a row with values that are not finite
 */
export async function train<Prompt>(options: TrainOptions<Prompt>): Promise<TrainResult> {
  const { stages, seed = 0, runDirectory, resume = false, hooks, loggers = [] } = options
  const { policy } = options
  checkStages(resolvedStages(options), referenceOf(policy))
  for (const [name, value] of Object.entries({ ...options.checkpoints, evaluateEvery: options.evaluateEvery })) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
      throw new RangeError(`${name} is ${value}; allowed: an integer ≥ 1.`)
    }
  }
  if (resume && runDirectory === undefined) throw new RangeError('resume needs a runDirectory to resume from.')
  const folder = runDirectory === undefined ? null : new RunFolder(runDirectory)
  if (folder?.isUsed && !resume) {
    throw new Error(
      `${folder.path} holds a run already. Pass resume: true to continue it, or give another runDirectory.`,
    )
  }
  const fresh = freshState(
    seed,
    stages.map(({ name }) => name),
  )
  // By value: what comes back from a source may be its own, changing object.
  const cursors = stages.map(({ data }) => JSON.parse(JSON.stringify(data.state())) as JsonValue)
  const state = folder && resume ? await restore(options, policy, folder, fresh) : fresh
  const stage = stages[state.stage]
  await hooks?.onStart?.(
    state.globalStep === 0 || !stage
      ? null
      : { stage: stage.name, step: state.progress.step, globalStep: state.globalStep },
  )
  const losses = new LostDevices(options)
  const startLoggers = async (globalStep: number) => {
    const history = { records: folder?.readMetrics() ?? [], globalStep }
    for (const logger of loggers) await logger.start?.(history)
  }
  const goOn = async (next: Policy<Prompt>) => {
    stages.forEach(({ data }, index) => data.restore(cursors[index] as JsonValue))
    const restored = folder ? await restore(options, next, folder, fresh) : fresh
    await startLoggers(restored.globalStep)
    return new Run(options, next, folder, restored)
  }
  await startLoggers(state.globalStep)
  let run = new Run(options, policy, folder, state)
  try {
    for (;;) {
      try {
        return await run.stages()
      } catch (error) {
        run = await losses.replace(error, run.globalStep, goOn)
      }
    }
  } finally {
    for (const logger of loggers) await logger.close?.()
  }
}

/** What to do about lost devices, and how often. */
class LostDevices<Prompt> {
  #inRow = 0
  #furthest = -1

  constructor(private readonly options: TrainOptions<Prompt>) {}

  /**
   * Goes on with a new policy, whose device may be lost again meanwhile.
   * @throws the error when it is another one, or devices were lost too often
   */
  async replace<Result>(
    error: unknown,
    globalStep: number,
    goOn: (policy: Policy<Prompt>) => Promise<Result>,
  ): Promise<Result> {
    for (let reason = error; ;) {
      try {
        return await goOn(await this.#rebuild(reason, globalStep))
      } catch (thrown) {
        if (thrown === reason) throw thrown
        reason = thrown
      }
    }
  }

  async #rebuild(error: unknown, globalStep: number): Promise<Policy<Prompt>> {
    const { rebuildPolicy, maxLostDevices = 3, runDirectory, signal, hooks } = this.options
    if (!isDeviceLost(error) || !rebuildPolicy || runDirectory === undefined || signal?.aborted) throw error
    this.#inRow = globalStep > this.#furthest ? 1 : this.#inRow + 1
    this.#furthest = Math.max(this.#furthest, globalStep)
    if (this.#inRow > maxLostDevices) throw error
    const { message } = error as Error
    hooks?.onWarning?.(
      `After step ${globalStep}: ${message} The run goes on from its newest checkpoint on a new device ` +
        `(loss ${this.#inRow} of ${maxLostDevices} without progress).`,
    )
    return rebuildPolicy(error as Error)
  }
}
