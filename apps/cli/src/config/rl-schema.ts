/**
 * What an rl stage may say of its algorithm, as Zod schemas. Types and ranges are checked here; what settings mean together is
 * checked by `checkStages` of `@revisual/rl`, which knows. Absent keys keep the defaults of that package.
 */
import { algorithmNames, klEstimators } from '@revisual/rl'
import { z } from 'zod'

const count = z.int().min(1)
const positive = z.number().positive()
const atLeastZero = z.number().min(0)
const share = positive.max(1)

/** ReVisual-R1's Prioritized Advantage Distillation, as in the paper or as in the authors' code. */
const pad = z.discriminatedUnion('variant', [
  z.strictObject({
    variant: z.literal('paper'),
    low: positive.default(0.03),
    high: positive.nullable().default(null),
    /** ρ: share of the batch that is kept. */
    ratio: positive.default(0.5),
    temperature: z.strictObject({ from: positive.default(1), to: positive.default(0.3) }).prefault({}),
  }),
  z.strictObject({
    variant: z.literal('released'),
    low: atLeastZero.default(0.03),
    high: positive.default(0.97),
    ratio: positive.default(1.5),
    alpha: atLeastZero.default(1.5),
    withReplacement: z.boolean().default(true),
  }),
])

const epsilon = atLeastZero.optional()
const advantage = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('grpo'),
    epsilon,
    ddof: z.literal([0, 1]).optional(),
    scale: z.enum(['group', 'batch', 'none']).optional(),
  }),
  z.strictObject({ kind: z.literal('gdpo'), epsilon, whiten: z.enum(['sequences', 'tokens']).optional() }),
  z.strictObject({ kind: z.literal('rloo'), normalize: z.boolean().optional() }),
  z.strictObject({ kind: z.literal('reinforce-plus-plus'), gamma: share.optional() }),
  z.strictObject({ kind: z.literal('reinforce-plus-plus-baseline') }),
  z.strictObject({ kind: z.literal('remax') }),
  z.strictObject({ kind: z.literal('opo') }),
  z.strictObject({ kind: z.literal('gpg') }),
  z.strictObject({ kind: z.literal('pass-at-k'), epsilon }),
  z.strictObject({ kind: z.literal('max-rl') }),
])

const level = z.enum(['token', 'sequence']).optional()
const shape = z.strictObject({ k: positive, lambda: positive }).optional()
const loss = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('clip'), level: z.enum(['token', 'sequence', 'sequence-token']).optional() }),
  z.discriminatedUnion('bound', [
    z.strictObject({ kind: z.literal('cispo'), bound: z.literal('range'), level }),
    z.strictObject({ kind: z.literal('cispo'), bound: z.literal('cap'), max: positive, level }),
  ]),
  z.strictObject({
    kind: z.literal('sapo'),
    temperaturePositive: positive.optional(),
    temperatureNegative: positive.optional(),
    level,
  }),
  z.strictObject({ kind: z.literal('gmpo') }),
  z.strictObject({ kind: z.literal('vespo'), positive: shape, negative: shape }),
  z.strictObject({ kind: z.literal('reinforce') }),
  z.strictObject({
    kind: z.literal('clip-cov'),
    share: share.optional(),
    lower: z.number().optional(),
    upper: z.number().optional(),
  }),
  z.strictObject({ kind: z.literal('kl-cov'), share: share.optional(), coefficient: positive.optional() }),
])

const clip = z.strictObject({
  low: atLeastZero.default(0.2),
  high: atLeastZero.default(0.25),
  dual: z.number().gt(1).nullable().default(3),
  cap: z.number().gt(1).nullable().default(null),
})
/** What clips where neither the stage nor its algorithm says: the released code of ReVisual-R1. */
export const defaultClip: z.infer<typeof clip> = { low: 0.2, high: 0.25, dual: 3, cap: null }

