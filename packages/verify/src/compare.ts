/**
 * Equality of two parsed answers. Collections are taken apart here, and values handed to {@link compareScalars}.
 *
 * Not symmetric on purpose: a prediction may answer an inequality by its interval, but must not earn credit by repeating
 * the inequality it was asked to solve; and `name = value` is unwrapped only where the left side is a name.
 */
import { binary, type Node, whole } from './ast.js'
import { exactValue } from './exact.js'
import { LIMITS, type Work } from './limits.js'
import type { ResolvedEquivalence } from './options.js'
import { matrixOf } from './matrices.js'
import { expandPlusMinus } from './plus-minus.js'
import { intersection, type Piece, type RealSet, realSetOf, solutionSet, union } from './real-sets.js'
import { assignedValue, compareRelations, relationToInterval } from './relations.js'
import { compareScalars } from './scalar.js'
import { textKey } from './normalize.js'
import { unitsAgree } from './units.js'

type ComparisonRule = 'exact' | 'rounded' | 'numeric' | 'text' | 'collection' | 'relation' | 'matrix' | 'unit'
export interface Comparison {
  readonly equal: boolean
  readonly decided: boolean
  readonly rule: ComparisonRule
}

const verdict = (equal: boolean, rule: ComparisonRule): Comparison => ({ equal, decided: true, rule })

export class Comparer {
  readonly #options: ResolvedEquivalence
  readonly #work: Work

  constructor(options: ResolvedEquivalence, work: Work) {
    this.#options = options
    this.#work = work
  }

