export { groupAdvantages, groupRewardMetrics, groupStatistics } from './advantages.js'
export type { AdvantageOptions, GroupAdvantages, GroupStatistics } from './advantages.js'
export { algorithmNames, algorithmSettings, type AlgorithmName, type AlgorithmSettings } from './algorithms.js'
export { curriculumSource, type CurriculumOptions, type CurriculumRule } from './curriculum.js'
export {
  estimateAdvantages,
  gdpoAdvantages,
  gpgAdvantages,
  maxRlAdvantages,
  opoAdvantages,
  passAtKAdvantages,
  reinforcePlusPlusAdvantages,
  reinforcePlusPlusBaselineAdvantages,
  remaxAdvantages,
  rlooAdvantages,
} from './estimators.js'
export type { AdvantageEstimator, AdvantageInputs, Advantages, GdpoOptions, RewardComponent } from './estimators.js'
export {
  denominatorsOf,
  localTokenCounts,
  type Aggregation,
  type Denominators,
  type TokenValues,
} from './losses/aggregation.js'
export { isOffPolicy, mismatchWeights, type MismatchCorrection, type MismatchWeights } from './losses/correction.js'
export {
  adaptedKlCoefficient,
  klEstimators,
  klTerm,
  type AdaptiveKl,
  type KlEstimator,
  type KlTerm,
} from './losses/kl.js'
export { vespoWeight } from './losses/objectives.js'
export type { ClipSettings, GammaShape, PolicyObjective, RatioLevel } from './losses/objectives.js'
export { addPolicyLossSums, policyLoss, policyLossMetrics } from './losses/policy.js'
export type {
  EntropySettings,
  KlSettings,
  PolicyLossInputs,
  PolicyLossResult,
  PolicyLossSettings,
  PolicyLossSums,
} from './losses/policy.js'
export {
  highEntropyMask,
  quantile,
  selectCovariance,
  tokenCovariances,
  type CovarianceRule,
} from './losses/selection.js'
export { csvLogger } from './loggers/csv.js'
export { tableLogger } from './loggers/table.js'
export { tensorBoardLogger } from './loggers/tensorboard.js'
export { addSftLossSums, sftLoss, sftLossMetrics, type SftLossResult, type SftLossSums } from './losses/sft.js'
export { overlongPenalty, type OverlongPenalty } from './overlong.js'
export { selectByAdvantage } from './pad.js'
export type { PadSelection, PadSettings, PaperPad, ReleasedPad } from './pad.js'
export { chooseWithoutReplacement, chooseWithReplacement, createRandom, deriveSeed, shuffle } from './random.js'
export type { Random, RandomLabel } from './random.js'
export { openAiSampler, withSampler, type OpenAiSamplerOptions, type Sampler } from './remote/openai-sampler.js'
export { RemoteError, type RequestOptions } from './remote/requests.js'
export { checkReward, type ContractOptions, type RewardCase, type RewardCheck } from './rewards/contract.js'
export { defineReward } from './rewards/define.js'
export { efficientLength, efficientLengthReward, type EfficientLengthOptions } from './rewards/efficient-length.js'
export { RewardError, type RewardErrorKind } from './rewards/errors.js'
export { loadReward, type AnyRewardPlugin, type RewardLookup, type RewardSpec } from './rewards/load.js'
export { combineRewards } from './rewards/scorer.js'
export type { OnRewardError, RewardScorer, ScorerOptions, WeightedReward } from './rewards/scorer.js'
export { rewardFunctionMetrics, type CombinedRewards, type FunctionScores } from './rewards/scores.js'
export { RewardWorker, type RewardWorkerOptions } from './rewards/worker.js'
export {
  adaptiveEntropyCoefficient,
  afterEntropy,
  entropyCoefficient,
  scheduleValue,
  temperatureAt,
} from './schedules.js'
export type {
  AdaptiveEntropy,
  AdaptiveEntropyState,
  EntropySchedule,
  RampSchedule,
  Schedule,
  TemperatureSchedule,
} from './schedules.js'
export { checkStages, type ReferenceKind } from './trainer/check-stages.js'
export { DivergenceError } from './trainer/divergence.js'
export type * from './trainer/records.js'
export { RunFolder, type RecordCounts } from './trainer/run-folder.js'
export type { LogHistory, TrainLogger } from './trainer/logger.js'
export { planStages, type StagePlan } from './trainer/plan.js'
export type {
  DynamicSampling,
  PlannedStage,
  Replay,
  RlSettings,
  RlStage,
  SftSettings,
  SftStage,
  Stage,
  StageEntropy,
  StageKl,
  StagePad,
  StageSettings,
  StopRule,
} from './trainer/stages.js'
export type { BestCheckpoint, StageEnd, StageReport } from './trainer/state.js'
export { train } from './trainer/train.js'
export type { BestRule, RunPosition, TrainHooks, TrainOptions, TrainResult } from './trainer/train.js'
export type * from './types.js'
