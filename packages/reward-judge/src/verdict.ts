/**
 * A score out of what the judge wrote: the last `"score": 0.8` (as in JSON), else a last line that is a number or
 * `Score: 0.8`. Each search is one pass over a bounded text; a number outside the scale is no verdict, never clamped.
 */
import { afterThoughts } from './prompt.js'

/** Characters at the end of a reply in which a verdict is looked for. */
const MOST_CHARACTERS = 16_384

const NUMBER = /[+-]?\d{1,9}(?:\.\d{0,40})?/y
const KEY = '"score"'

/** The number that begins at `from` after white space, quotes and `skipped`, and the index after it. */
function numberAt(text: string, from: number, skipped: string): { value: number; end: number } | null {
  let index = from
  while (index < text.length && ` \t\r\n"${skipped}`.includes(text[index] as string)) index++
  NUMBER.lastIndex = index
  const found = NUMBER.exec(text)
  return found === null ? null : { value: Number(found[0]), end: NUMBER.lastIndex }
}

/** The value of the last key `"score"`. */
function lastKey(text: string): number | null {
  const at = text.lastIndexOf(KEY)
  if (at === -1) return null
  const found = numberAt(text, at + KEY.length, ':')
  const isWhole = found !== null && (found.end === text.length || ' \t\r\n",}'.includes(text[found.end] as string))
  return isWhole ? found.value : null
}

const LABELS: readonly string[] = ['score', 'final score', 'rating', 'grade', 'verdict']

/** The number that is all of the last line, but for a label and marks of emphasis. */
function lastLine(text: string): number | null {
  const line = text
    .slice(text.lastIndexOf('\n') + 1)
    .replace(/[*`$]/g, '')
    .trim()
  const colon = line.indexOf(':')
  if (colon !== -1 && !LABELS.includes(line.slice(0, colon).trim().toLowerCase())) return null
  const found = numberAt(line, colon + 1, '')
  if (found === null) return null
  const rest = line.slice(found.end)
  return rest === '' || rest === '.' ? found.value : null
}

/**
 * @param scale lowest and highest score the judge may give
 * @returns the score mapped to [0, 1]; null when there is none, or one outside the scale
 */
export function parseVerdict(reply: string, [low, high]: readonly [number, number]): number | null {
  const text = afterThoughts(reply.slice(-MOST_CHARACTERS)).trim()
  const score = text.includes(KEY) ? lastKey(text) : lastLine(text)
  if (score === null || score < low || score > high) return null
  return (score - low) / (high - low)
}
