/**
 * The configuration of a run, as Zod schemas: one record per stage, every number with its unit and its default. What the
 * file does not say is filled in here, so the resolved configuration in the run folder is complete.
 */
import { taskNames } from '@revisual/bench'
import { digitKinds, digitLevels } from '@revisual/data'
import { z } from 'zod'
import { algorithmShape, curriculum } from './rl-schema.js'

const count = z.int().min(1)
const probability = z.number().min(0).max(1)
const positive = z.number().positive()

/** A number, or a number that follows the steps of its stage. */
const schedule = z.union([
  z.number().min(0),
  z
    .strictObject({
      kind: z.enum(['constant', 'linear', 'cosine']),
      /** Value right after warm-up. */
      from: z.number().min(0),
      /** Value at the last step. */
      to: z.number().min(0).default(0),
      /** Steps over which the value rises to `from`, or the same as a share of all steps. */
      warmupSteps: z.int().min(0).optional(),
      warmupRatio: probability.optional(),
    })
    .refine(
      ({ warmupSteps, warmupRatio }) => warmupSteps === undefined || warmupRatio === undefined,
      'give warmupSteps or warmupRatio, not both',
    ),
])

/** Share of the mixture, relative to the other sources. */
const weight = positive.default(1)

const dataSource = z.discriminatedUnion('source', [
  z.strictObject({
    source: z.literal('digits'),
    /** The digits as handwriting, or named in words. */
    modality: z.enum(['image', 'text']),
    /** `reasoning`: worked solutions. `short`: bare boxed answers. `read`: name the digits. */
    style: z.enum(['reasoning', 'short', 'read']).default('reasoning'),
    kinds: z.array(z.enum(digitKinds)).min(1).optional(),
    levels: z
      .array(z.literal([...digitLevels]))
      .min(1)
      .optional(),
    /** Whether a worked solution begins by naming the digits. */
    nameDigits: z.boolean().default(true),
    weight,
  }),
  z.strictObject({
    /** A file of grade-school word problems, in the official form. */
    source: z.literal('gsm8k'),
    path: z.string().min(1),
    target: z.enum(['solution', 'boxed']).default('solution'),
    weight,
  }),
  z.strictObject({
    /** A file of rows, `.jsonl` or `.parquet`. */
    source: z.literal('file'),
    path: z.string().min(1),
    /** What supervised learning imitates: the worked solution, or the bare boxed answer. */
    target: z.enum(['solution', 'boxed']).default('solution'),
    weight,
  }),
])
export type DataSourceConfig = z.infer<typeof dataSource>

const trainable = z
  .array(z.enum(['text', 'vision']))
  .min(1)
  .default(['text', 'vision'])

const watched = {
  /** A metric of training, or `eval/<task>/accuracy`, `…/format_rate`, `…/mean_tokens`. */
  metric: z.string().min(1),
  /** The rule looks at the mean of the last this many values. */
  window: count.optional(),
}
/** Ends a stage before its steps are done. */
const stop = z.union([
  z.strictObject({ kind: z.literal('threshold'), ...watched, above: z.number() }),
  z.strictObject({ kind: z.literal('threshold'), ...watched, below: z.number() }),
  z.strictObject({
    kind: z.literal('patience'),
    ...watched,
    mode: z.enum(['max', 'min']),
    /** Values in a row without a new best. */
    patience: count,
    /** A new best is better by more than this. */
    minDelta: z.number().min(0).optional(),
  }),
])

const optimisation = {
  learningRate: schedule,
  weightDecay: z.number().min(0).default(0),
  /** Gradients are scaled to this global norm when longer; null switches clipping off. */
  maxGradNorm: positive.nullable().default(1),
  /** Parameter groups that learn; the others stay as they are. */
  trainable,
  /** Most tokens of one forward and backward pass. The gradient does not depend on it. */
  tokensPerMicroBatch: count.default(16_384),
  /** Clears the optimizer's moments at the start of the stage. */
  resetOptimizer: z.boolean().default(true),
  stop: stop.nullable().default(null),
  curriculum: curriculum.nullable().default(null),
}

/** What the model before any training is called in summaries; no stage may be called so. */
export const baseName = 'base'

const stageName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]*$/, 'must be lower-case letters, digits and dashes')
  .refine((name) => name !== baseName, 'is what the untrained model is called in summaries; choose another name')

const sftStage = z.strictObject({
  name: stageName,
  kind: z.literal('sft'),
  data: z.array(dataSource).min(1),
  steps: count,
  /** Sequences per optimizer step. */
  batchSize: count,
  aggregation: z.enum(['token-mean', 'sequence-mean']).default('token-mean'),
  ...optimisation,
})

const reward = z.strictObject({
  /** A built-in name, `./file.js#name`, or a package. */
  use: z.string().min(1),
  /** Name in metrics. Default: the reward's own. */
  name: z.string().min(1).optional(),
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
  sampling: z.strictObject({
    maxTokens: count,
    temperature: positive.default(1),
    topP: positive.max(1).default(1),
    topK: z.int().min(0).default(0),
  }),
  rewards: z.array(reward).min(1),
  /** Wall clock of one reward call in seconds. */
  rewardTimeout: positive.default(60),
  /** What a reward that throws, hangs or returns nonsense costs: the run (`raise`), or this score, counted. */
  onRewardError: z.union([z.literal('raise'), z.strictObject({ score: z.number() })]).default('raise'),
  ...algorithmShape,
  ...optimisation,
})

