/**
 * `repetition`: 1 less deductions for saying the same again, after the repetition reward released with ReVisual-R1:
 *
 *   R = max(0, 1 − min(0.5, 0.1·duplicate sentences) − min(0.3, 0.05·duplicate 5-grams))
 *
 * The released third term (circular reasoning, up to 0.2) is left out: its patterns refer back to an empty group, so they
 * fire on any " But wait" and take super-linear time; sentences and n-grams see what they were meant to see. Every word
 * is looked at n times, whatever the text.
 */
import type { RewardPlugin, RewardValue } from '@revisual/rl'
import { numberIn, optionsSchema } from './schema.js'

export interface RepetitionOptions {
  /** Words per n-gram. Default 5. */
  readonly n?: number
  /** Words from which on a sentence counts; shorter ones ("So.") repeat in any text. Default 3. */
  readonly minSentenceWords?: number
  /** Deduction per duplicate sentence and the most they take off. Defaults 0.1 and 0.5. */
  readonly sentencePenalty?: number
  readonly sentenceCap?: number
  /** Deduction per duplicate n-gram and the most they take off. Defaults 0.05 and 0.3. */
  readonly ngramPenalty?: number
  readonly ngramCap?: number
}

const SENTENCE_ENDS = '.!?\n。！？'

/** Sentences as lists of lower-case words. A point inside a number (`3.5`) ends no sentence. */
function sentencesOf(text: string): string[][] {
  const sentences: string[][] = [[]]
  let word = ''
  const endWord = () => {
    if (word !== '') sentences.at(-1)?.push(word.toLowerCase())
    word = ''
  }
  for (let i = 0; i < text.length; i++) {
    const character = text.charAt(i)
    const inNumber = character === '.' && isDigit(text.charAt(i - 1)) && isDigit(text.charAt(i + 1))
    if (SENTENCE_ENDS.includes(character) && !inNumber) {
      endWord()
      if (sentences.at(-1)?.length !== 0) sentences.push([])
    } else if (character === ' ' || character === '\t' || character === '\r') endWord()
    else word += character
  }
  endWord()
  return sentences
}

const isDigit = (character: string) => character >= '0' && character <= '9' && character.length === 1

/** How many keys were there before. */
function duplicates(keys: Iterable<string>): number {
  const seen = new Set<string>()
  let count = 0
  for (const key of keys) {
    count++
    seen.add(key)
  }
  return count - seen.size
}

function* ngrams(words: readonly string[], n: number): Generator<string> {
  for (let i = 0; i + n <= words.length; i++) yield words.slice(i, i + n).join(' ')
}

export interface RepetitionScore {
  /** In [0, 1]; 1 says nothing twice. */
  readonly score: number
  readonly duplicateSentences: number
  readonly duplicateNgrams: number
}

/** Scores one completion; linear in its length. */
export function repetitionScore(
  text: string,
  {
    n = 5,
    minSentenceWords = 3,
    sentencePenalty = 0.1,
    sentenceCap = 0.5,
    ngramPenalty = 0.05,
    ngramCap = 0.3,
  }: RepetitionOptions = {},
): RepetitionScore {
  const sentences = sentencesOf(text)
  const long = sentences.filter((words) => words.length >= minSentenceWords)
  const duplicateSentences = duplicates(long.map((words) => words.join(' ')))
  const duplicateNgrams = duplicates(ngrams(sentences.flat(), n))
  const deduction =
    Math.min(sentenceCap, sentencePenalty * duplicateSentences) + Math.min(ngramCap, ngramPenalty * duplicateNgrams)
  return { score: Math.max(0, 1 - deduction), duplicateSentences, duplicateNgrams }
}

export const repetition: RewardPlugin<RepetitionOptions> = {
  name: 'repetition',
  options: optionsSchema<RepetitionOptions>({
    n: numberIn(2, 64, 'integer'),
    minSentenceWords: numberIn(1, 1000, 'integer'),
    sentencePenalty: numberIn(0, 1),
    sentenceCap: numberIn(0, 1),
    ngramPenalty: numberIn(0, 1),
    ngramCap: numberIn(0, 1),
  }),
  create:
    (options) =>
    ({ completions }) =>
      completions.map((text): RewardValue => {
        const { score, duplicateSentences, duplicateNgrams } = repetitionScore(text, options)
        return { score, parts: { duplicateSentences, duplicateNgrams } }
      }),
}
