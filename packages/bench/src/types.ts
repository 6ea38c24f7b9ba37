/**
 * The three things an evaluation is put together from, kept apart: a task (rows, prompt, scorer), a backend that turns prompts
 * into text, and the records that come out. Everything is plain data, so a run can be stored, scored again, or compared.
 */
import type { ImageRef, Row } from '@revisual/data'

export interface GenerationRequest {
  /** Unique within a run: row id and sample number. */
  readonly id: string
  /** System turn, where the task has one. */
  readonly system?: string
  /** The user turn's text; the images come before it. */
  readonly question: string
  readonly images: readonly ImageRef[]
  readonly maxTokens: number
  /** 0 means greedy. */
  readonly temperature: number
  /** Fixes the sampling of this request, whatever batch it is in. */
  readonly seed: number
}

/** What a backend made of a request; `error` when it could make nothing. */
export type Generation =
  | {
      readonly text: string
      /** Tokens generated, the stop token included. */
      readonly tokens: number
      /** `length`: the token limit cut the answer off. */
      readonly finishReason: 'stop' | 'length'
    }
  | { readonly error: string }

/** A model, wherever it runs. */
export interface Backend {
  /** Shown in reports: model and version. */
  readonly name: string
  /**
   * One generation per request, in the same order. A request that fails is an `error` generation and counts as wrong; throw
   * only when nothing can go on.
   */
  generate(
    requests: readonly GenerationRequest[],
    options: { readonly signal?: AbortSignal },
  ): Promise<readonly Generation[]>
}

/** What a scorer says of one answer. */
export interface Score {
  readonly correct: boolean
  /** Whether the answer keeps to the form the task asks for. */
  readonly formatted: boolean
  /** The answer found in the text, if any. */
  readonly extracted: string | null
  /** Which rule of the scorer decided. */
  readonly rule: string
}

export type Scorer = (row: Row, text: string) => Score | Promise<Score>

/** Data and a scorer, nothing else. */
export interface Task {
  readonly name: string
  readonly description: string
  /** The rows, the same ones each time. */
  load(): Promise<readonly Row[]>
  /** What the model is asked. */
  prompt(row: Row): { readonly system?: string; readonly question: string }
  readonly score: Scorer
  /** Token limit of an answer, unless the run sets another. */
  readonly maxTokens: number
  /** Tags of the rows that get a table of their own. */
  readonly categories: readonly string[]
}

/**
 * `ok`: an answer was scored. `truncated`: it was cut off by the token limit, and scored as far as it went. `error`: the backend
 * or the scorer failed. All three stay in every denominator.
 */
export type SampleState = 'ok' | 'truncated' | 'error'

/** One answer to one problem, with all that is needed to check or repeat it. One line of a samples file. */
export interface SampleRecord {
  readonly task: string
  readonly backend: string
  readonly id: string
  /** 0 ≤ sample < samples per problem. */
  readonly sample: number
  readonly question: string
  /** Images the question came with; their bytes are not repeated here. */
  readonly images: number
  readonly answer: string
  readonly tags: Row['tags']
  readonly temperature: number
  readonly seed: number
  readonly maxTokens: number
  readonly text: string
  readonly tokens: number
  readonly state: SampleState
  /** Set when `state` is `error`. */
  readonly error?: string
  readonly correct: boolean
  readonly formatted: boolean
  readonly extracted: string | null
  readonly rule: string
}
