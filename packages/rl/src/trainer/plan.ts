/**
 * What a list of stages amounts to before anything runs: prompts, completions, tokens, passes and optimizer steps, from the
 * settings alone. Numbers that depend on what the policy will write are upper bounds.
 */
import { withAlgorithm } from '../algorithms.js'
import { needsCovariance } from '../losses/objectives.js'
import type { PlannedStage, RlSettings, SftSettings } from './stages.js'

export interface StagePlan {
  readonly stage: string
  readonly steps: number
  /** Prompts asked for; with dynamic sampling those of one round per step, and of all its rounds. */
  readonly prompts: number
  readonly maxPrompts: number
  /** Completions sampled in all, at most. ReMax samples one more per prompt. */
  readonly maxCompletions: number
  /** Tokens generated in all, at most. */
  readonly maxGeneratedTokens: number
  /** Optimizer steps, at most: a step in which nothing is learnt makes none. */
  readonly updates: number
  /** Forward passes over the rollout batch beside sampling and learning, per step: old log-probs, reference, token selection. */
  readonly scoringPasses: number
}

/** Passes without gradient over the completions of a step. */
function scoringPasses(stage: RlSettings): number {
  const { updatesPerStep = 1, innerEpochs = 1, kl, loss, highEntropyShare = 1 } = stage
  const old = updatesPerStep * innerEpochs > 1 ? 1 : 0
  const reference = kl ? 1 : 0
  const reward = kl?.in === 'reward' ? 1 : 0
  const selection = highEntropyShare < 1 || (loss && needsCovariance(loss)) ? innerEpochs : 0
  return old + reference + reward + selection
}

function planSft({ name, steps, batchSize }: SftSettings): StagePlan {
  const prompts = steps * batchSize
  const none = { maxCompletions: 0, maxGeneratedTokens: 0, scoringPasses: 0 }
  return { stage: name, steps, prompts, maxPrompts: prompts, updates: steps, ...none }
}

function planRl(settings: RlSettings): StagePlan {
  const stage = withAlgorithm(settings)
  const { name, steps, promptsPerStep, groupSize, sampling, dynamicSampling, advantage } = stage
  const rounds = dynamicSampling ? (dynamicSampling.maxRounds ?? 10) : 1
  const maxPrompts = steps * promptsPerStep * rounds
  const greedy = advantage?.kind === 'remax' ? steps * promptsPerStep : 0
  const maxCompletions = maxPrompts * groupSize + greedy
  return {
    stage: name,
    steps,
    prompts: steps * promptsPerStep,
    maxPrompts,
    maxCompletions,
    maxGeneratedTokens: maxCompletions * sampling.maxTokens,
    updates: steps * (stage.updatesPerStep ?? 1) * (stage.innerEpochs ?? 1),
    scoringPasses: scoringPasses(stage),
  }
}

/** A plan per stage. */
export const planStages = (stages: readonly PlannedStage[]): StagePlan[] =>
  stages.map((stage) => (stage.kind === 'sft' ? planSft(stage) : planRl(stage)))
