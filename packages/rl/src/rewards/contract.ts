/**
 * The contract of a reward, as a test that any reward can be put to: what the trainer relies on and the types cannot say.
 * A reward runs here twice, in a thread that can be killed (as in training) and, once it is known to return, in this
 * thread, where a batch that it changed shows.
 */
import { isDeepStrictEqual } from 'node:util'
import type { FinishReason, JsonValue, RewardBatch } from '../types.js'
import { messageOf, RewardError } from './errors.js'
import { loadReward, type RewardLookup, type RewardSpec } from './load.js'
import { callHere, DEFAULT_TIMEOUT } from './scorer.js'
import { checkValues, type FunctionScores } from './scores.js'
import { RewardWorker } from './worker.js'

/** One completion to be scored, and what it should get. */
export interface RewardCase {
  readonly prompt?: string
  readonly completion: string
  /** Dataset columns. */
  readonly row?: { readonly [column: string]: JsonValue }
  /** Default `stop`. */
  readonly finishReason?: FinishReason
  /** Tokens of the completion. Default: a quarter of its characters, at least 1. */
  readonly completionLength?: number
  /** Score this completion must get; null: the reward must not apply. Absent: not compared. */
  readonly expected?: number | null
  /** Largest difference from `expected`. Default 1e-6. */
  readonly tolerance?: number
}

/** How one point of the contract ended. */
export interface RewardCheck {
  readonly check: 'load' | 'values' | 'time' | 'repeat' | 'split' | 'odd texts' | 'no changes' | 'expected' | 'options'
  readonly outcome: 'passed' | 'failed' | 'skipped'
  readonly detail: string
}

export interface ContractOptions {
  /** Wall clock of one call in milliseconds. Default 60 000, as in training. */
  readonly timeout?: number
  /** Most milliseconds that a completion may take on average. Default 1000. */
  readonly timePerCompletion?: number
}

/** A point of the contract that was broken, in words. */
class Breach extends Error {}

type Scores = Pick<FunctionScores, 'scores' | 'parts'>

const MOST_ALONE = 32
const DEFAULT_TOLERANCE = 1e-6

/** Texts that policies do write, and that careless parsers throw on or never return from. */
const ODD_TEXTS: readonly string[] = [
  '',
  ' \n\t',
  '\u0000\ud800\udfff',
  '<think>'.repeat(500),
  '</think>'.repeat(500),
  '\\boxed{'.repeat(500),
  '9'.repeat(20_000),
  `${' '.repeat(20_000)}x`,
  `${'a '.repeat(10_000)}!`,
  '((((1+'.repeat(2_000),
]

function batchOf(cases: readonly RewardCase[]): RewardBatch {
  return {
    prompts: cases.map(({ prompt = '' }) => prompt),
    completions: cases.map(({ completion }) => completion),
    completionLengths: cases.map(
      ({ completion, completionLength }) => completionLength ?? Math.max(1, Math.ceil(completion.length / 4)),
    ),
    finishReasons: cases.map(({ finishReason = 'stop' }) => finishReason),
    rows: cases.map(({ row = {} }) => row),
    step: 1,
  }
}

async function check(name: RewardCheck['check'], run: () => Promise<string>): Promise<RewardCheck> {
  try {
    return { check: name, outcome: 'passed', detail: await run() }
  } catch (thrown) {
    if (!(thrown instanceof Breach || thrown instanceof RewardError)) throw thrown
    return { check: name, outcome: 'failed', detail: messageOf(thrown) }
  }
}

/** What was said of completion `index`, for comparison and for messages. */
function valueAt({ scores, parts }: Scores, index: number): { readonly [component: string]: number | null } {
  const entries = Object.entries(parts).map(([part, values]) => [part, values[index] ?? null] as const)
  return { score: scores[index] ?? null, ...Object.fromEntries(entries.filter(([, value]) => value !== null)) }
}

/** @throws Breach naming the first completion on which the two differ. */
function expectSame(first: Scores, firstIndex: number, other: Scores, otherIndex: number, when: string): void {
  const [a, b] = [valueAt(first, firstIndex), valueAt(other, otherIndex)]
  if (isDeepStrictEqual(a, b)) return
  throw new Breach(`completion ${firstIndex} got ${JSON.stringify(a)}, and ${JSON.stringify(b)} ${when}`)
}

/** The points that need a reward which returns. */
class Examination {
  readonly batch: RewardBatch

  constructor(
    readonly worker: RewardWorker,
    readonly cases: readonly RewardCase[],
    readonly limits: Required<ContractOptions>,
  ) {
    this.batch = batchOf(cases)
  }

  async score(cases: readonly RewardCase[]): Promise<Scores> {
    const { functions } = await this.worker.score(batchOf(cases))
    return functions[0] as FunctionScores
  }

  async time(): Promise<string> {
    const start = performance.now()
    await this.score(this.cases)
    const each = (performance.now() - start) / this.cases.length
    const { timePerCompletion } = this.limits
    const text = `${each.toPrecision(2)} ms per completion; allowed: ${timePerCompletion} ms`
    if (each > timePerCompletion) throw new Breach(text)
    return text
  }

  async repeat(first: Scores): Promise<string> {
    const again = await this.score(this.cases)
    this.cases.forEach((_, index) => expectSame(first, index, again, index, 'when the same batch was scored again'))
    return 'the same batch gets the same values again'
  }

