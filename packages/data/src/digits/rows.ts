/**
 * The digits task as rows: visual arithmetic on real handwritten digits, and the same problems in words.
 *
 * Row i is a function of the options and i alone. Problem i does not depend on modality or style, so the image stream
 * and the text stream of one seed pose the same problems. In each block of as many rows as there are kinds, every kind comes
 * once.
 */
import { createRandom } from '../random.js'
import { indexedStream } from '../streams.js'
import type { Row, RowStream } from '../types.js'
import {
  digitKinds,
  digitLevels,
  levelsOf,
  makeProblem,
  type DigitKind,
  type DigitLevel,
  type DigitProblem,
  type DigitSplit,
} from './problems.js'
import { composeDigits, encodePng, type DigitAugmentation } from './sheet.js'
import { askDigits, askProblem, boxed, nameDigits, workedSolution } from './wording.js'

/** Digits in a picture, or named in the question. */
export type DigitModality = 'image' | 'text'

/**
 * What `solution` holds. `reasoning`: a worked trace, then the boxed answer. `short`: the bare boxed answer. `read`: the question
 * is "what are the digits ?" and the solution names them.
 */
export type DigitStyle = 'reasoning' | 'short' | 'read'

export interface DigitsOptions {
  readonly split: DigitSplit
  readonly modality: DigitModality
  /** Default `reasoning`. */
  readonly style?: DigitStyle
  /** Default all. */
  readonly kinds?: readonly DigitKind[]
  /** Default all. A kind is posed at those of its levels that are among these. */
  readonly levels?: readonly DigitLevel[]
  /** Whether a worked trace begins by naming the digits. Default true. */
  readonly nameDigits?: boolean
  readonly augmentation?: DigitAugmentation
  readonly seed: number
}

// What the random numbers of a row are for; keeps the streams of one (seed, index) apart.
const order = 0
const problemOf = 1
const picture = 2

const splitKey: { readonly [split in DigitSplit]: number } = { train: 0, heldout: 1 }

/** Kinds with the levels to pose them at. */
interface Selection {
  readonly kind: DigitKind
  readonly levels: readonly DigitLevel[]
}

/**
 * An infinite stream of problems; its cursor is the index of the next row.
 * @throws {RangeError} for an unknown kind or level, or when a kind has no problems at any of the levels.
 */
export function digitsStream(options: DigitsOptions): RowStream {
  const selections = select(options)
  return indexedStream((index) => makeRow(index, options, selections))
}

/** Row `index` of {@link digitsStream} with the same options. */
export async function digitsRow(index: number, options: DigitsOptions): Promise<Row> {
  return makeRow(index, options, select(options))
}

export interface DigitsEvalOptions extends Pick<DigitsOptions, 'modality' | 'kinds' | 'levels' | 'seed'> {
  readonly n: number
}

/** The first `n` problems of the held-out stream: pictures, and sequences of three digits or more, that no training row has. */
export async function digitsEvalSet({ n, ...options }: DigitsEvalOptions): Promise<readonly Row[]> {
  return digitsStream({ ...options, split: 'heldout' }).next(n)
}

function select({ kinds = digitKinds, levels = digitLevels }: DigitsOptions): readonly Selection[] {
  if (kinds.length === 0) throw new RangeError(`digits: 'kinds' is empty; allowed: ${digitKinds.join(', ')}.`)
  const unknownLevel = levels.find((level) => !digitLevels.includes(level))
  if (unknownLevel !== undefined)
    throw new RangeError(`digits: unknown level ${unknownLevel}; allowed: ${digitLevels.join(', ')}.`)
  return kinds.map((kind) => {
    if (!digitKinds.includes(kind))
      throw new RangeError(`digits: unknown kind '${kind}'; allowed: ${digitKinds.join(', ')}.`)
    const own = levelsOf(kind).filter((level) => levels.includes(level))
    if (own.length === 0) {
      throw new RangeError(
        `digits: '${kind}' has no problems of level ${levels.join(', ')}; it has levels ${levelsOf(kind).join(', ')}.`,
      )
    }
    return { kind, levels: own }
  })
}

async function makeRow(index: number, options: DigitsOptions, selections: readonly Selection[]): Promise<Row> {
  const { split, modality, style = 'reasoning', seed } = options
  const random = (purpose: number, key: number) => createRandom(seed, splitKey[split], purpose, key)
  const block = random(order, Math.floor(index / selections.length)).shuffle(selections)
  const { kind, levels } = block[index % selections.length] as Selection
  const problemRandom = random(problemOf, index)
  const problem = makeProblem(kind, problemRandom.pick(levels), split, problemRandom)
  const { digits, level } = problem

  const question = style === 'read' ? askDigits : askProblem(problem)
  const image =
    modality === 'image' ? await composeDigits(digits, split, random(picture, index), options.augmentation) : undefined
  return {
    id: `digits/${split}/${modality}/${seed}/${index}/${style === 'read' ? style : `${kind}-${level}`}`,
    question: image ? question : `${nameDigits(digits)} ${question}`,
    images: image ? [await encodePng(image)] : [],
    answer: style === 'read' ? digits.join(',') : String(problem.answer),
    solution: solve(problem, style, options.nameDigits ?? true),
    source: 'digits',
    tags: { task: style === 'read' ? 'name' : kind, level, digits: digits.length, modality },
  }
}

function solve(problem: DigitProblem, style: DigitStyle, withDigits: boolean): string {
  switch (style) {
    case 'reasoning':
      return workedSolution(problem, withDigits)
    case 'short':
      return boxed(problem.answer)
    case 'read':
      return nameDigits(problem.digits)
  }
}
