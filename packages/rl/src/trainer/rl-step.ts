/**
 * The second half of an rl step: completions with advantages in, optimizer steps out.
 *
 *   advantages ─► PAD ─► μ passes × updates ─► micro-batches ─► policy.accumulate ─► policy.step
 *
 * With one update per rollout batch the policy that learns is the policy that sampled, so its own log-probs, held constant,
 * are the old ones and no extra forward pass is made.
 */
import { denominatorsOf, localTokenCounts, type Denominators } from '../losses/aggregation.js'
import { DEFAULT_OBJECTIVE, needsCovariance } from '../losses/objectives.js'
import {
  addPolicyLossSums,
  policyLoss,
  policyLossMetrics,
  type PolicyLossInputs,
  type PolicyLossSettings,
  type PolicyLossSums,
} from '../losses/policy.js'
import { highEntropyMask, selectCovariance, type CovarianceRule } from '../losses/selection.js'
import { selectByAdvantage, type PadSelection, type PadSettings } from '../pad.js'
import { createRandom, shuffle, type Random } from '../random.js'
import { temperatureAt } from '../schedules.js'
import { mean } from '../statistics.js'
import type { Completion, Policy, StepOptions, StepReport, TokenBatch, TokenScores } from '../types.js'
import type { Clock } from './clock.js'
import {
  controllersAfterStep,
  controllersAfterUpdate,
  entropyCoefficientOf,
  klCoefficientOf,
  type Controllers,
} from './controllers.js'
import type { MemoryBudget } from './memory-budget.js'
import { evenParts } from './micro-batches.js'
import type { Rollout, StepPosition } from './rollout.js'
import { SamplerGap } from './sampler-gap.js'
import {
  lengthsOf,
  pieces,
  scoreAll,
  sequenceLength,
  tokenBatch,
  type CompletionScores,
  type ScorableBatch,
} from './score.js'
import { DEFAULT_CLIP, DEFAULT_PAD_TEMPERATURE, type RlStage, type StagePad } from './stages.js'
import type { StepOutcome } from './step-outcome.js'
import { discard, update, type MicroBatch } from './update.js'

export interface LearnOptions extends StepOptions {
  /** Optimizer steps of the stage done before. */
  readonly updates: number
  readonly controllers: Controllers
}

export interface LearnOutcome extends StepOutcome {
  /** Indices of the completions learnt from; PAD's released variant repeats some. */
  readonly selected: readonly number[]
  readonly controllers: Controllers
}

type LogProbs = ReadonlyMap<number, ArrayLike<number>>

/** One advantage per completion: its own, or the mean of its tokens'. */
export function sequenceAdvantages(advantages: Rollout<unknown>['advantages']): number[] {
  return advantages.map((value) => {
    if (typeof value === 'number') return value
    return value.length === 0 ? 0 : value.reduce((sum, one) => sum + one, 0) / value.length
  })
}

function padSettings(pad: StagePad, step: number, steps: number): PadSettings {
  if (pad.variant === 'released') return pad
  return { ...pad, temperature: temperatureAt(pad.temperature ?? DEFAULT_PAD_TEMPERATURE, step - 1, steps) }
}

/** Whether each completion is correct: full marks of the reward called `accuracy`, or else a positive advantage. */
function correctness<Prompt>({ rewards }: Rollout<Prompt>, advantages: readonly number[]): boolean[] {
  const accuracy = rewards.functions.find(({ name }) => name === 'accuracy')?.scores
  return advantages.map((advantage, index) => (accuracy ? (accuracy[index] ?? 0) >= 1 : advantage > 0))
}

/** Completions to learn from: not cut off (when that is asked for), not empty, chosen by PAD. */
function select<Prompt>(stage: RlStage<Prompt>, rollout: Rollout<Prompt>, { seed, step }: StepPosition): PadSelection {
  const candidates = rollout.completions.flatMap(({ finishReason, completionIds }, index) =>
    completionIds.length === 0 || (stage.maskTruncated && finishReason === 'length') ? [] : [index],
  )
  if (!stage.pad) return { indices: candidates, metrics: {} }
  const advantages = sequenceAdvantages(rollout.advantages)
  const correct = correctness(rollout, advantages)
  const { indices, metrics } = selectByAdvantage(
    candidates.map((index) => advantages[index] as number),
    padSettings(stage.pad, step, stage.steps),
    createRandom(seed, 'pad', stage.name, step),
    candidates.map((index) => correct[index] as boolean),
  )
  return { indices: indices.map((index) => candidates[index] as number), metrics }
}

/** The optimizer batches of a step: μ passes, each shuffled anew and cut into `updatesPerStep`. */
function optimizerBatches<Prompt>(
  stage: RlStage<Prompt>,
  indices: readonly number[],
  { seed, step }: StepPosition,
): number[][] {
  return Array.from({ length: stage.innerEpochs ?? 1 }, (_, epoch) => {
    const random = createRandom(seed, 'updates', stage.name, step, ...(epoch > 0 ? [epoch] : []))
    return evenParts(shuffle(indices, random), stage.updatesPerStep ?? 1)
  }).flat()
}

