/**
 * `accuracy`: 1 if the final answer of a completion is equivalent to the row's, else 0 (ReVisual-R1, arXiv 2506.04207,
 * "accuracy reward"). Extraction and equivalence are `@revisual/verify`'s; what is decided here is what earns.
 */
import type { JsonValue, RewardPlugin, RewardValue } from '@revisual/rl'
import { type ExtractionRule, type Reason, verify, type VerifyOptions } from '@revisual/verify'
import { accuracyOptions, type AccuracyOptions, type PartialCredit } from './options.js'

export type { AccuracyOptions, PartialCredit } from './options.js'

const MARKED: readonly ExtractionRule[] = ['boxed', 'answer-tag', 'answer-phrase']

/** The gold answer of a row as text. */
function goldOf(row: { readonly [column: string]: JsonValue }, column: string, index: number): string {
  const gold = row[column]
  if (typeof gold === 'string' && gold.trim() !== '') return gold
  if (typeof gold === 'number') return String(gold)
  throw new TypeError(
    `accuracy: column '${column}' of completion ${index} is ${JSON.stringify(gold) ?? 'missing'}; allowed: a number or a text that is not empty. Set options.column to the column that holds the answer (columns: ${Object.keys(row).join(', ')}).`,
  )
}

/** What an answer earns that is not right. */
function partial(reason: Reason, credit: PartialCredit): number {
  if (reason === 'no-answer' || reason === 'undecided') return 0
  const named = reason === 'hedged' || reason === 'unevaluated' || reason === 'malformed' ? credit[reason] : undefined
  return named ?? credit.answered ?? 0
}

/**
 * Per completion `{ score, parts }`: `score` 0 or 1 (or partial credit, where the options give any); `parts.answered` 1 if an answer was found where `rules` look,
 * `parts.undecided` 1 if it could not be judged, `parts.hedged` 1 if it was right but offered beside another.
 *
 * @throws TypeError when a row has no answer.
 */
const accuracy: RewardPlugin<AccuracyOptions> = {
  name: 'accuracy',
  options: accuracyOptions,
  create({ column = 'answer', undecided = 'zero', rules, credit = {}, ...choices }) {
    // A profile brings the places where it looks.
    const places = rules ?? (choices.profile === undefined ? MARKED : undefined)
    const options: VerifyOptions = { ...(places === undefined ? {} : { rules: places }), ...choices }
    return ({ completions, rows }) =>
      completions.map((text, i): RewardValue => {
        const { equal, reason } = verify(goldOf(rows[i] ?? {}, column, i), text, options)
        if (reason === 'undecided' && undecided === 'skip') return null
        return {
          score: equal ? 1 : partial(reason, credit),
          parts: {
            answered: reason === 'no-answer' ? 0 : 1,
            undecided: reason === 'undecided' ? 1 : 0,
            hedged: reason === 'hedged' ? 1 : 0,
          },
        }
      })
  },
}

export default accuracy
