/**
 * `imageRevisit`: marks of a model that goes back to the image, after the reward released with ReVisual-R1 (`math.py`):
 *
 *   R = min(0.2·references, 0.4) + min(0.3·revisits, 0.3) + min(0.3·pairs, 0.3)
 *
 * a pair being a revisit with an insight in the next sentence. Defects of the released form that are mended here: a phrase
 * that is repeated counts every time (here each wording once), a revisit counts without any reference before it (here it
 * must come after one), "the image shows" is both at once (here a reference), and its windows reach across sentences.
 */
import type { RewardPlugin, RewardValue } from '@revisual/rl'
import { optionsSchema } from './schema.js'
import { occurrences, phrases, sentencesIn } from './sentences.js'

const PICTURE = '(?:image|figure|diagram)'
const REFERENCE = phrases(
  'the image (?:shows|illustrates|depicts)',
  '(?:according to|in|from) the image',
  'the (?:diagram|figure)',
  'as shown',
  'is displayed',
)
const REVISIT = phrases(
  'looking (?:back )?at the image again',
  'upon (?:further|closer) inspection',
  `(?:revisiting|no,) the ${PICTURE}`,
  'taking another look',
  `(?:wait|but|on second thought)[^.!?\\n]{1,30}?${PICTURE}`,
  `(?:checking|let me look at) the ${PICTURE} again`,
  `the ${PICTURE} [^.!?\\n]{1,30}? shows`,
  `if i look at the ${PICTURE} more carefully`,
)
const INSIGHT = phrases(
  'i (?:see|notice|realize|observe) that',
  'actually',
  'in fact',
  "i (?:was (?:wrong|mistaken|incorrect)|missed that|didn't notice|overlooked)",
  'contrary to',
  'unlike what i thought',
  '(?:now|then) (?:i (?:can|see|understand)|it (?:is clear|becomes clear))',
  'this (?:contradicts|confirms)',
)

export interface ImageRevisitScore {
  /** In [0, 1]. */
  readonly score: number
  readonly references: number
  readonly revisits: number
  readonly pairs: number
}

/** Scores one completion; linear in its length. */
export function imageRevisitScore(text: string): ImageRevisitScore {
  const sentences = sentencesIn(text)
  const references = new Set<string>()
  const revisits = new Set<string>()
  let pairs = 0
  for (const [i, sentence] of sentences.entries()) {
    const seen = references.size > 0
    for (const [wording] of sentence.matchAll(REFERENCE)) references.add(wording)
    const found = seen ? [...sentence.matchAll(REVISIT)].map(([wording]) => wording) : []
    const isNew = found.some((wording) => !revisits.has(wording))
    found.forEach((wording) => revisits.add(wording))
    if (isNew && occurrences(sentences[i + 1] ?? '', INSIGHT) > 0) pairs++
  }
  const score = Math.min(0.2 * references.size, 0.4) + Math.min(0.3 * revisits.size, 0.3) + Math.min(0.3 * pairs, 0.3)
  return { score: Math.min(1, score), references: references.size, revisits: revisits.size, pairs }
}

export const imageRevisit: RewardPlugin<object> = {
  name: 'imageRevisit',
  options: optionsSchema<object>({}),
  create:
    () =>
    ({ completions }) =>
      completions.map((text): RewardValue => {
        const { score, references, revisits, pairs } = imageRevisitScore(text)
        return { score, parts: { references, revisits, pairs } }
      }),
}
