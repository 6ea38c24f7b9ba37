/**
 * What the digits task says, in a small closed vocabulary: one token per word, tokens parted by single spaces, the digits of
 * a number apart (`1 0` for ten).
 *
 * The digits are named in the same words everywhere: by a text problem ("the digits are 3 , 5 ."), by the answer of
 * style `read`, and at the head of a reasoning trace. A model that can read images in these words and was taught to
 * reason on text finds its reasoning applies to images; without the shared wording a tiny model does not make that step.
 */
import { meets, type CountCondition, type DigitProblem } from './problems.js'

const words =
  'the digits are what is number sum difference largest smallest how many even equal to larger than first second third fourth yes no'
const marks = '+ - = < > , . ?'
const markup = '<think> </think> \\boxed{ }'
const ordinals = ['first', 'second', 'third', 'fourth']

/** Every token the templates can say: 45 words, digits, marks and the markup of answers. */
export function digitsVocabulary(): string[] {
  return [...markup.split(' '), ...'0123456789', ...marks.split(' '), ...words.split(' ')]
}

/** A number with its digits apart. */
const spell = (value: number) => [...String(value)].join(' ')

const list = (digits: readonly number[]) => digits.join(' , ')

/** "the digits are 3 , 5 ." */
export function nameDigits(digits: readonly number[]): string {
  return `the digits are ${list(digits)} .`
}

/** The question put to a reader of the digits, in words of its own kind. */
export function askProblem(problem: DigitProblem): string {
  switch (problem.kind) {
    case 'read':
      return 'what is the number ?'
    case 'add':
      return 'what is the sum ?'
    case 'subtract':
      return 'what is the difference ?'
    case 'larger':
      return 'what is the largest ?'
    case 'smaller':
      return 'what is the smallest ?'
    case 'count':
      return `how many are ${sayCondition(problem.condition)} ?`
    case 'expression': {
      const terms = problem.terms.map(({ position, sign }, index) => {
        const name = ordinals[position] as string
        return index === 0 ? name : `${sign > 0 ? '+' : '-'} ${name}`
      })
      return `what is ${terms.join(' ')} ?`
    }
  }
}

/** The question of style `read`. */
export const askDigits = 'what are the digits ?'

function sayCondition(condition: CountCondition): string {
  switch (condition.is) {
    case 'even':
      return 'even'
    case 'equal':
      return `equal to ${condition.than}`
    case 'larger':
      return `larger than ${condition.than}`
  }
}

/** `\boxed{ 1 0 }` */
export function boxed(answer: number): string {
  return `\\boxed{ ${spell(answer)} }`
}

/** Steps from the digits to the answer, such as `3 + 5 = 8 , 8 + 2 = 1 0`; none where naming the digits is the answer. */
function traceSteps(problem: DigitProblem): string {
  const { digits } = problem
  switch (problem.kind) {
    case 'read':
      return ''
    case 'add':
      return sums(digits.map((digit) => ({ digit, sign: 1 })))
    case 'subtract':
      return sums([
        { digit: Math.max(...digits), sign: 1 },
        { digit: Math.min(...digits), sign: -1 },
      ])
    case 'larger':
      return comparisons(digits, Math.max)
    case 'smaller':
      return comparisons(digits, Math.min)
    case 'count':
      return digits.map((digit) => `${digit} ${meets(digit, problem.condition) ? 'yes' : 'no'}`).join(' , ')
    case 'expression':
      return sums(problem.terms.map(({ position, sign }) => ({ digit: digits[position] as number, sign })))
  }
}

/** Left to right, one operation a step. */
function sums(terms: readonly { readonly digit: number; readonly sign: number }[]): string {
  let value = terms[0]?.digit ?? 0
  const steps = terms.slice(1).map(({ digit, sign }) => {
    const before = value
    value += sign * digit
    return `${spell(before)} ${sign > 0 ? '+' : '-'} ${digit} = ${spell(value)}`
  })
  return steps.join(' , ')
}

/** The best so far against the next. */
function comparisons(digits: readonly number[], best: (a: number, b: number) => number): string {
  let held = digits[0] ?? 0
  const steps = digits.slice(1).map((digit) => {
    const step = `${held} ${held < digit ? '<' : held > digit ? '>' : '='} ${digit}`
    held = best(held, digit)
    return step
  })
  return steps.join(' , ')
}

/**
 * The worked solution: `<think> the digits are 3 , 5 . 3 + 5 = 8 </think> \boxed{ 8 }`, or without the head
 * `<think> 3 + 5 = 8 </think> \boxed{ 8 }`. Where there are no steps, the digits are always named.
 */
export function workedSolution(problem: DigitProblem, withDigits: boolean): string {
  const steps = traceSteps(problem)
  const head = withDigits || steps === '' ? nameDigits(problem.digits) : ''
  const trace = [head, steps].filter((part) => part !== '').join(' ')
  return `<think> ${trace} </think> ${boxed(problem.answer)}`
}
