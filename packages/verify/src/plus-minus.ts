/** `a ± b` as the values it stands for. */
import { binary, mapChildren, negated, type Node, some } from './ast.js'
import { LIMITS } from './limits.js'

/**
 * The expressions a node with ± stands for: one per choice of every sign, or two with linked signs where ∓ occurs. A
 * node without ±, or one with too many, is returned as it is.
 */
export function expandPlusMinus(node: Node): readonly Node[] {
  let signs = 0
  let mirrored = false
  some(node, (part) => {
    if (part.kind === 'plusMinus') {
      signs++
      mirrored ||= part.mirrored
    }
    return false
  })
  if (signs === 0) return [node]
  const free = mirrored ? 1 : signs
  if (2 ** free > LIMITS.alternatives) return [node]
  return Array.from({ length: 2 ** free }, (_, choice) => {
    let index = 0
    return withSigns(node, (isMirrored) => {
      const bit = mirrored ? choice : (choice >> index++) & 1
      return (bit === 0) !== isMirrored
    })
  })
}

/** Copy of the tree in which every ± has the sign `isPlus` gives it, left to right. */
function withSigns(node: Node, isPlus: (mirrored: boolean) => boolean): Node {
  const go = (child: Node): Node => withSigns(child, isPlus)
  if (node.kind !== 'plusMinus') return mapChildren(node, go)
  const left = node.left === null ? null : go(node.left)
  const plus = isPlus(node.mirrored)
  const right = go(node.right)
  if (left === null) return plus ? right : negated(right)
  return binary(plus ? '+' : '-', left, right)
}
