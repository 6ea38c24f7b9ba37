/** What the reflection rewards read: sentences in lower case, and fixed phrases in them. */

/** Sentences of a completion, in lower case, with single spaces and straight apostrophes. Linear in its length. */
export function sentencesIn(text: string): readonly string[] {
  const sentences: string[] = []
  let start = 0
  const plain = text.toLowerCase().replaceAll('’', "'")
  const push = (end: number): void => {
    const sentence = plain.slice(start, end).split(/\s/).filter(Boolean).join(' ')
    if (sentence !== '') sentences.push(sentence)
    start = end
  }
  for (let i = 0; i < plain.length; i++) {
    const next = plain.charAt(i + 1)
    if (plain[i] === '\n' || ('.!?'.includes(plain.charAt(i)) && (next === '' || next.trim() === ''))) push(i + 1)
  }
  push(plain.length)
  return sentences
}

/** Alternatives of fixed words as one expression; without repetition inside, so nothing can backtrack far. */
export const phrases = (...alternatives: readonly string[]): RegExp =>
  new RegExp(`\\b(?:${alternatives.join('|')})\\b`, 'g')

/** How often the expression occurs. */
export function occurrences(text: string, expression: RegExp): number {
  let count = 0
  expression.lastIndex = 0
  while (expression.exec(text) !== null) count++
  return count
}
