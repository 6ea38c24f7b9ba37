/**
 * What can be asked of the generation engine, and the check of it. The order of operations on the logits of a token is
 * that of transformers (`generation/logits_process.py`):
 *
 *   mask → logit bias → repetition penalty → frequency and presence penalty → temperature → top-k → top-p → min-p → draw
 *
 * The mask removes tokens that must never be sampled, whatever the bias. Repetition looks at prompt and output, as in
 * transformers; presence and frequency look at the output alone, as OpenAI defines them.
 */
import type { ModelPrompt } from '../prompt.js'

export interface SamplingOptions {
  /** 0 means greedy. */
  readonly temperature: number
  /** Keep the k likeliest tokens; 0 or absent: off. */
  readonly topK?: number
  /** Keep the likeliest tokens that hold this mass; 1 or absent: off. */
  readonly topP?: number
  /** Drop tokens less likely than this share of the likeliest; 0 or absent: off. */
  readonly minP?: number
  /** Logits s of tokens in prompt or output become s / r, or s·r when negative. 1 or absent: off. */
  readonly repetitionPenalty?: number
  /** Taken from the logits of tokens in the output. */
  readonly presencePenalty?: number
  /** Taken from the logits once for each time the token is in the output. */
  readonly frequencyPenalty?: number
  /** Added to the logits, by token id. */
  readonly logitBias?: ReadonlyMap<number, number>
}

export interface GenerationLimits {
  /** Most tokens of a sample. */
  readonly maxTokens: number
  /** Ids that end a sample; default: the engine's. */
  readonly stopIds?: readonly number[]
  /** Strings that end a sample, wherever tokens begin and end; they are left out of the text. Need a tokenizer. */
  readonly stopStrings?: readonly string[]
  /** Alternatives to tell of every token with their model log-probs. Absent: none, and no model log-prob. */
  readonly topLogProbs?: number
  readonly signal?: AbortSignal
}

/** One prompt to be completed `n` times. */
export interface GenerationRequest {
  readonly prompt: ModelPrompt
  /** Samples wanted; they share one prefill. */
  readonly n: number
  /** Sample k depends on (prompt, options, seed, k) and nothing else. */
  readonly seed: number
}

export interface EngineRequest extends GenerationRequest, SamplingOptions, GenerationLimits {}

export type FinishReason = 'stop' | 'length' | 'aborted'

interface Field {
  readonly name: keyof EngineRequest
  readonly least: number
  readonly most: number
  readonly whole?: boolean
}

const fields: readonly Field[] = [
  { name: 'n', least: 1, most: 65_536, whole: true },
  { name: 'seed', least: 0, most: Number.MAX_SAFE_INTEGER, whole: true },
  { name: 'maxTokens', least: 1, most: 2 ** 24, whole: true },
  { name: 'temperature', least: 0, most: 1e6 },
  { name: 'topK', least: 0, most: 2 ** 31, whole: true },
  { name: 'topP', least: 1e-6, most: 1 },
  { name: 'minP', least: 0, most: 1 },
  { name: 'repetitionPenalty', least: 1e-3, most: 1e3 },
  { name: 'presencePenalty', least: -1e3, most: 1e3 },
  { name: 'frequencyPenalty', least: -1e3, most: 1e3 },
  { name: 'topLogProbs', least: 0, most: 64, whole: true },
]

const stopStringLimits = { count: 16, length: 256 }

/** What of a model requests are checked against. */
export interface RequestBounds {
  readonly vocabularySize: number
  /** Tokens the vision tower fills in. */
  readonly visualTokenIds: readonly number[]
}

/** @throws {RangeError} naming the field, the value seen and what is allowed. */
export function checkRequest(request: EngineRequest, { vocabularySize, visualTokenIds }: RequestBounds): void {
  for (const { name, least, most, whole = false } of fields) {
    const value = request[name]
    if (value === undefined) continue
    if (typeof value === 'number' && value >= least && value <= most && (!whole || Number.isInteger(value))) continue
    const kind = whole ? 'an integer' : 'a number'
    throw new RangeError(
      `Generation: ${name} is ${typeof value === 'number' ? value : typeof value}; allowed: ${kind} from ${least} to ${most}.`,
    )
  }
  for (const [id, bias] of request.logitBias ?? []) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabularySize) {
      throw new RangeError(`Generation: logitBias names token ${id}; allowed: ids from 0 to ${vocabularySize - 1}.`)
    }
    if (!(Math.abs(bias) <= 1e6)) {
      throw new RangeError(`Generation: logitBias of token ${id} is ${bias}; allowed: numbers from -1e6 to 1e6.`)
    }
  }
  checkStopStrings(request.stopStrings ?? [])
  checkPrompt(request.prompt, vocabularySize, visualTokenIds)
}

function checkStopStrings(stopStrings: readonly string[]): void {
  const { count, length } = stopStringLimits
  if (stopStrings.length > count) {
    throw new RangeError(`Generation: ${stopStrings.length} stop strings were given; allowed: at most ${count}.`)
  }
  for (const stop of stopStrings) {
    if (stop.length === 0 || stop.length > length) {
      throw new RangeError(
        `Generation: a stop string has ${stop.length} characters; allowed: 1 to ${length}, at most ${count} of them.`,
      )
    }
  }
}

function checkPrompt({ ids }: ModelPrompt, vocabularySize: number, visualTokenIds: readonly number[]): void {
  if (ids.length === 0) throw new RangeError('Generation: the prompt is empty; give at least one token.')
  const outside = ids.find((id) => !(id >= 0 && id < vocabularySize))
  if (outside !== undefined) {
    throw new RangeError(`Generation: prompt id ${outside} is outside the vocabulary of ${vocabularySize}.`)
  }
  // The last token is fed by the decode loop, which embeds text only.
  if (visualTokenIds.includes(ids.at(-1) as number)) {
    throw new RangeError('Generation: the prompt ends in an image; put a token of text after it.')
  }
}