const moduleNames = z.union([z.array(z.string().min(1)).min(1), z.strictObject({ pattern: z.string().min(1) })])

const lora = z.strictObject({
  rank: count.default(16),
  /** Default 2 · rank. */
  alpha: positive.optional(),
  dropout: z.number().min(0).lt(1).default(0),
  /** Scale alpha / √rank instead of alpha / rank. */
  rslora: z.boolean().default(false),
  /** Layers by name, by pattern over their paths, or all linear ones. Default: the projections of the text decoder. */
  targets: z.union([z.literal('all-linear'), moduleNames]).optional(),
  exclude: moduleNames.optional(),
})

const stage = z.discriminatedUnion('kind', [sftStage, rlStage])
export type StageConfig = z.infer<typeof stage>
export type SftStageConfig = z.infer<typeof sftStage>
export type RlStageConfig = z.infer<typeof rlStage>

export const runConfig = z.strictObject({
  /** Run folder, relative to the working directory. All other paths are relative to the configuration file. */
  out: z.string().min(1),
  seed: z.int().min(0).max(0xffffffff).default(0),
  device: z
    .strictObject({
      /** Most bytes of GPU memory the run may take; null: what there is. Beyond it micro-batches are made smaller. */
      memoryLimit: count.nullable().default(null),
      /** Computes decoder layers again on the way back instead of keeping their activations. */
      checkpointLayers: z.boolean().default(false),
      /** Bits of AdamW's two moments; 8 take a quarter of the memory. */
      momentBits: z.literal([32, 8]).default(32),
    })
    .prefault({}),
  model: z.union([
    z
      .strictObject({
        /** A model folder in Hugging Face layout, a model of the hub (`org/name`, `org/name@revision`), or an adapter of either. */
        path: z.string().min(1),
        /** Storage of the frozen weights an adapter lies on. Weights that learn themselves are f32. */
        dtype: z.enum(['f32', 'bf16', 'f16', 'int8', 'int4']).default('f32'),
        /** Train a LoRA adapter over the frozen weights instead of the weights; null: all weights learn. */
        lora: lora.nullable().default(null),
      })
      .refine(({ dtype, lora }) => dtype === 'f32' || lora !== null, {
        path: ['dtype'],
        message: 'weights that learn are f32; give lora too, so that they are frozen',
      }),
    z.strictObject({
      /** Fresh weights of a built-in architecture. */
      preset: z.enum(['nano']),
    }),
  ]),
  prompt: z
    .strictObject({
      /** System turn of every prompt, in training and evaluation, unless a task has its own. */
      system: z.string().min(1).nullable().default(null),
      /** Put after every question, in training and evaluation. */
      suffix: z.string().default(''),
    })
    .prefault({}),
  evaluation: z
    .strictObject({
      tasks: z.array(z.enum(taskNames as [string, ...string[]])).default([]),
      /** Held-out problems per task. */
      samples: count.default(200),
      seed: z.int().min(0).default(0),
      maxTokens: count.default(64),
      temperature: z.number().min(0).default(1),
      topP: positive.max(1).default(1),
      /** Steps of a stage between evaluations; null: before the first stage and after every stage only. */
      every: count.nullable().default(null),
      /** Of the digits tasks: kinds and levels of problems. Default all. */
      kinds: z.array(z.enum(digitKinds)).min(1).optional(),
      levels: z
        .array(z.literal([...digitLevels]))
        .min(1)
        .optional(),
    })
    .prefault({}),
  checkpoints: z
    .strictObject({
      /** Steps between checkpoints; one is also written at the end of every stage. */
      every: count.default(50),
      keep: count.default(2),
    })
    .prefault({}),
  /** Which checkpoint is kept as the best, by a metric of the evaluations; `restore` makes it the final model. */
  best: z
    .strictObject({
      metric: z.string().min(1),
      mode: z.enum(['max', 'min']).default('max'),
      minDelta: z.number().min(0).default(0),
      restore: z.boolean().default(false),
    })
    .nullable()
    .default(null),
  logging: z
    .strictObject({
      /** A bar, a table with a line per step, or nothing. */
      console: z.enum(['bar', 'table', 'none']).default('bar'),
      /** `metrics.csv`, `tensorboard/`, `completions/<step>.parquet` in the run folder, beside `metrics.jsonl`. */
      csv: z.boolean().default(false),
      tensorboard: z.boolean().default(false),
      completions: z.boolean().default(false),
      /** Prompts per rl step whose completions are written to `samples/training.jsonl`. */
      samplesPerStep: z.int().min(0).default(1),
    })
    .prefault({}),
  /** Optimizer steps in a row that may be lost to values that are not finite; the last of them ends the run. */
  maxSkippedSteps: count.default(3),
  stages: z
    .array(stage)
    .min(1)
    .refine((stages) => new Set(stages.map(({ name }) => name)).size === stages.length, 'stage names must differ'),
})
export type RunConfig = z.infer<typeof runConfig>
