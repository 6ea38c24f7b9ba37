export { compareRuns, type Comparison } from './compare.js'
export {
  evaluate,
  summarizeByTag,
  summarizeSamples,
  type EvaluateOptions,
  type Evaluation,
  type Summary,
} from './evaluate.js'
export { renderComparison, renderEvaluation, renderEvaluations } from './report.js'
export { readSamples, writeSamples } from './samples-file.js'
export { hasReasoningFormat, mathScorer } from './scorers.js'
export { accuracyInterval, mcNemarExact, passAtK, wilsonInterval, type Interval } from './statistics.js'
export { digitsTask, type DigitsTaskOptions } from './tasks/digits.js'
export { gsm8kTask, type Gsm8kTaskOptions } from './tasks/gsm8k.js'
export { createTask, taskNames, type TaskOptions } from './tasks/registry.js'
export type { Backend, Generation, GenerationRequest, SampleRecord, SampleState, Score, Scorer, Task } from './types.js'
