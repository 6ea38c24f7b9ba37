/**
 * The configuration of a run, as Zod schemas: one record per stage, every number with its unit and its default. What the
 * file does not say is filled in here, so the resolved configuration in the run folder is complete.
 */
import { z } from 'zod'

const count = z.int().min(1)
const probability = z.number().min(0).max(1)
const positive = z.number().positive()

/** A number, or a number that follows the steps of its stage. */
export const schedule = z.union([
  z.number().min(0),
  z.strictObject({
    kind: z.enum(['constant', 'linear', 'cosine']),
    /** Value at the first step after warm-up. */
    from: z.number().min(0),
    /** Value at the last step. */
    to: z.number().min(0).default(0),
    /** Share of the steps over which the value rises from 0. */
    warmup: probability.default(0),
  }),
])
export type ScheduleConfig = z.infer<typeof schedule>

/** Rows come from one source, and say what is to be learnt of them. */
const digitsOperations = z.enum(['read', 'add', 'subtract', 'larger', 'smaller', 'count', 'expression'])

const mixtureShare = {
  /** Share of the mixture, relative to the other sources. */
  weight: positive.default(1),
  /**
   * What supervised learning imitates: the worked `solution` in think and boxed form, the bare `boxed` answer, or the
   * `plain` answer text. Ignored by rl stages.
   */
  target: z.enum(['solution', 'boxed', 'plain']).default('solution'),
}

export const dataSource = z.discriminatedUnion('source', [
  z.strictObject({
    source: z.literal('digits'),
    /** The numbers as handwriting or in words. */
    form: z.enum(['image', 'text']),
    operations: z.array(digitsOperations).min(1).optional(),
    ...mixtureShare,
  }),
  z.strictObject({
    source: z.literal('gsm8k'),
    /** A JSONL file of GSM8K. */
    path: z.string().min(1),
    ...mixtureShare,
  }),
  z.strictObject({
    source: z.enum(['jsonl', 'parquet']),
    /** A file of rows. */
    path: z.string().min(1),
    ...mixtureShare,
  }),
])
export type DataSourceConfig = z.infer<typeof dataSource>

const trainable = z.array(z.enum(['text', 'vision'])).min(1).default(['text', 'vision'])

const optimisation = {
  learningRate: schedule,
  weightDecay: z.number().min(0).default(0),
  /** Gradients are scaled to this global norm when longer; null switches clipping off. */
  maxGradNorm: positive.nullable().default(1),
  /** Parameter groups that learn; the others stay as they are. */
  trainable,
  /** Most tokens of one forward and backward pass. The gradient does not depend on it. */
  tokensPerMicroBatch: count.default(16_384),
}

const stageName = z.string().regex(/^[a-z0-9][a-z0-9-]*$/, 'must be lower-case letters, digits and dashes')

const sftStage = z.strictObject({
  name: stageName,
  kind: z.literal('sft'),
  data: z.array(dataSource).min(1),
  steps: count,
  /** Sequences per optimizer step. */
  batchSize: count,
  ...optimisation,
})

const reward = z.strictObject({
  /** A built-in name, `./file.js#name`, or a package. */
  use: z.string().min(1),
  weight: z.number().default(1),
  options: z.record(z.string(), z.json()).optional(),
})

const rlStage = z.strictObject({
  name: stageName,
  kind: z.literal('rl'),
  data: z.array(dataSource).min(1),
  steps: count,
  promptsPerStep: count,
  /** Completions per prompt: the group whose rewards are compared. */
  groupSize: z.int().min(2).default(8),
  /** Optimizer steps one rollout batch is cut into. */
  updatesPerStep: count.default(1),
  sampling: z.strictObject({
    maxTokens: count,
    temperature: positive.default(1),
    topP: positive.max(1).default(1),
    topK: z.int().min(0).default(0),
  }),
  rewards: z.array(reward).min(1),
  /** Wall clock of one reward call in seconds. */
  rewardTimeout: positive.default(60),
  pad: z
    .strictObject({
      variant: z.enum(['paper', 'released']).default('paper'),
      low: z.number().min(0).default(0.03),
      high: positive.nullable().default(null),
      /** ρ: share of the batch that is kept. */
      ratio: positive.default(1),
      temperature: z.strictObject({ from: positive.default(1), to: positive.default(0.3) }).prefault({}),
    })
    .nullable()
    .default(null),
  clip: z
    .strictObject({ low: positive.default(0.2), high: positive.default(0.25), dual: positive.nullable().default(3) })
    .prefault({}),
  aggregation: z.enum(['token-mean', 'sequence-mean']).default('token-mean'),
  kl: z
    .strictObject({ estimator: z.enum(['k1', 'k2', 'k3']).default('k3'), coefficient: positive })
    .nullable()
    .default(null),
  entropy: z
    .strictObject({
      coefficient: positive,
      /** Updates before the bonus begins. */
      warmup: z.int().min(0).default(0),
      /** Factor per update from then on. */
      decay: positive.max(1).default(1),
    })
    .nullable()
    .default(null),
  ...optimisation,
})

export const stage = z.discriminatedUnion('kind', [sftStage, rlStage])
export type StageConfig = z.infer<typeof stage>
export type SftStageConfig = z.infer<typeof sftStage>
export type RlStageConfig = z.infer<typeof rlStage>

export const runConfig = z.strictObject({
  /** Run folder, relative to the working directory. All other paths are relative to the configuration file. */
  out: z.string().min(1),
  seed: z.int().min(0).max(0xffffffff).default(0),
  model: z.union([
    z.strictObject({
      /** A model folder in Hugging Face layout. */
      path: z.string().min(1),
    }),
    z.strictObject({
      /** Fresh weights of a built-in architecture. */
      preset: z.enum(['nano']),
    }),
  ]),
  evaluation: z
    .strictObject({
      tasks: z.array(z.string().min(1)).default([]),
      /** Held-out problems per task. */
      samples: count.default(200),
      seed: z.int().min(0).default(0),
      maxTokens: count.default(64),
      temperature: z.number().min(0).default(1),
      topP: positive.max(1).default(1),
    })
    .prefault({}),
  checkpoints: z
    .strictObject({
      /** Steps between checkpoints; one is also written at the end of every stage. */
      every: count.default(50),
      keep: count.default(2),
    })
    .prefault({}),
  stages: z
    .array(stage)
    .min(1)
    .refine((stages) => new Set(stages.map(({ name }) => name)).size === stages.length, 'stage names must differ'),
})
export type RunConfig = z.infer<typeof runConfig>
