/** LaTeX that TeX does not read as it is meant. */
import type { Work } from './limits.js'

/**
 * Whether the text has an argument without braces where TeX would take one character only and more is meant (`x^10`), a
 * fraction or root whose argument is a digit without braces (`\\frac12`, `\\sqrt3`), a number in the syntax of programs, or a doubled backslash before a command
 * outside a matrix.
 */
export function isMalformed(answer: string, work: Work): boolean {
  work.spend(answer.length)
  if (/\\[dtc]?frac *[^{ a-zA-Z]|\\[dtc]?frac *\{[^{}]*\} *[^{ ]|\\sqrt *[^{[ ]/.test(answer)) return true
  // `1e3` is a number in programs.
  if (/[\^_] *-?\d\d|\d[eE][+-]?\d/.test(answer)) return true
  return /\\\\(?=[a-zA-Z])/.test(answer) && !answer.includes('\\begin')
}