function lossSettings<Prompt>(
  stage: RlStage<Prompt>,
  klCoefficient: number,
  entropyCoefficient: number,
): PolicyLossSettings {
  const { loss, kl, correction, offPolicyThreshold } = stage
  return {
    clip: stage.clip ?? DEFAULT_CLIP,
    aggregation: stage.aggregation ?? 'token-mean',
    ...(loss ? { objective: loss } : {}),
    // Inside the reward it has been taken off already; here it is only measured.
    ...(kl ? { kl: { ...kl, coefficient: kl.in === 'reward' ? 0 : klCoefficient } } : {}),
    ...(entropyCoefficient > 0
      ? { entropy: { coefficient: entropyCoefficient, kind: stage.entropy?.kind ?? 'true-entropy' } }
      : {}),
    ...(correction ? { correction } : {}),
    ...(offPolicyThreshold === undefined ? {} : { offPolicyThreshold }),
  }
}

/** What the loss of one optimizer batch reads besides its log-probs, by position in the batch. */
interface UpdateInputs {
  readonly denominators: Denominators
  readonly inputs: Omit<PolicyLossInputs, 'logProbs' | 'entropies'>
}

/** Local batches of `local-token-mean`: groups, or so many sequences in a row. */
function localBatches<Prompt>(
  { localBatch = 'group', groupSize }: RlStage<Prompt>,
  part: readonly number[],
): readonly number[] {
  return part.map((index, position) => Math.floor(localBatch === 'group' ? index / groupSize : position / localBatch))
}

/** Tokens the objective picks or leaves out, by comparing all tokens of the batch under the present policy. */
function tokenSelection<Prompt>(
  stage: RlStage<Prompt>,
  part: readonly number[],
  advantages: Rollout<Prompt>['advantages'],
  { logProbs, entropies }: CompletionScores,
  random: Random,
): Pick<PolicyLossInputs, 'tokenFactors' | 'pickedTokens'> {
  const { loss = DEFAULT_OBJECTIVE, highEntropyShare = 1 } = stage
  const of = (values: ReadonlyMap<number, Float32Array>) => part.map((index) => values.get(index) as Float32Array)
  const own = part.map((index) => advantages[index] as number | Float64Array)
  return {
    ...(highEntropyShare < 1 ? { tokenFactors: highEntropyMask(of(entropies), highEntropyShare) } : {}),
    ...(needsCovariance(loss)
      ? { pickedTokens: selectCovariance(of(logProbs), own, loss as CovarianceRule, random) }
      : {}),
  }
}

const comparesTokens = <Prompt>({ loss = DEFAULT_OBJECTIVE, highEntropyShare = 1 }: RlStage<Prompt>) =>
  needsCovariance(loss) || highEntropyShare < 1

/** Everything of a step that its optimizer batches share. */
interface Learning<Prompt> {
  readonly batch: ScorableBatch<Prompt>
  readonly stage: RlStage<Prompt>
  readonly rollout: Rollout<Prompt>
  readonly position: StepPosition
  readonly old: LogProbs
  readonly reference: LogProbs | null
  readonly score: (indices: readonly number[]) => Promise<CompletionScores>
}

/** @param number of the optimizer batch within the step */
async function updateInputs<Prompt>(
  { stage, rollout, batch, old, reference, position, score }: Learning<Prompt>,
  part: readonly number[],
  number: number,
): Promise<UpdateInputs> {
  const { advantages } = rollout
  const completionOf = (index: number) => batch.completions[index] as Completion
  const lengths = part.map((index) => completionOf(index).completionIds.length)
  const local = stage.aggregation === 'local-token-mean' ? localTokenCounts(lengths, localBatches(stage, part)) : null
  const random = createRandom(position.seed, 'tokens', stage.name, position.step, number)
  const selection = comparesTokens(stage) ? tokenSelection(stage, part, advantages, await score(part), random) : {}
  return {
    denominators: { ...denominatorsOf(lengths), ...(local ? { localBatches: local.batches } : {}) },
    inputs: {
      advantages: part.map((index) => advantages[index] as number | Float64Array),
      ...(old.size > 0 ? { oldLogProbs: part.map((index) => old.get(index) ?? null) } : {}),
      ...(reference ? { referenceLogProbs: part.map((index) => reference.get(index) as ArrayLike<number>) } : {}),
      ...(stage.correction || stage.offPolicyThreshold !== undefined
        ? { samplerLogProbs: part.map((index) => completionOf(index).logProbs) }
        : {}),
      ...(local ? { localTokens: local.tokens } : {}),
      ...selection,
    },
  }
}

/** Those elements of every argument that are at the given positions. */
function at(inputs: UpdateInputs['inputs'], positions: readonly number[]): UpdateInputs['inputs'] {
  const entries = Object.entries(inputs).map(([name, values]) => [
    name,
    positions.map((position) => (values as readonly unknown[])[position]),
  ])
  return Object.fromEntries(entries) as UpdateInputs['inputs']
}

