/**
 * Runs a task on a backend: load, ask, score, sum up. The samples are the result; every figure is computed from them by
 * {@link summarizeSamples}, so a stored run gives the same figures again.
 */
import type { Row } from '@revisual/data'
import { requestSeed } from './seeds.js'
import { accuracyInterval, mean, passAtK, type Interval } from './statistics.js'
import type { Backend, Generation, GenerationRequest, SampleRecord, Task } from './types.js'

export interface EvaluateOptions {
  /** 0 means greedy. Recorded with every sample. */
  readonly temperature: number
  readonly seed: number
  /** First rows of the task only. Default all. */
  readonly limit?: number
  /** Answers drawn per problem: accuracy is then their mean (avg@n). Default 1. */
  readonly samplesPerProblem?: number
  /** Default the task's. */
  readonly maxTokens?: number
  /** Requests handed to the backend at once. Default 64. */
  readonly batchSize?: number
  readonly signal?: AbortSignal
  /** Called after each batch. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number; readonly correct: number }) => void
}

/** Figures of a set of samples. */
export interface Summary {
  /** Problems. */
  readonly n: number
  /** Mean over all samples; errors and truncated answers are in the denominator. */
  readonly accuracy: number
  /** 95 % interval of the accuracy; see `accuracyInterval`. */
  readonly ci95: Interval
  /** Share of the samples in the form asked for. */
  readonly formatRate: number
  /** Mean tokens of the samples that were generated. */
  readonly meanTokens: number
  readonly truncated: number
  readonly errors: number
}

export interface Evaluation extends Summary {
  readonly task: string
  readonly backend: string
  readonly sampling: {
    readonly temperature: number
    readonly seed: number
    readonly maxTokens: number
    readonly samplesPerProblem: number
  }
  /** Unbiased pass@k for k = 1, 2, 4, … up to the samples per problem. */
  readonly passAtK: { readonly [k: number]: number }
  /** Figures by tag and by the tag's value. */
  readonly byCategory: { readonly [tag: string]: { readonly [value: string]: Summary } }
  readonly samples: readonly SampleRecord[]
}

/**
 * Evaluates a backend on a task.
 * @throws {RangeError} for options out of range, a task without rows, row ids that are not unique, or a backend that returns another
 *   number of generations than it was given requests. What the backend throws is passed on.
 */
export async function evaluate(task: Task, backend: Backend, options: EvaluateOptions): Promise<Evaluation> {
  const {
    temperature,
    seed,
    samplesPerProblem = 1,
    maxTokens = task.maxTokens,
    batchSize = 64,
    limit = Infinity,
    signal,
  } = options
  if (!(temperature >= 0)) throw new RangeError(`evaluate: temperature is ${temperature}; allowed: 0 (greedy) or more.`)
  for (const [name, value] of Object.entries({ samplesPerProblem, maxTokens, batchSize, limit })) {
    if (!(value >= 1) || (value !== Infinity && !Number.isInteger(value))) {
      throw new RangeError(`evaluate: ${name} is ${value}; allowed: integers of at least 1.`)
    }
  }
  const rows = (await task.load()).slice(0, limit)
  if (rows.length === 0) throw new RangeError(`Task '${task.name}' has no rows.`)
  if (new Set(rows.map(({ id }) => id)).size < rows.length)
    throw new RangeError(`Task '${task.name}': row ids are not unique.`)

  const pending = rows.flatMap((row) =>
    Array.from({ length: samplesPerProblem }, (_, sample) => {
      const request: GenerationRequest = {
        id: `${row.id}#${sample}`,
        ...task.prompt(row),
        images: row.images,
        maxTokens,
        temperature,
        seed: requestSeed(seed, row.id, sample),
      }
      return { row, sample, request }
    }),
  )
  const samples: SampleRecord[] = []
  for (let start = 0; start < pending.length; start += batchSize) {
    signal?.throwIfAborted()
    const batch = pending.slice(start, start + batchSize)
    const requests = batch.map(({ request }) => request)
    const generations = await backend.generate(requests, signal ? { signal } : {})
    if (generations.length !== requests.length) {
      throw new RangeError(
        `Backend '${backend.name}' returned ${generations.length} generations for ${requests.length} requests; it must return one per request, failures as { error }.`,
      )
    }
    samples.push(
      ...(await Promise.all(
        batch.map(async ({ row, sample, request }, index) => ({
          task: task.name,
          backend: backend.name,
          id: row.id,
          sample,
          question: request.question,
          images: row.images.length,
          answer: row.answer,
          tags: row.tags,
          temperature,
          seed: request.seed,
          maxTokens,
          ...(await scoreGeneration(task, row, generations[index] as Generation)),
        })),
      )),
    )
    options.onProgress?.({
      done: samples.length,
      total: pending.length,
      correct: samples.filter(({ correct }) => correct).length,
    })
  }
  return {
    task: task.name,
    backend: backend.name,
    sampling: { temperature, seed, maxTokens, samplesPerProblem },
    ...summarizeSamples(samples),
    passAtK: estimatePassAtK(samples, samplesPerProblem),
    byCategory: Object.fromEntries(task.categories.map((tag) => [tag, summarizeByTag(samples, tag)])),
    samples,
  }
}

type Outcome = Pick<
  SampleRecord,
  'text' | 'tokens' | 'state' | 'error' | 'correct' | 'formatted' | 'extracted' | 'rule'
>

async function scoreGeneration(task: Task, row: Row, generation: Generation): Promise<Outcome> {
  if ('error' in generation) return failure('', 0, generation.error)
  const { text, tokens, finishReason } = generation
  try {
    return { text, tokens, state: finishReason === 'length' ? 'truncated' : 'ok', ...(await task.score(row, text)) }
  } catch (cause) {
    return failure(text, tokens, `The scorer failed: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
}

function failure(text: string, tokens: number, error: string): Outcome {
  return { text, tokens, state: 'error', error, correct: false, formatted: false, extracted: null, rule: 'error' }
}

/** Samples by problem, in the order of first appearance. */
function byProblem(samples: readonly SampleRecord[]): SampleRecord[][] {
  const problems = new Map<string, SampleRecord[]>()
  for (const sample of samples) {
    const same = problems.get(sample.id)
    if (same) same.push(sample)
    else problems.set(sample.id, [sample])
  }
  return [...problems.values()]
}

/**
 * Accuracy and the rest, from samples of one task.
 * @throws {RangeError} when there are none.
 */
export function summarizeSamples(samples: readonly SampleRecord[]): Summary {
  if (samples.length === 0) throw new RangeError('There are no samples to sum up.')
  const problems = byProblem(samples)
  const generated = samples.filter(({ tokens }) => tokens > 0)
  return {
    n: problems.length,
    accuracy: mean(samples.map(({ correct }) => Number(correct))),
    ci95: accuracyInterval(problems.map((problem) => problem.map(({ correct }) => Number(correct)))),
    formatRate: mean(samples.map(({ formatted }) => Number(formatted))),
    meanTokens: generated.length === 0 ? 0 : mean(generated.map(({ tokens }) => tokens)),
    truncated: samples.filter(({ state }) => state === 'truncated').length,
    errors: samples.filter(({ state }) => state === 'error').length,
  }
}

/** Figures by the value of a tag, sorted by value; samples without the tag are under `(none)`. */
export function summarizeByTag(samples: readonly SampleRecord[], tag: string): { readonly [value: string]: Summary } {
  const valueOf = (sample: SampleRecord) => String(sample.tags[tag] ?? '(none)')
  const values = [...new Set(samples.map(valueOf))].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  return Object.fromEntries(
    values.map((value) => [value, summarizeSamples(samples.filter((sample) => valueOf(sample) === value))]),
  )
}

function estimatePassAtK(
  samples: readonly SampleRecord[],
  samplesPerProblem: number,
): { readonly [k: number]: number } {
  const problems = byProblem(samples)
  const estimates: { [k: number]: number } = {}
  for (let k = 1; k <= samplesPerProblem; k *= 2) {
    estimates[k] = mean(
      problems.map((problem) => passAtK(problem.length, problem.filter(({ correct }) => correct).length, k)),
    )
  }
  return estimates
}
