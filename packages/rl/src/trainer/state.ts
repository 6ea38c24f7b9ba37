/**
 * Everything besides the policy that decides the future of a run, as JSON. Random draws and schedules are functions of seed
 * and step, so they are not in here.
 */
import type { JsonValue } from '../types.js'
import { noControllers, type Controllers } from './controllers.js'
import type { Evaluation } from './records.js'
import type { SavedGroup } from './replay.js'
import type { RecordCounts } from './run-folder.js'
import { freshStopState, type StopState } from './stop-rule.js'

/** Why a stage ended. */
export type StageEnd = 'steps' | 'data' | 'stop-rule'

/** A finished stage. */
export interface StageReport {
  readonly name: string
  readonly kind: 'sft' | 'rl'
  readonly steps: number
  /** Optimizer steps made. */
  readonly updates: number
  /** Wall clock of its steps, over all resumes; evaluations and checkpoints not included. */
  readonly seconds: number
  readonly end: StageEnd
  /** In words, e.g. which threshold was reached. */
  readonly reason: string
}

/** Progress within the present stage. */
export interface StageProgress {
  /** Steps done. */
  readonly step: number
  /** Optimizer steps tried: those made and those given up. The entropy schedule counts them. */
  readonly updates: number
  readonly applied: number
  readonly seconds: number
  /** Cursor of the data source after the last step; null before the first. */
  readonly cursor: JsonValue
  readonly stop: StopState
  /** Most tokens of a micro-batch, once memory has run out; null: as the stage says. Absent in older checkpoints. */
  readonly tokensPerMicroBatch?: number | null
  /** Coefficients that adapt. */
  readonly controllers: Controllers
  /** Groups kept for replay. */
  readonly replay: readonly SavedGroup[]
  /** Set when the stage is over but what follows it (evaluation, next stage) has not begun. */
  readonly ended: { readonly end: StageEnd; readonly reason: string } | null
}

/** The best value of the metric that is watched for it, and where it was. */
export interface BestCheckpoint {
  readonly metric: string
  readonly value: number
  readonly stage: string
  readonly step: number
  readonly globalStep: number
}

export interface TrainerState {
  readonly version: 1
  readonly seed: number
  readonly stageNames: readonly string[]
  /** Index of the present stage. */
  readonly stage: number
  readonly globalStep: number
  readonly progress: StageProgress
  /** Tokens processed. */
  readonly tokens: number
  /** Optimizer steps given up because something was not finite; in total, and since the last one made. */
  readonly skipped: number
  readonly skippedInRow: number
  /** Steps whose PAD selection was empty. */
  readonly emptySelections: number
  readonly records: RecordCounts
  readonly evaluations: readonly Evaluation[]
  readonly finished: readonly StageReport[]
  readonly best: BestCheckpoint | null
}

export const freshProgress: StageProgress = {
  step: 0,
  updates: 0,
  applied: 0,
  seconds: 0,
  cursor: null,
  stop: freshStopState,
  tokensPerMicroBatch: null,
  controllers: noControllers,
  replay: [],
  ended: null,
}

export function freshState(seed: number, stageNames: readonly string[]): TrainerState {
  return {
    version: 1,
    seed,
    stageNames,
    stage: 0,
    globalStep: 0,
    progress: freshProgress,
    tokens: 0,
    skipped: 0,
    skippedInRow: 0,
    emptySelections: 0,
    records: { metrics: 0, samples: 0 },
    evaluations: [],
    finished: [],
    best: null,
  }
}

/** Throws when a checkpoint belongs to another run than the one asked for. */
export function checkSameRun(state: TrainerState, seed: number, stageNames: readonly string[], path: string): void {
  const refuse = (what: string, saved: unknown, now: unknown) => {
    throw new Error(
      `${path} is of another run: its ${what} is ${JSON.stringify(saved)}, now it is ${JSON.stringify(now)}. ` +
        `Resume with the settings it was started with, or use another run directory.`,
    )
  }
  const version: unknown = state.version
  if (version !== 1) refuse('format version', version, 1)
  if (state.seed !== seed) refuse('seed', state.seed, seed)
  if (state.stageNames.join('\n') !== stageNames.join('\n')) refuse('list of stages', state.stageNames, stageNames)
}

/** A saved state with what later versions added filled in. */
export function completeState(saved: TrainerState): TrainerState {
  const { seed, stageNames } = saved
  return { ...freshState(seed, stageNames), ...saved, progress: { ...freshProgress, ...saved.progress } }
}
