/**
 * The second half of an rl step: completions with advantages in, optimizer steps out.
 *
 *   advantages ─► PAD ─► updates ─► micro-batches ─► policy.accumulate ─► policy.step
 *
 * With one update per rollout batch the policy that learns is the policy that sampled, so its own log-probs, held constant,
 * are the old ones and no extra forward pass is made.
 */
import { denominatorsOf, type Denominators } from '../losses/aggregation.js'
import {
  addPolicyLossSums,
  policyLoss,
  policyLossMetrics,
  type PolicyLossSettings,
  type PolicyLossSums,
} from '../losses/policy.js'
import { selectByAdvantage, type PadSelection, type PadSettings } from '../pad.js'
import { createRandom, shuffle } from '../random.js'
import { entropyCoefficient, temperatureAt } from '../schedules.js'
import { mean } from '../statistics.js'
import type { Completion, Policy, RlExample, StepOptions, StepReport, TokenBatch, TokenScores } from '../types.js'
import type { Clock } from './clock.js'
import type { MemoryBudget } from './memory-budget.js'
import { evenParts, microBatches } from './micro-batches.js'
import type { Rollout, StepPosition } from './rollout.js'
import { SamplerGap } from './sampler-gap.js'
import { DEFAULT_CLIP, DEFAULT_PAD_TEMPERATURE, type RlStage, type StagePad } from './stages.js'
import type { StepOutcome } from './step-outcome.js'
import { discard, update, type MicroBatch } from './update.js'

export interface LearnOptions extends StepOptions {
  /** Optimizer steps of the stage done before. */
  readonly updates: number
}

export interface LearnOutcome extends StepOutcome {
  /** Indices of the completions learnt from; PAD's released variant repeats some. */
  readonly selected: readonly number[]
}

type LogProbs = readonly Float32Array[]

/** Sequences the update is made of, with what does not change between its micro-batches. */
interface Batch<Prompt> {
  readonly completions: readonly Completion[]
  readonly examples: readonly RlExample<Prompt>[]
  readonly advantages: readonly number[]
  readonly temperature: number
  /** Prompt plus completion tokens. */
  readonly lengths: readonly number[]
}

function padSettings(pad: StagePad, step: number, steps: number): PadSettings {
  if (pad.variant === 'released') return pad
  return { ...pad, temperature: temperatureAt(pad.temperature ?? DEFAULT_PAD_TEMPERATURE, step - 1, steps) }
}

/** Completions to learn from: not cut off (when that is asked for), not empty, chosen by PAD. */
function select<Prompt>(
  stage: RlStage<Prompt>,
  { completions, advantages }: Rollout<Prompt>,
  { seed, step }: StepPosition,
): PadSelection {
  const candidates = completions.flatMap(({ finishReason, completionIds }, index) =>
    completionIds.length === 0 || (stage.maskTruncated && finishReason === 'length') ? [] : [index],
  )
  if (!stage.pad) return { indices: candidates, metrics: {} }
  const { indices, metrics } = selectByAdvantage(
    candidates.map((index) => advantages[index] as number),
    padSettings(stage.pad, step, stage.steps),
    createRandom(seed, 'pad', stage.name, step),
  )
  return { indices: indices.map((index) => candidates[index] as number), metrics }
}

function tokenBatch<Prompt>(batch: Batch<Prompt>, indices: readonly number[]): TokenBatch<Prompt> {
  const sequences = indices.map((index) => {
    const { requestIndex, completionIds } = batch.completions[index] as Completion
    return { prompt: (batch.examples[requestIndex] as RlExample<Prompt>).prompt, completionIds }
  })
  return { sequences, temperature: batch.temperature, vocabulary: 'sampling' }
}

const lengthsOf = <Prompt>(batch: Batch<Prompt>, indices: readonly number[]) =>
  indices.map((index) => batch.lengths[index] as number)

/** Micro-batches of some completions, as indices of completions. */
function pieces<Prompt>(batch: Batch<Prompt>, indices: readonly number[], tokens: number): number[][] {
  return microBatches(lengthsOf(batch, indices), tokens).map((piece) =>
    piece.map((position) => indices[position] as number),
  )
}

/** Log-probs of the given completions without gradient, by index of completion. */
async function scoreAll<Prompt>(
  batch: Batch<Prompt>,
  indices: readonly number[],
  budget: MemoryBudget,
  score: (tokens: TokenBatch<Prompt>) => Promise<TokenScores>,
): Promise<ReadonlyMap<number, Float32Array>> {
  const distinct = [...new Set(indices)]
  return budget.fit(lengthsOf(batch, distinct), async (tokens) => {
    const found = new Map<number, Float32Array>()
    for (const piece of pieces(batch, distinct, tokens)) {
      const { logProbs } = await score(tokenBatch(batch, piece))
      piece.forEach((index, position) => found.set(index, logProbs[position] as Float32Array))
    }
    return found
  })
}

