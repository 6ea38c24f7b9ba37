/**
 * Arithmetic on one to four digits, as numbers only: which digits, what is asked, the steps of the solution, the answer.
 * How it is said is in `wording.ts`, how it is drawn in `sheet.ts`.
 *
 * Problems of three digits or more are kept apart by split: the hash of the digits decides whether a sequence may be posed
 * in training or in evaluation, so a held-out sum was never seen, in images or in words. With one or two digits
 * there are too few to part.
 */
import { createRandom, type Random } from '../random.js'

export const digitKinds = ['read', 'add', 'subtract', 'larger', 'smaller', 'count', 'expression'] as const
export type DigitKind = (typeof digitKinds)[number]

/** 1 is the easiest. */
export type DigitLevel = 1 | 2 | 3 | 4 | 5
export const digitLevels: readonly DigitLevel[] = [1, 2, 3, 4, 5]

export type DigitSplit = 'train' | 'heldout'

/** What `count` counts. */
export type CountCondition = { readonly is: 'even' } | { readonly is: 'equal' | 'larger'; readonly than: number }

/** One term of an expression: the digit at `position`, added or taken away. */
interface Term {
  readonly position: number
  readonly sign: 1 | -1
}

export type DigitProblem = {
  readonly level: DigitLevel
  readonly digits: readonly number[]
  readonly answer: number
} & (
  | { readonly kind: Exclude<DigitKind, 'count' | 'expression'> }
  | { readonly kind: 'count'; readonly condition: CountCondition }
  | { readonly kind: 'expression'; readonly terms: readonly Term[] }
)

/**
 * Digits at each level; a kind that has no entry has no problems of that level. Levels 2 to 4 have as many digits as the
 * level; 1 is easier than 2, and 5 harder than 4.
 */
const digitsAtLevel: { readonly [kind in DigitKind]: { readonly [level in DigitLevel]?: number } } = {
  read: { 1: 1, 2: 2, 3: 3, 4: 4 },
  // Level 1 without carry, from level 2 any digits.
  add: { 1: 2, 2: 2, 3: 3, 4: 4 },
  // Level 1 with the larger digit first.
  subtract: { 1: 2, 2: 2 },
  larger: { 2: 2, 3: 3, 4: 4 },
  smaller: { 2: 2, 3: 3, 4: 4 },
  count: { 2: 2, 3: 3, 4: 4 },
  // Terms in the order of the digits, at level 5 in any order.
  expression: { 2: 2, 3: 3, 4: 4, 5: 4 },
}

/** Levels at which a kind has problems. */
export function levelsOf(kind: DigitKind): readonly DigitLevel[] {
  return digitLevels.filter((level) => digitsAtLevel[kind][level] !== undefined)
}

/**
 * One problem. Every answer, and every step on the way to it, is at least 0.
 * @throws {RangeError} when the kind has no problems of that level.
 */
export function makeProblem(kind: DigitKind, level: DigitLevel, split: DigitSplit, random: Random): DigitProblem {
  const count = digitsAtLevel[kind][level]
  if (count === undefined) {
    throw new RangeError(`digits: '${kind}' has no problems of level ${level}; allowed: ${levelsOf(kind).join(', ')}.`)
  }
  for (;;) {
    const digits = Array.from({ length: count }, () => random.below(10))
    if (allowed(digits, split) && suits(kind, level, digits)) return pose(kind, level, digits, random)
  }
}

/** A fifth of the sequences of three digits or more is for evaluation only, the rest for training only. */
function allowed(digits: readonly number[], split: DigitSplit): boolean {
  return digits.length < 3 || (createRandom(...digits).below(5) === 0) === (split === 'heldout')
}

function suits(kind: DigitKind, level: DigitLevel, digits: readonly number[]): boolean {
  const [first = 0, second = 0] = digits
  // A number does not begin with 0.
  if (kind === 'read') return digits.length === 1 || first !== 0
  if (level > 1) return true
  if (kind === 'add') return first + second < 10
  if (kind === 'subtract') return first >= second
  return true
}

function pose(kind: DigitKind, level: DigitLevel, digits: readonly number[], random: Random): DigitProblem {
  switch (kind) {
    case 'read':
      return { kind, level, digits, answer: Number(digits.join('')) }
    case 'add':
      return { kind, level, digits, answer: digits.reduce((sum, digit) => sum + digit, 0) }
    case 'subtract':
      return { kind, level, digits, answer: Math.max(...digits) - Math.min(...digits) }
    case 'larger':
      return { kind, level, digits, answer: Math.max(...digits) }
    case 'smaller':
      return { kind, level, digits, answer: Math.min(...digits) }
    case 'count': {
      const condition = makeCondition(digits, random)
      return { kind, level, digits, condition, answer: digits.filter((digit) => meets(digit, condition)).length }
    }
    case 'expression': {
      const terms = makeTerms(digits, level === 5, random)
      const answer = terms.reduce((value, { position, sign }) => value + sign * (digits[position] as number), 0)
      return { kind, level, digits, terms, answer }
    }
  }
}

function makeCondition(digits: readonly number[], random: Random): CountCondition {
  const is = random.pick(['even', 'equal', 'larger'] as const)
  if (is === 'even') return { is }
  // Half of the questions after equals name a digit that is there, else nearly all answers would be 0.
  const than = is === 'equal' && random.below(2) === 0 ? random.pick(digits) : random.below(is === 'larger' ? 9 : 10)
  return { is, than }
}

export function meets(digit: number, condition: CountCondition): boolean {
  switch (condition.is) {
    case 'even':
      return digit % 2 === 0
    case 'equal':
      return digit === condition.than
    case 'larger':
      return digit > condition.than
  }
}

/** A sign for each term such that the value never falls below 0. */
function makeTerms(digits: readonly number[], anyOrder: boolean, random: Random): Term[] {
  const positions = digits.map((_, position) => position)
  let value = 0
  return (anyOrder ? random.shuffle(positions) : positions).map((position, index) => {
    const digit = digits[position] as number
    const sign = index > 0 && value >= digit && random.below(2) === 0 ? -1 : 1
    value += sign * digit
    return { position, sign }
  })
}