  async split(first: Scores): Promise<string> {
    const count = this.cases.length
    const reversed = await this.score([...this.cases].reverse())
    this.cases.forEach((_, index) =>
      expectSame(first, index, reversed, count - 1 - index, 'with the batch in reverse order'),
    )
    for (const [index, one] of this.cases.slice(0, MOST_ALONE).entries()) {
      expectSame(first, index, await this.score([one]), 0, 'in a batch of its own')
    }
    return 'values depend neither on the rest of the batch nor on its order'
  }

  async oddTexts(): Promise<string> {
    const { prompt, row } = this.cases[0] as RewardCase
    const shared = { ...(prompt === undefined ? {} : { prompt }), ...(row === undefined ? {} : { row }) }
    await this.score(ODD_TEXTS.map((completion) => ({ ...shared, completion })))
    return `${ODD_TEXTS.length} empty, broken and long completions get values`
  }

  /** In this thread, since what another thread does to its copy of the batch cannot be seen. */
  async noChanges(first: Scores, spec: RewardSpec, lookup: RewardLookup): Promise<string> {
    const { name, reward } = await loadReward(spec, lookup)
    const batch = structuredClone(this.batch)
    const values = checkValues(name, await callHere(name, reward, batch, this.limits.timeout), this.cases.length)
    const changed = (Object.keys(batch) as (keyof RewardBatch)[]).filter(
      (field) => !isDeepStrictEqual(batch[field], this.batch[field]),
    )
    if (changed.length > 0) throw new Breach(`it changed ${changed.join(', ')} of the batch; work on a copy`)
    this.cases.forEach((_, index) => expectSame(first, index, values, index, 'from another instance'))
    return 'the batch is left as it was, and another instance says the same'
  }

  expected(first: Scores): string {
    let compared = 0
    for (const [index, { expected, tolerance = DEFAULT_TOLERANCE }] of this.cases.entries()) {
      if (expected === undefined) continue
      const score = first.scores[index] ?? null
      const agrees = score === null || expected === null ? score === expected : Math.abs(score - expected) <= tolerance
      if (!agrees) throw new Breach(`completion ${index} got ${score}; expected: ${expected} ± ${tolerance}`)
      compared++
    }
    return `${compared} of ${this.cases.length} cases say what they should get`
  }
}

/** Options that no reward can mean: its own with one more, and what is no record of options. */
function wrongOptions(own: unknown): readonly { readonly options: unknown; readonly what: string }[] {
  const unknown = { ...(own as object | undefined), 'no-such-option': 1 }
  return [
    { options: unknown, what: "the unknown option 'no-such-option'; a mistyped name would go unnoticed" },
    { options: 5, what: 'the number 5 as its options' },
  ]
}

async function refusesWrongOptions(spec: RewardSpec, lookup: RewardLookup): Promise<string> {
  for (const { options, what } of wrongOptions(spec.options)) {
    try {
      await (await RewardWorker.create([{ ...spec, options }], lookup)).close()
    } catch (thrown) {
      if (thrown instanceof RewardError && thrown.kind === 'options') continue
      throw thrown
    }
    throw new Breach(`it accepts ${what}`)
  }
  return 'wrong options are refused'
}

/** All points but loading and options. Once a value is wrong the rest has nothing to compare. */
async function examine(
  worker: RewardWorker,
  spec: RewardSpec,
  lookup: RewardLookup,
  cases: readonly RewardCase[],
  limits: Required<ContractOptions>,
): Promise<RewardCheck[]> {
  const examination = new Examination(worker, cases, limits)
  let first: Scores | null = null
  const values = await check('values', async () => {
    first = await examination.score(cases)
    const none = first.scores.filter((score) => score === null).length
    return `${cases.length} finite values for ${cases.length} completions, ${none} null`
  })
  const names = ['time', 'repeat', 'split', 'no changes', 'expected'] as const
  if (first === null) {
    const skipped = names.map((name): RewardCheck => ({
      check: name,
      outcome: 'skipped',
      detail: 'there are no values',
    }))
    return [values, ...skipped]
  }
  const scores: Scores = first
  const run: { readonly [name in (typeof names)[number]]: () => Promise<string> } = {
    time: () => examination.time(),
    repeat: () => examination.repeat(scores),
    split: () => examination.split(scores),
    'no changes': () => examination.noChanges(scores, spec, lookup),
    expected: async () => examination.expected(scores),
  }
  const checks = [values]
  for (const name of names) checks.push(await check(name, run[name]))
  checks.push(await check('odd texts', () => examination.oddTexts()))
  return checks
}

/**
 * Puts a reward to the contract: it loads; every completion gets a finite number, null or `{ score, parts }`; in time; the
 * same again for the same batch, in any order and company; odd texts get values too; the batch is left alone; `expected`
 * scores are met; wrong options are refused.
 *
 * @param cases at least one
 * @returns one entry per point, none thrown for what the reward does
 */
export async function checkReward(
  spec: RewardSpec,
  lookup: RewardLookup,
  cases: readonly RewardCase[],
  { timeout = DEFAULT_TIMEOUT, timePerCompletion = 1000 }: ContractOptions = {},
): Promise<readonly RewardCheck[]> {
  if (cases.length === 0) throw new RangeError('There are no cases; give at least one completion to score.')
  let worker: RewardWorker | null = null
  const load = await check('load', async () => {
    worker = await RewardWorker.create([spec], lookup, { timeout })
    return `found, its name is '${worker.names[0]}'`
  })
  const opened = worker as RewardWorker | null
  if (opened === null) return [load]
  try {
    const checks = await examine(opened, spec, lookup, cases, { timeout, timePerCompletion })
    return [load, ...checks, await check('options', () => refusesWrongOptions(spec, lookup))]
  } finally {
    await opened.close()
  }
}