const aggregation = z.union([
  z.enum(['token-mean', 'sequence-mean', 'sequence-sum', 'token-sum', 'local-token-mean']),
  z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('sequence-sum-constant'), length: positive }),
    z.strictObject({ kind: z.literal('constant'), denominator: positive }),
  ]),
])

const kl = z.strictObject({
  estimator: z.enum(klEstimators).default('k3'),
  coefficient: atLeastZero,
  maxValue: positive.optional(),
  ratioCorrected: z.boolean().optional(),
  in: z.enum(['loss', 'reward']).optional(),
  reference: z.enum(['stage', 'base']).optional(),
  adaptive: z.strictObject({ target: positive, horizon: positive }).optional(),
})

const entropy = z.strictObject({
  coefficient: atLeastZero,
  kind: z.enum(['true-entropy', 'sampled-logprob']).optional(),
  /** Optimizer updates before the bonus begins. */
  warmupUpdates: z.int().min(0).optional(),
  /** Factor per update from then on. */
  decay: share.optional(),
  /** Updates over which the bonus falls linearly to the floor. */
  linearUpdates: count.optional(),
  floor: atLeastZero.optional(),
  adaptive: z
    .strictObject({
      target: atLeastZero,
      delta: positive.optional(),
      min: atLeastZero.optional(),
      max: positive.optional(),
    })
    .optional(),
})

const correction = z.strictObject({
  level: z.enum(['token', 'sequence', 'geometric']),
  mode: z.enum(['truncate', 'mask']),
  max: positive,
  min: atLeastZero.optional(),
})

const dynamicSampling = z.strictObject({
  tolerance: atLeastZero.optional(),
  meanAbove: z.number().optional(),
  meanBelow: z.number().optional(),
  metric: z.string().min(1).optional(),
  maxRounds: count.optional(),
  onExhausted: z.enum(['train', 'raise']).optional(),
})

/** The list of sources is then ordered from easy to hard. */
export const curriculum = z.discriminatedUnion('kind', [
  /** Opens one source after the other; the last one after `steps` steps, by default those of the stage. */
  z.strictObject({ kind: z.literal('linear'), steps: count.optional() }),
  z.strictObject({
    kind: z.literal('adaptive'),
    target: z.number().optional(),
    width: positive.optional(),
    floor: share.optional(),
    decay: z.number().min(0).lt(1).optional(),
  }),
])

/** Keys of an rl stage that are about its algorithm. */
export const algorithmShape = {
  /** Sets what the stage leaves out of `advantage`, `loss`, `clip`, `aggregation`, `localBatch`, `dynamicSampling`, `maskTruncated`. */
  algorithm: z.enum(algorithmNames).nullable().default(null),
  advantage: advantage.optional(),
  loss: loss.optional(),
  /** Default with an algorithm: its own; else 0.2 / 0.25 / 3. */
  clip: clip.optional(),
  /** Default with an algorithm: its own; else `token-mean`. */
  aggregation: aggregation.optional(),
  localBatch: z.union([z.literal('group'), count]).optional(),
  /** Optimizer steps one pass over a rollout batch is cut into. */
  updatesPerStep: count.default(1),
  /** μ: passes over a rollout batch. */
  innerEpochs: count.default(1),
  pad: pad.nullable().default(null),
  kl: kl.nullable().default(null),
  entropy: entropy.nullable().default(null),
  highEntropyShare: share.optional(),
  correction: correction.nullable().optional(),
  offPolicyThreshold: atLeastZero.optional(),
  dynamicSampling: dynamicSampling.nullable().optional(),
  replay: z.strictObject({ capacity: count.optional(), maxAge: count.optional() }).nullable().default(null),
  overlong: z
    .strictObject({ buffer: count, factor: positive.optional(), maxTokens: count.optional() })
    .nullable()
    .default(null),
  /** Completions cut off by `maxTokens` count in their group but are not learnt from. */
  maskTruncated: z.boolean().optional(),
}
