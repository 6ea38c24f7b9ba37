/** Labels of multiple-choice questions. */
import type { Work } from './limits.js'
import { type Found, lastPhrase } from './phrases.js'

/** Characters between an answer phrase and its label. */
const REACH = 50

/** The label after an answer phrase, at the start, or last in the text. */
export function findChoice(text: string, choices: readonly string[], work: Work): Found | null {
  work.spend(text.length)
  const labels = choices.map((label) => label.replace(/[^\p{L}\p{N}]/gu, '')).filter((label) => label !== '')
  if (labels.length === 0) return null
  const label = new RegExp(`(?<![\\p{L}\\p{N}])\\(?(${labels.join('|')})\\)?(?![a-zA-Z0-9'’])`, 'gu')
  const matches = [...text.matchAll(label)].map((match) => ({
    answer: match[1] ?? '',
    end: match.index + match[0].length,
    start: match.index,
  }))
  const phrase = lastPhrase(text)
  if (phrase !== -1) {
    const after = matches.find(({ start }) => start >= phrase)
    if (after !== undefined && after.start - phrase <= REACH) return after
  }
  const [first] = matches
  // "A. Because …", but not the article in "A train …".
  if (first?.start === 0 && /^[^\p{L} ]|^$|^\P{ASCII}/u.test(text.slice(first.end))) return first
  return matches.at(-1) ?? null
}
