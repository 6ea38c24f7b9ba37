/**
 * `selfCritique`: marks of a model that checks itself, after the self-critic reward released with ReVisual-R1 (`text.py`):
 *
 *   R = min(1, Σ w·(1 + ½(count − 1)) + 0.25·pairs + 0.1·[more marks in the second half])
 *
 * over about forty words with weights 0.02…0.15; a pair is a doubt with a correction within three sentences, at most three.
 * The released form has no bound on `count`, so fifty times "but" earn everything; here a word counts at most `maxCount`
 * times. It says nothing of whether the doubt was warranted: keep its weight small.
 */
import type { RewardPlugin, RewardValue } from '@revisual/rl'
import { numberIn, optionsSchema } from './schema.js'
import { occurrences, phrases, sentencesIn } from './sentences.js'

export interface SelfCritiqueOptions {
  /** Times that one word counts. Default 2; a large number gives the released form. */
  readonly maxCount?: number
}

/** Weights in hundredths, as released. */
const MARKS: readonly (readonly [weight: number, expression: RegExp])[] = [
  "15 i was mistaken|15 that's not right|15 this contradicts|15 i need to reconsider|15 i made an error",
  "14 this doesn't make sense|13 contradiction|12 mistake|12 error|12 incorrect|12 flaw|12 invalid|10 wrong",
  "10 let me recalculate|10 let's revise|10 let me reconsider|10 let's rethink|10 re-evaluate|10 reassess",
  "9 let me check again|9 double-check|9 let's try again|8 verify|8 revisit|8 on second thought|8 is that right",
  '8 did i miss something|7 wait a second|7 i doubt|7 i question|6 wait|6 hold on|5 however|4 but|4 although',
  "5 alternatively|5 on the other hand|5 i'm not sure|4 i wonder|3 perhaps|3 maybe|2 i think",
].flatMap((line) =>
  line.split('|').map((entry): [number, RegExp] => {
    const space = entry.indexOf(' ')
    return [Number(entry.slice(0, space)) / 100, phrases(entry.slice(space + 1))]
  }),
)

const DOUBT = phrases(
  '(?:that|this|it|the result) (?:is|seems|appears to be) (?:incorrect|wrong|mistaken|an error|a mistake|flawed)',
  '(?:i|we) (?:made|committed) (?:an error|a mistake|a miscalculation)',
  '(?:i|we) (?:was|were) (?:wrong|mistaken|incorrect|in error)',
  "(?:that|this|it) (?:doesn't|does not) (?:seem|look|appear) (?:right|correct|accurate)",
  "(?:let me|let's|let us|i should|i need to) (?:reconsider|recalculate|rethink|revise|check|verify|double-check|try again)",
  "(?:i'm|i am) (?:not sure|uncertain|confused|doubtful|unsure)",
)

const CORRECTION = phrases(
  '(?:the|a) correct (?:answer|solution|approach|calculation|value|result)',
  '(?:i|we) should (?:have|instead)',
  '(?:actually|in fact|instead|rather|correctly),? (?:the|we|i) (?:should|need to|must|have to)',
  '(?:after|upon) (?:reconsideration|recalculation|checking|verifying)',
  '(?:the|a) (?:error|mistake|issue|problem|flaw) (?:was|is)',
  '(?:i|we) (?:missed|overlooked|forgot)',
)

const WINDOW = 3
const MOST_PAIRS = 3

/** Doubts that a correction follows. */
function correctedDoubts(sentences: readonly string[]): number {
  const corrections = sentences.map((sentence) => occurrences(sentence, CORRECTION) > 0)
  let pairs = 0
  for (const [i, sentence] of sentences.entries())
    if (
      pairs < MOST_PAIRS &&
      corrections.slice(i + 1, i + 1 + WINDOW).includes(true) &&
      occurrences(sentence, DOUBT) > 0
    )
      pairs++
  return pairs
}

const marksIn = (sentences: readonly string[]): number =>
  sentences.reduce((sum, text) => sum + MARKS.filter(([, mark]) => occurrences(text, mark) > 0).length, 0)

export interface SelfCritiqueScore {
  /** In [0, 1]. */
  readonly score: number
  readonly words: number
  readonly pairs: number
}

/** Scores one completion; linear in its length. */
export function selfCritiqueScore(text: string, { maxCount = 2 }: SelfCritiqueOptions = {}): SelfCritiqueScore {
  const sentences = sentencesIn(text)
  const whole = sentences.join(' ')
  let words = 0
  for (const [weight, mark] of MARKS) {
    const count = Math.min(maxCount, occurrences(whole, mark))
    if (count > 0) words += weight * (1 + 0.5 * (count - 1))
  }
  const pairs = correctedDoubts(sentences)
  const half = sentences.length >> 1
  const late = sentences.length >= 4 && marksIn(sentences.slice(half)) > marksIn(sentences.slice(0, half))
  return { score: Math.min(1, words + 0.25 * pairs + (late ? 0.1 : 0)), words, pairs }
}

export const selfCritique: RewardPlugin<SelfCritiqueOptions> = {
  name: 'selfCritique',
  options: optionsSchema<SelfCritiqueOptions>({ maxCount: numberIn(1, 1_000_000, 'integer') }),
  create:
    (options) =>
    ({ completions }) =>
      completions.map((text): RewardValue => {
        const { score, words, pairs } = selfCritiqueScore(text, options)
        return { score, parts: { words, pairs } }
      }),
}