  compare(gold: Node, prediction: Node): Comparison {
    this.#work.spend(4)
    if (gold.kind === 'quantity' || prediction.kind === 'quantity') return this.#quantities(gold, prediction)
    if (isRealSet(gold) || isRealSet(prediction)) {
      const equal = this.#realSets(gold, prediction)
      if (equal !== null) return verdict(equal, 'collection')
    }
    if (gold.kind === 'relation' || prediction.kind === 'relation') return this.#relations(gold, prediction)
    if (gold.kind === 'text' || prediction.kind === 'text') return this.#texts(gold, prediction)
    const [goldItems, predictionItems] = [alternatives(gold), alternatives(prediction)]
    if (goldItems !== null || predictionItems !== null) return this.#lists(gold, prediction, goldItems, predictionItems)
    if (gold.kind === 'sequence' || prediction.kind === 'sequence') return this.#sequences(gold, prediction)
    if (gold.kind === 'union' || prediction.kind === 'union')
      return verdict(this.#sameMembers(unionParts(gold), unionParts(prediction)), 'collection')
    if (gold.kind === 'ratio' || prediction.kind === 'ratio')
      return verdict(this.#ratios(gold, prediction), 'collection')
    if (hasMatrix(gold) || hasMatrix(prediction)) return this.#matrices(gold, prediction)
    return compareScalars(gold, prediction, this.#options, this.#work)
  }

  #equal(gold: Node, prediction: Node): boolean {
    return this.compare(gold, prediction).equal
  }

  /** Units do not count, but one measure is not another. */
  #quantities(gold: Node, prediction: Node): Comparison {
    const [g, p] = [withoutUnit(gold), withoutUnit(prediction)]
    const halfDays = [g.unit, p.unit].some((unit) => unit === 'am' || unit === 'pm')
    if ((halfDays && g.unit !== p.unit) || (this.#options.units === 'check' && !unitsAgree(g.unit, p.unit)))
      return verdict(false, 'unit')
    return this.compare(g.value, p.value)
  }

  /** Null unless both are sets of reals. A relation may stand on the side of the gold, or with the option on either. */
  #realSets(gold: Node, prediction: Node): boolean | null {
    const [g, p] = [this.#realSet(gold, true), this.#realSet(prediction, this.#options.relationForSet)]
    if (g === null || p === null) return null
    const sameEnd = (a: Piece['low'], b: Piece['low']): boolean =>
      a.closed === b.closed && compareScalars(a.node, b.node, this.#options, this.#work).equal
    return (
      g.length === p.length &&
      g.every(({ low, high }, i) => {
        const other = p[i]
        return other !== undefined && sameEnd(low, other.low) && sameEnd(high, other.high)
      })
    )
  }

  #realSet(node: Node, relations: boolean): RealSet | null {
    if (node.kind === 'relation') {
      if (node.operators.join() === '∈' && node.operands[1] !== undefined)
        return realSetOf(node.operands[1], this.#work)
      return relations ? solutionSet(node, this.#work) : null
    }
    if (node.kind === 'list' && node.joiner !== undefined && relations) {
      const sets: RealSet[] = []
      for (const item of node.items) {
        const set = item.kind === 'relation' ? solutionSet(item, this.#work) : null
        if (set === null) return null
        sets.push(set)
      }
      return node.joiner === 'or' ? union(sets) : sets.reduce((a, b) => intersection(a, b))
    }
    return realSetOf(node, this.#work)
  }

  /** `1:2` is `2:4` and 1/2, but a time of day is only itself. */
  #ratios(gold: Node, prediction: Node): boolean {
    const [g, p] = [ratioItems(gold), ratioItems(prediction)]
    if (g === null || p === null || g.length !== p.length) return false
    if (this.#inOrder(g, p)) return true
    const clock = [gold, prediction].some((node) => node.kind === 'ratio' && node.clock === true)
    const [g0, p0] = [g[0], p[0]]
    if (clock || g0 === undefined || p0 === undefined) return false
    const distinct = !isZero(g0, this.#work) && !isZero(p0, this.#work)
    return distinct && g.every((item, i) => this.#equal(binary('*', item, p0), binary('*', p[i] ?? p0, g0)))
  }

  #inOrder(gold: readonly Node[], prediction: readonly Node[]): boolean {
    return (
      gold.length === prediction.length &&
      gold.every((item, i) => {
        const other = prediction[i]
        return other !== undefined && this.#equal(item, other)
      })
    )
  }

  /** Every member of each side is in the other. Repetitions do not count; a missing or a further member does. */
  #sameMembers(gold: readonly Node[], prediction: readonly Node[]): boolean {
    if (gold.length > LIMITS.elements || prediction.length > LIMITS.elements) return false
    const met = prediction.map(() => false)
    for (const [g, item] of gold.entries()) {
      // The usual order first: long equal lists then take linear time.
      let found = prediction[g] !== undefined && this.#equal(item, prediction[g])
      if (found) met[g] = true
      for (let p = 0; p < prediction.length; p++) {
        const other = prediction[p]
        if (found && met[p]) continue
        if (other === undefined || p === g || !this.#equal(item, other)) continue
        found = true
        met[p] = true
      }
      if (!found) return false
    }
    return met.every(Boolean)
  }

  #relations(gold: Node, prediction: Node): Comparison {
    const equalNodes = (g: Node, p: Node): boolean => this.#equal(g, p)
    if (gold.kind === 'relation' && prediction.kind === 'relation') {
      const membership = prediction.operators[0] === '∈'
      const range = membership ? assignedValue(prediction, equalNodes, this.#chains) : null
      const interval = range === null ? null : relationToInterval(gold)
      if (interval !== null && range !== null) return this.compare(interval, range)
      if (membership || this.#options.relationForSet) {
        const sets = this.#realSets(gold, prediction)
        if (sets !== null) return verdict(sets, 'relation')
      }
      return verdict(compareRelations(gold, prediction, equalNodes, this.#work), 'relation')
    }
    if (prediction.kind === 'relation') {
      const value = assignedValue(prediction, equalNodes, this.#chains)
      if (value !== null) return this.compare(gold, value)
      const interval = this.#options.relationForSet ? relationToInterval(prediction) : null
      return interval === null ? verdict(false, 'relation') : this.compare(gold, interval)
    }
    if (gold.kind !== 'relation') return verdict(false, 'relation')
    const value = assignedValue(gold, equalNodes, 'last')
    if (value !== null) return this.compare(value, prediction)
    const interval = relationToInterval(gold)
    if (interval !== null) return this.compare(interval, prediction)
    const sets = this.#realSets(gold, prediction)
    return verdict(sets === true, 'relation')
  }

  #texts(gold: Node, prediction: Node): Comparison {
    const [a, b] = [asText(gold), asText(prediction)]
    if (a === null || b === null) return verdict(false, 'text')
    const key = textKey(a, this.#work)
    return verdict(key !== '' && key === textKey(b, this.#work), 'text')
  }

  #lists(
    gold: Node,
    prediction: Node,
    goldItems: readonly Node[] | null,
    predictionItems: readonly Node[] | null,
  ): Comparison {
    // A tuple and a list in its written order; a set has no order that a tuple could match.
    if ((gold.kind === 'sequence' || prediction.kind === 'sequence') && this.#options.brackets === 'require')
      return verdict(false, 'collection')
    if (gold.kind === 'sequence' && prediction.kind === 'list')
      return verdict(this.#inOrder(gold.items, prediction.items), 'collection')
    if (gold.kind === 'list' && prediction.kind === 'sequence')
      return verdict(this.#inOrder(gold.items, prediction.items), 'collection')
    if (goldItems === null || predictionItems === null) {
      const single = goldItems === null ? gold : prediction
      const items = goldItems ?? predictionItems ?? []
      const [only] = items
      // {5} answers 5; (1, 2) answers no set.
      if (only === undefined || items.length > 1 || single.kind === 'sequence') return verdict(false, 'collection')
      return goldItems === null ? this.compare(gold, only) : this.compare(only, prediction)
    }
    const ordered = this.#options.listOrder === 'keep' && gold.kind === 'list' && prediction.kind === 'list'
    const equal = ordered ? this.#inOrder(goldItems, predictionItems) : this.#sameMembers(goldItems, predictionItems)
    return verdict(equal, 'collection')
  }

  #sequences(gold: Node, prediction: Node): Comparison {
    if (gold.kind !== 'sequence' || prediction.kind !== 'sequence') return verdict(false, 'collection')
    const brackets = gold.open === prediction.open && gold.close === prediction.close
    if (!brackets && this.#options.brackets !== 'ignore') return verdict(false, 'collection')
    return verdict(this.#inOrder(gold.items, prediction.items), 'collection')
  }

  #matrices(gold: Node, prediction: Node): Comparison {
    const [g, p] = [matrixOf(gold, this.#work), matrixOf(prediction, this.#work)]
    const equal =
      g !== null && p !== null && g.length === p.length && g.every((row, i) => this.#inOrder(row, p[i] ?? []))
    return verdict(equal, 'matrix')
  }

  /** What a prediction's chain of closed equations is worth. */
  get #chains(): 'true' | 'none' {
    return this.#options.chains ? 'true' : 'none'
  }
}

const hasMatrix = (node: Node): boolean =>
  node.kind === 'matrix' ||
  (node.kind === 'negate' && hasMatrix(node.child)) ||
  (node.kind === 'binary' && (hasMatrix(node.left) || hasMatrix(node.right)))

/** What only a comparison as a set of reals can judge; lone intervals and lists are compared as written. */
const isRealSet = (node: Node): boolean =>
  node.kind === 'union' ||
  node.kind === 'setOperation' ||
  (node.kind === 'symbol' && (node.name === '\\mathbb R' || node.name === 'ℝ')) ||
  (node.kind === 'list' && node.joiner !== undefined && node.items.every(({ kind }) => kind === 'relation'))

const withoutUnit = (node: Node): { readonly value: Node; readonly unit: string } =>
  node.kind === 'quantity' ? node : { value: node, unit: '' }

/** Terms of a ratio; a fraction is one of two terms. */
function ratioItems(node: Node): readonly Node[] | null {
  if (node.kind === 'ratio') return node.items
  return node.kind === 'binary' || node.kind === 'number' ? [node, whole(1n)] : null
}

function isZero(node: Node, work: Work): boolean {
  const value = exactValue(node, work)
  return value === null || value.numerator === 0n
}

/** Members of a list or set with ± written out; null for a single value. */
function alternatives(node: Node): readonly Node[] | null {
  if (node.kind === 'list' || node.kind === 'set') return node.items.flatMap((item) => expandPlusMinus(item))
  const expanded = expandPlusMinus(node)
  return expanded.length > 1 ? expanded : null
}

/** Parts of a union; finite sets among them count member by member. */
function unionParts(node: Node): readonly Node[] {
  const parts = node.kind === 'union' ? node.parts : [node]
  return parts.flatMap((part) => (part.kind === 'set' ? part.items : [part]))
}

/** Words of a text, or the letters of a product of names. */
function asText(node: Node): string | null {
  if (node.kind === 'text') return node.text
  if (node.kind === 'symbol') return node.name
  if (node.kind === 'constant') return node.name
  if (node.kind !== 'binary' || node.operator !== '*') return null
  const [left, right] = [asText(node.left), asText(node.right)]
  return left === null || right === null ? null : left + right
}
