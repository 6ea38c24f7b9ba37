/** Single-pass scanners over completions: closed boxes, formulas, numbers. Every character is looked at once. */
import type { Work } from './limits.js'

/** Half-open range of the content, delimiters left out. */
export interface Span {
  readonly start: number
  readonly end: number
}

const BOX_COMMANDS = ['\\boxed', '\\fbox']

/** Outermost closed boxes in order of their end. One stack of open braces, so nesting costs nothing extra. */
export function closedBoxes(text: string, work: Work): readonly Span[] {
  const boxes: Span[] = []
  /** Content start of each open brace that belongs to a box, −1 for other braces. */
  const open: number[] = []
  work.spend(text.length)
  for (let i = 0; i < text.length; i++) {
    const character = text[i]
    if (character === '\\') {
      if (text[i + 1] === '{' || text[i + 1] === '}') {
        i++
        continue
      }
      const command = BOX_COMMANDS.find((name) => text.startsWith(name, i))
      if (command === undefined) continue
      let brace = i + command.length
      if (text[brace] === ' ') brace++
      if (text[brace] !== '{') continue
      open.push(brace + 1)
      i = brace
    } else if (character === '{') open.push(-1)
    else if (character === '}') {
      const start = open.pop() ?? -1
      if (start === -1) continue
      while ((boxes.at(-1)?.start ?? -1) > start) boxes.pop()
      boxes.push({ start, end: i })
    }
  }
  return boxes
}

const NEAR = 10
const NEAR_WITH_SEPARATOR = 70
const REPLACES = /\b(?:but|thus|hence|therefore|so|wait|instead|actually)\b/i
/** Boxes that may count as one answer. */
const MOST_BOXES = 64

/**
 * Content of the last box and of the boxes right before it: fewer than 10 characters apart, or fewer than 70 with a
 * separator word between different contents (the rule of Math-Verify). Equal neighbours count once.
 */
export function joinBoxes(
  text: string,
  boxes: readonly Span[],
  work: Work,
): { readonly answer: string; readonly start: number } {
  const last = boxes.at(-1)
  if (last === undefined) return { answer: '', start: 0 }
  let { start } = last
  const contents = [text.slice(last.start, last.end)]
  for (let i = boxes.length - 2; i >= 0 && contents.length < MOST_BOXES; i--) {
    const [box, next] = [boxes[i], boxes[i + 1]]
    if (box === undefined || next === undefined) break
    const gapLength = next.start - box.end - '}\\boxed{'.length
    if (gapLength >= NEAR_WITH_SEPARATOR) break
    const gap = text.slice(box.end + 1, next.start)
    work.spend(gap.length)
    // "or thus", "but": what follows replaces what came before.
    const separated = /[,;]|\b(?:and|or)\b/.test(gap) && !REPLACES.test(gap)
    const content = text.slice(box.start, box.end)
    if (gapLength >= NEAR && !(separated && content !== contents[0])) break
    if (content !== contents[0]) contents.unshift(content)
    start = box.start
  }
  return { answer: contents.join(', '), start: start - '\\boxed{'.length }
}

/** Contents of `$…$`, `$$…$$`, `\(…\)` and `\[…\]`. The inline forms end at a line break. */
export function mathSpans(text: string, work: Work): readonly Span[] {
  const spans: Span[] = []
  work.spend(text.length)
  let close: string | null = null
  let start = 0
  for (let i = 0; i < text.length; i++) {
    const character = text[i]
    if (close !== null) {
      if (text.startsWith(close, i)) {
        if (text.slice(start, i).trim() !== '') spans.push({ start, end: i })
        i += close.length - 1
        close = null
        continue
      }
      if (character === '\n' && (close === '$' || close === '\\)')) close = null
      if (character === '\\') i++
      continue
    }
    if (character === '\\') {
      const next = text[i + 1]
      if (next === '(') close = '\\)'
      else if (next === '[') close = '\\]'
      i++
    } else if (character === '$') {
      close = text[i + 1] === '$' ? '$$' : '$'
      i += close.length - 1
    }
    if (close !== null) start = i + 1
  }
  return spans
}

const NUMBER =
  /(?<![\p{Script=Latin}\d._^}])[-−+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+(?:,\d+(?![\d,]))?)?(?:\.?\d+)?(?: ?\/ ?\d+| \d+\/\d+)?(?: ?\\?%| ?percent\b| ?pct\b)?/gu

export interface NumberSpan extends Span {
  /** No other number in the text. */
  readonly only: boolean
}

/** The first plain number of a clause. */
export function firstNumber(text: string, work: Work): Span | null {
  work.spend(text.length)
  for (const match of text.matchAll(NUMBER))
    if (/\d/.test(match[0])) return { start: match.index, end: match.index + match[0].length }
  return null
}

/** The last `\frac{a}{b}` of two numbers, which reads as a formula without delimiters. */
export function loneFraction(text: string): { readonly answer: string; readonly end: number } | null {
  let last: { readonly answer: string; readonly end: number } | null = null
  for (const match of text.matchAll(
    /(?<![{+*\/^=\d-] ?)-?\\[dtc]?frac\{-?[\d.,]{1,40}\}\{-?[\d.,]{1,40}\}(?! ?[}+*\/^=\d-])/g,
  ))
    last = { answer: match[0], end: match.index + match[0].length }
  return last
}

/** A per cent sign or word right after a box or formula belongs to it. */
export function percentSuffix(text: string, end: number): string {
  const after = text.slice(end, end + 24).replace(/^(?:\$\$?|\\\)|\\\])?/, '')
  return /^ {0,4}(?:\\?%|percent|pct)/.test(after) ? '\\%' : ''
}

/** The last plain number: sign, digit groups, decimals, a simple fraction, per cent. Not part of a word such as `H2O`. */
export function lastNumber(text: string, work: Work): NumberSpan | null {
  work.spend(text.length)
  let last: Span | null = null
  let count = 0
  for (const match of text.matchAll(NUMBER)) {
    if (!/\d/.test(match[0])) continue
    count++
    last = { start: match.index, end: match.index + match[0].length }
  }
  return last === null ? null : { ...last, only: count === 1 }
}
