/**
 * Equality of two parsed answers. Collections are taken apart here, and values handed to {@link compareScalars}.
 *
 * Not symmetric on purpose: a prediction may answer an inequality by its interval, but must not earn credit by repeating
 * the inequality it was asked to solve; and `name = value` is unwrapped only where the left side is a name.
 */
import { type Node, some } from './ast.js'
import { LIMITS, type Work } from './limits.js'
import type { ResolvedEquivalence } from './options.js'
import { expandPlusMinus } from './plus-minus.js'
import { assignedValue, compareRelations, relationToInterval } from './relations.js'
import { compareScalars } from './scalar.js'
import { textKey } from './normalize.js'

type ComparisonRule = 'exact' | 'rounded' | 'numeric' | 'text' | 'collection' | 'relation' | 'matrix'
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
    if (gold.kind === 'relation' || prediction.kind === 'relation') return this.#relations(gold, prediction)
    if (gold.kind === 'text' || prediction.kind === 'text') return this.#texts(gold, prediction)
    const [goldItems, predictionItems] = [alternatives(gold), alternatives(prediction)]
    if (goldItems !== null || predictionItems !== null) return this.#lists(gold, prediction, goldItems, predictionItems)
    if (gold.kind === 'sequence' || prediction.kind === 'sequence') return this.#sequences(gold, prediction)
    if (gold.kind === 'union' || prediction.kind === 'union')
      return verdict(this.#sameMembers(unionParts(gold), unionParts(prediction)), 'collection')
    if (gold.kind === 'ratio' || prediction.kind === 'ratio')
      return verdict(
        gold.kind === 'ratio' && prediction.kind === 'ratio' && this.#inOrder(gold.items, prediction.items),
        'collection',
      )
    if (gold.kind === 'matrix' || prediction.kind === 'matrix') return this.#matrices(gold, prediction)
    return compareScalars(gold, prediction, this.#options, this.#work)
  }

  #equal(gold: Node, prediction: Node): boolean {
    return this.compare(gold, prediction).equal
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
    if (gold.kind === 'relation' && prediction.kind === 'relation') {
      const interval = prediction.operators[0] === '∈' ? relationToInterval(gold) : null
      const range = interval === null ? null : assignedValue(prediction, (g, p) => this.#equal(g, p))
      if (interval !== null && range !== null) return this.compare(interval, range)
      const equal = compareRelations(gold, prediction, (g, p) => this.#equal(g, p), this.#work)
      return verdict(equal, 'relation')
    }
    if (prediction.kind === 'relation') {
      const value = assignedValue(prediction, (g, p) => this.#equal(g, p))
      return value === null ? verdict(false, 'relation') : this.compare(gold, value)
    }
    if (gold.kind !== 'relation') return verdict(false, 'relation')
    const value = assignedValue(gold, (g, p) => this.#equal(g, p))
    if (value !== null) return this.compare(value, prediction)
    const interval = relationToInterval(gold)
    return interval === null ? verdict(false, 'relation') : this.compare(interval, prediction)
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
    if (!brackets && this.#options.brackets === 'keep') return verdict(false, 'collection')
    return verdict(this.#inOrder(gold.items, prediction.items), 'collection')
  }

  #matrices(gold: Node, prediction: Node): Comparison {
    if (gold.kind !== 'matrix' || prediction.kind !== 'matrix') return verdict(false, 'matrix')
    const equal =
      gold.rows.length === prediction.rows.length &&
      gold.rows.every((row, i) => this.#inOrder(row, prediction.rows[i] ?? []))
    return verdict(equal, 'matrix')
  }
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

/** Arithmetic on numbers that was left undone; fractions, roots, powers of names and signs are final forms. */
export function isUnevaluated(node: Node): boolean {
  return some(node, (part) => {
    if (part.kind === 'call') return part.name === 'factorial' || part.name === 'binomial'
    if (part.kind === 'symbol') return /^\\(?:sum|prod|int|lim)/.test(part.name)
    if (part.kind !== 'binary') return false
    const [left, right] = [numberOf(part.left), numberOf(part.right)]
    if (left === null || right === null) return false
    return part.operator !== '/' || right === 1n || (right !== 0n && left % right === 0n)
  })
}

/** Numerator of a signed integer or decimal; null for anything else. */
function numberOf(node: Node): bigint | null {
  if (node.kind === 'negate') return numberOf(node.child)
  return node.kind === 'number' ? node.value.numerator : null
}