const pick = (values: ReadonlyMap<number, Float32Array>, indices: readonly number[]): LogProbs =>
  indices.map((index) => values.get(index) as Float32Array)

function lossSettings<Prompt>(stage: RlStage<Prompt>, entropyCoefficient: number): PolicyLossSettings {
  return {
    clip: stage.clip ?? DEFAULT_CLIP,
    aggregation: stage.aggregation ?? 'token-mean',
    ...(stage.kl ? { kl: stage.kl } : {}),
    ...(entropyCoefficient > 0
      ? { entropy: { coefficient: entropyCoefficient, kind: stage.entropy?.kind ?? 'true-entropy' } }
      : {}),
  }
}

/** The part of one update that is made of the completions `piece`. */
function microBatch<Prompt>(
  batch: Batch<Prompt>,
  piece: readonly number[],
  settings: PolicyLossSettings,
  denominators: Denominators,
  old: ReadonlyMap<number, Float32Array> | null,
  reference: ReadonlyMap<number, Float32Array> | null,
  report: (sums: PolicyLossSums, scores: TokenScores) => void,
): MicroBatch<Prompt> {
  return {
    batch: tokenBatch(batch, piece),
    loss: (scores) => {
      const inputs = {
        ...scores,
        advantages: piece.map((index) => batch.advantages[index] as number),
        ...(old ? { oldLogProbs: pick(old, piece) } : {}),
        ...(reference ? { referenceLogProbs: pick(reference, piece) } : {}),
      }
      const result = policyLoss(inputs, settings, denominators)
      report(result.sums, scores)
      return result
    },
  }
}

/** Learns from a rollout. */
export async function learn<Prompt>(
  policy: Policy<Prompt>,
  stage: RlStage<Prompt>,
  rollout: Rollout<Prompt>,
  position: StepPosition,
  { updates, ...stepOptions }: LearnOptions,
  budget: MemoryBudget,
  clock: Clock,
): Promise<LearnOutcome> {
  const { completions, examples, advantages } = rollout
  const { indices, metrics: padMetrics } = select(stage, rollout, position)
  const lengths = completions.map(({ requestIndex, completionIds }) => {
    return policy.promptLength((examples[requestIndex] as RlExample<Prompt>).prompt) + completionIds.length
  })
  const tokens = lengths.reduce((total, length) => total + length, 0)
  if (indices.length === 0) return { tokens, applied: 0, skipped: 0, selected: [], metrics: padMetrics }

  const { temperature } = stage.sampling
  const batch: Batch<Prompt> = { completions, examples, advantages, temperature, lengths }
  const mixed = shuffle(indices, createRandom(position.seed, 'updates', stage.name, position.step))
  const parts = evenParts(mixed, stage.updatesPerStep ?? 1)
  const score = (how: (tokens: TokenBatch<Prompt>) => Promise<TokenScores>) =>
    clock.time('score', () => scoreAll(batch, indices, budget, how))
  const old = parts.length > 1 ? await score((some) => policy.score(some)) : null
  const scoreReference = stage.kl && policy.scoreReference?.bind(policy)
  const reference = scoreReference ? await score(scoreReference) : null

  const gap = new SamplerGap()
  if (old) for (const [index, logProbs] of old) gap.add((completions[index] as Completion).logProbs, logProbs)
  const reports: StepReport[] = []
  const sums: PolicyLossSums[] = []
  let coefficient = 0
  for (const part of parts) {
    coefficient = stage.entropy ? entropyCoefficient(stage.entropy, updates + reports.length) : 0
    const settings = lossSettings(stage, coefficient)
    const denominators = denominatorsOf(part.map((index) => (completions[index] as Completion).completionIds.length))
    const learn = async (tokens: number) => {
      const own: PolicyLossSums[] = []
      const seen: [number, Float32Array][] = []
      const microBatches = pieces(batch, part, tokens).map((piece) =>
        microBatch(batch, piece, settings, denominators, old, reference, (some, { logProbs }) => {
          own.push(some)
          if (!old) piece.forEach((index, at) => seen.push([index, logProbs[at] as Float32Array]))
        }),
      )
      return { report: await update(policy, microBatches, stepOptions), own, seen }
    }
    const { report, own, seen } = await clock.time('update', () =>
      budget.fit(lengthsOf(batch, part), learn, discard(policy)),
    )
    reports.push(report)
    sums.push(...own)
    for (const [index, logProbs] of seen) gap.add((completions[index] as Completion).logProbs, logProbs)
  }
  const applied = reports.filter((report) => report.applied).length
  return {
    tokens,
    applied,
    skipped: reports.length - applied,
    selected: indices,
    metrics: {
      ...policyLossMetrics(addPolicyLossSums(sums), reports.length),
      ...padMetrics,
      ...gap.metrics(),
      grad_norm: mean(reports.map(({ gradNorm }) => gradNorm)),
      ...(stage.entropy ? { entropy_coef: coefficient } : {}),
    },
  }
}
