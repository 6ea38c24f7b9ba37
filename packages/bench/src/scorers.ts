/**
 * Scorers: exact mathematics by `@revisual/verify`, and the form of a reasoned answer.
 */
import { verify } from '@revisual/verify'
import type { Scorer } from './types.js'

/**
 * True for `<think>…</think>…\boxed{…}`: one block of thoughts at the start, not empty, then exactly one box, not empty,
 * with its braces matched.
 */
export function hasReasoningFormat(text: string): boolean {
  const match = /^\s*<think>([\s\S]*?)<\/think>([\s\S]*)$/.exec(text)
  if (!match) return false
  const [, thoughts = '', answer = ''] = match
  if (thoughts.trim() === '' || /<\/?think>/.test(thoughts + answer)) return false
  const boxes = answer.split('\\boxed{')
  return boxes.length === 2 && closesWithContent(boxes[1] as string)
}

/** Whether the brace opened before `text` is closed in it, around something. */
function closesWithContent(text: string): boolean {
  let depth = 1
  for (let index = 0; index < text.length; index++) {
    if (text[index] === '{') depth++
    if (text[index] === '}' && --depth === 0) return text.slice(0, index).trim() !== ''
  }
  return false
}

/**
 * Mathematical equality of the boxed answer with the row's; the form asked for is `<think>…</think>\boxed{…}`. Only a box
 * after the thoughts counts: one inside them earns nothing, thoughts that never end leave no answer, and a number that
 * merely comes last in the text is not taken for one. `rule` reads `<where found>, <how compared>: <verdict>`.
 */
export const mathScorer: Scorer = (row, text) => {
  const { equal, reason, extracted, how } = verify(row.answer, text, { rules: ['boxed'] })
  return {
    correct: equal,
    formatted: hasReasoningFormat(text),
    extracted,
    rule: `${how.extraction}, ${how.comparison}: ${reason}`,
  }
}
