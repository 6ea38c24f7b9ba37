export { groupAdvantages, groupRewardMetrics } from './advantages.js'
export type { AdvantageOptions, GroupAdvantages, GroupStatistics } from './advantages.js'
export { denominatorsOf, type Aggregation, type Denominators, type TokenValues } from './losses/aggregation.js'
export { klTerm, type KlEstimator, type KlTerm } from './losses/kl.js'
export { addPolicyLossSums, policyLoss, policyLossMetrics } from './losses/policy.js'
export type {
  ClipSettings,
  EntropySettings,
  KlSettings,
  PolicyLossInputs,
  PolicyLossResult,
  PolicyLossSettings,
  PolicyLossSums,
} from './losses/policy.js'
export { addSftLossSums, sftLoss, sftLossMetrics, type SftLossResult, type SftLossSums } from './losses/sft.js'
export { selectByAdvantage } from './pad.js'
export type { PadSelection, PadSettings, PaperPad, ReleasedPad } from './pad.js'
export { chooseWithoutReplacement, chooseWithReplacement, createRandom, deriveSeed, shuffle } from './random.js'
export type { Random, RandomLabel } from './random.js'
export { defineReward } from './rewards/define.js'
export { efficientLength, efficientLengthReward, type EfficientLengthOptions } from './rewards/efficient-length.js'
export { RewardError, type RewardErrorKind } from './rewards/errors.js'
export { loadReward, type AnyRewardPlugin, type RewardLookup, type RewardSpec } from './rewards/load.js'
export { combineRewards } from './rewards/scorer.js'
export type { OnRewardError, RewardScorer, ScorerOptions, WeightedReward } from './rewards/scorer.js'
export { rewardFunctionMetrics, type CombinedRewards, type FunctionScores } from './rewards/scores.js'
export { RewardWorker, type RewardWorkerOptions } from './rewards/worker.js'
export { entropyCoefficient, scheduleValue, temperatureAt } from './schedules.js'
export type { EntropySchedule, RampSchedule, Schedule, TemperatureSchedule } from './schedules.js'
export { DivergenceError } from './trainer/divergence.js'
export type * from './trainer/records.js'
export { RunFolder, type RecordCounts } from './trainer/run-folder.js'
export type { RlStage, SftStage, Stage, StagePad, StageSettings, StopRule } from './trainer/stages.js'
export type { StageEnd, StageReport } from './trainer/state.js'
export { train } from './trainer/train.js'
export type { RunPosition, TrainHooks, TrainOptions, TrainResult } from './trainer/train.js'
export type * from './types.js'