/** The micro-batches of an optimizer batch; `report` is told of each one's loss. */
function microBatchesOf<Prompt>(
  { batch }: Learning<Prompt>,
  part: readonly number[],
  budget: number,
  settings: PolicyLossSettings,
  { inputs, denominators }: UpdateInputs,
  report: (sums: PolicyLossSums, piece: readonly number[], scores: TokenScores) => void,
): MicroBatch<Prompt>[] {
  return pieces(batch, part, budget).map((positions) => {
    const piece = positions.map((position) => part[position] as number)
    const own = at(inputs, positions)
    return {
      batch: tokenBatch(batch, piece),
      loss: (scores) => {
        const result = policyLoss({ ...own, ...scores }, settings, denominators)
        report(result.sums, piece, scores)
        return result
      },
    }
  })
}

/**
 * Log-probs of the policy that sampled. Replayed completions have theirs from the sampler; the others need none where the
 * policy changes only once.
 */
function oldLogProbs<Prompt>(rollout: Rollout<Prompt>, scored: CompletionScores | null): LogProbs {
  const old = new Map<number, ArrayLike<number>>(scored?.logProbs ?? [])
  rollout.completions.forEach(({ logProbs }, index) => {
    if (rollout.replayed[index]) old.set(index, logProbs)
  })
  return old
}

/** Learns from a rollout. */
export async function learn<Prompt>(
  policy: Policy<Prompt>,
  stage: RlStage<Prompt>,
  rollout: Rollout<Prompt>,
  position: StepPosition,
  { updates, controllers: before, ...stepOptions }: LearnOptions,
  budget: MemoryBudget,
  clock: Clock,
): Promise<LearnOutcome> {
  const { completions, examples } = rollout
  const { indices, metrics: padMetrics } = select(stage, rollout, position)
  const batch: ScorableBatch<Prompt> = { completions, examples, temperature: stage.sampling.temperature, policy }
  const tokens = completions.reduce((total, _, index) => total + sequenceLength(batch, index), 0)
  if (indices.length === 0) {
    return { tokens, applied: 0, skipped: 0, selected: [], metrics: padMetrics, controllers: before }
  }

  const parts = optimizerBatches(stage, indices, position)
  const scoreWith = (some: readonly number[], how: (tokens: TokenBatch<Prompt>) => Promise<TokenScores>) =>
    clock.time('score', () => scoreAll(batch, some, budget, how))
  const score = (some: readonly number[]) => scoreWith(some, (own) => policy.score(own))
  const scored = parts.length > 1 ? await score(indices) : null
  const scoreReference = stage.kl && policy.scoreReference?.bind(policy)
  const reference = rollout.reference ?? (scoreReference ? (await scoreWith(indices, scoreReference)).logProbs : null)
  const old = oldLogProbs(rollout, scored)
  const learning: Learning<Prompt> = { batch, stage, rollout, position, old, reference, score }

  const gap = new SamplerGap()
  const compare = (index: number, logProbs: ArrayLike<number>) => {
    if (!rollout.replayed[index]) gap.add((completions[index] as Completion).logProbs, logProbs)
  }
  for (const [index, logProbs] of scored?.logProbs ?? []) compare(index, logProbs)
  const reports: StepReport[] = []
  const sums: PolicyLossSums[] = []
  const klCoefficient = klCoefficientOf(stage, before)
  let controllers = before
  let coefficient = 0
  for (const [number, part] of parts.entries()) {
    coefficient = entropyCoefficientOf(stage, controllers, updates + reports.length)
    const settings = lossSettings(stage, klCoefficient, coefficient)
    const inputs = await updateInputs(learning, part, number)
    const attempt = async (budgetTokens: number) => {
      const own: PolicyLossSums[] = []
      const seen: (readonly [number, Float32Array])[] = []
      const microBatches = microBatchesOf(
        learning,
        part,
        budgetTokens,
        settings,
        inputs,
        (some, piece, { logProbs }) => {
          own.push(some)
          if (!scored) piece.forEach((index, place) => seen.push([index, logProbs[place] as Float32Array]))
        },
      )
      return { report: await update(policy, microBatches, stepOptions), own, seen }
    }
    const { report, own, seen } = await clock.time('update', () =>
      budget.fit(lengthsOf(batch, part), attempt, discard(policy)),
    )
    reports.push(report)
    sums.push(...own)
    for (const [index, logProbs] of seen) compare(index, logProbs)
    const { entropy, tokens: count } = addPolicyLossSums(own)
    controllers = controllersAfterUpdate(stage, controllers, entropy / count)
  }
  const applied = reports.filter((report) => report.applied).length
  const lossMetrics = policyLossMetrics(addPolicyLossSums(sums), reports.length)
  return {
    tokens,
    applied,
    skipped: reports.length - applied,
    selected: indices,
    controllers: controllersAfterStep(stage, controllers, lossMetrics['kl'], completions.length),
    metrics: {
      ...lossMetrics,
      ...padMetrics,
      ...gap.metrics(),
      grad_norm: mean(reports.map(({ gradNorm }) => gradNorm)),
      ...(stage.entropy ? { entropy_coef: coefficient } : {}),
      ...(stage.kl?.adaptive ? { kl_coef: klCoefficient } : {}),
    },
  }
}
