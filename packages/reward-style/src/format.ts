/**
 * `format`: 1 for one block of thoughts and then one boxed answer, `<think>…</think>…\boxed{…}`, else 0 (the output form
 * asked for by the ReVisual-R1 prompt, arXiv 2506.04207). Read in one pass; no regular expression walks the completion.
 */
import type { RewardPlugin } from '@revisual/rl'
import { flag, oneOf, optionsSchema } from './schema.js'

export interface FormatOptions {
  /** The prompt already ends with `<think>`, so the completion starts inside the thoughts. Default false. */
  readonly openInPrompt?: boolean
  /**
   * `strict` (default): exactly one box after the thoughts. `lenient`: the form that EasyR1's `math.py` asks for: thoughts,
   * closed, and somewhere after them a box.
   */
  readonly mode?: 'strict' | 'lenient'
}

const OPEN = '<think>'
const CLOSE = '</think>'
const BOX = '\\boxed{'

/** Index behind the brace that closes the one before `start`, or −1. `\{` and `\}` are no braces. */
function afterClosingBrace(text: string, start: number): number {
  let depth = 1
  for (let i = start; i < text.length; i++) {
    const character = text[i]
    if (character === '\\') i++
    else if (character === '{') depth++
    else if (character === '}' && --depth === 0) return i + 1
  }
  return -1
}

/** Whether thoughts that are not empty are closed once, and one box that is not empty follows them. */
export function hasReasoningFormat(
  text: string,
  { openInPrompt = false, mode = 'strict' }: FormatOptions = {},
): boolean {
  if (mode === 'lenient') return hasLenientFormat(text, openInPrompt)
  let start = text.length - text.trimStart().length
  if (!openInPrompt) {
    if (!text.startsWith(OPEN, start)) return false
    start += OPEN.length
  }
  const close = text.indexOf(CLOSE, start)
  if (close === -1 || text.slice(start, close).trim() === '') return false
  const rest = close + CLOSE.length
  if (text.indexOf(OPEN, start) !== -1 || text.indexOf(CLOSE, rest) !== -1) return false
  const box = text.indexOf(BOX, rest)
  if (box === -1) return false
  const content = box + BOX.length
  const end = afterClosingBrace(text, content)
  if (end === -1 || text.slice(content, end - 1).trim() === '') return false
  return text.indexOf(BOX, content) === -1
}

/** Whether thoughts are opened (or the prompt opened them), closed, and a closed box follows. */
function hasLenientFormat(text: string, openInPrompt: boolean): boolean {
  if (!openInPrompt && !text.trimStart().startsWith(OPEN)) return false
  const close = text.indexOf(CLOSE)
  const box = close === -1 ? -1 : text.indexOf(BOX, close)
  return box !== -1 && afterClosingBrace(text, box + BOX.length) !== -1
}

export const format: RewardPlugin<FormatOptions> = {
  name: 'format',
  options: optionsSchema<FormatOptions>({ openInPrompt: flag, mode: oneOf('strict', 'lenient') }),
  create:
    (options) =>
    ({ completions }) =>
      completions.map((text) => (hasReasoningFormat(text, options) ? 1 : 0)),
}
