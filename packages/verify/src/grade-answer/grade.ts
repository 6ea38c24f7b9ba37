/**
 * MathRuler 0.1.0's `grade_answer` (the PRM800K grader): equal in either normal form, or element by element: fractions
 * must be written alike, an integer must be met by an integer, and other values are equal if their difference is zero.
 * Where the original calls `sympy.simplify`, values are compared exactly and at random points instead: it has no limits
 * on cost, evaluates Python syntax, and the two agree where it answers.
 */
import { type Node, some } from '../ast.js'
import type { Work } from '../limits.js'
import { type ResolvedEquivalence, resolveEquivalence } from '../options.js'
import { parse } from '../parse.js'
import { compareScalars } from '../scalar.js'
import { hendrycksForm, isIntegerText, rulerForm, withoutThousands } from './normal-forms.js'

const BRACKETS = '()[]'

/** Elements of one tuple or interval without brackets inside; anything else is one element. */
function elements(normal: string): readonly string[] {
  const text = withoutThousands(normal)
  if (text === '') return []
  const inner = text.slice(1, -1)
  const isTuple =
    text.length > 2 && BRACKETS.includes(text.charAt(0)) && BRACKETS.includes(text.charAt(text.length - 1))
  return isTuple && ![...inner].some((character) => BRACKETS.includes(character))
    ? inner.split(',').map((element) => element.trim())
    : [text]
}

const isFraction = (text: string): boolean => /^-?[0-9]+.?\/0{0,400}[1-9][0-9]*.?$/.test(text)

/** The original's guard: at most two letters beside `sqrt` and `frac`, no power that could explode. */
function isComputable(gold: string, prediction: string): boolean {
  const text = `(${gold})-(${prediction})`
  const letters = new Set(text.replaceAll('sqrt', '').replaceAll('frac', '').match(/\p{L}/gu) ?? [])
  return letters.size <= 2 && !text.includes('^(') && !/\^[0-9]+\^|\^[0-9][0-9]/.test(text)
}

const NOT_SCALAR: ReadonlySet<Node['kind']> = new Set(
  (
    ['text', 'list', 'set', 'sequence', 'union', 'ratio', 'matrix', 'relation', 'plusMinus', 'percent'] as const
  ).slice(),
)

function scalar(text: string, work: Work): Node | null {
  // `13.` is a number in Python.
  const node = parse(text.replace(/(\d)\.(?!\d)/g, '$1.0'), work)
  return node === null || some(node, ({ kind }) => NOT_SCALAR.has(kind)) ? null : node
}

const EXACT: ResolvedEquivalence = resolveEquivalence({ decimals: 'exact' })

function isZeroDifference(gold: string, prediction: string, work: Work): boolean {
  if (!isComputable(gold, prediction)) return false
  const [g, p] = [scalar(gold, work), scalar(prediction, work)]
  return g !== null && p !== null && compareScalars(g, p, EXACT, work).equal
}

/** MathRuler's verdict on `prediction`, both given as answers. */
export function gradeAnswer(gold: string, prediction: string, work: Work): boolean {
  work.spend(gold.length + prediction.length)
  if (hendrycksForm(gold) === hendrycksForm(prediction)) return true
  const [g, p] = [rulerForm(gold, work), rulerForm(prediction, work)]
  if (g === p) return true
  if (p === '') return false
  const [goldElements, elementsGiven] = [elements(g), elements(p)]
  if (goldElements.length > 1 && (g[0] !== p[0] || g.at(-1) !== p.at(-1))) return false
  return (
    goldElements.length > 0 &&
    goldElements.length === elementsGiven.length &&
    goldElements.every((element, i) => {
      const given = elementsGiven[i] ?? ''
      if (isFraction(element) && isFraction(given)) return element === given
      if (isIntegerText(element) !== isIntegerText(given)) return false
      return isZeroDifference(element, given, work)
    })
  )
}
