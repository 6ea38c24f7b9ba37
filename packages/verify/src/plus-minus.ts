/** `a ± b` as the values it stands for. */
import type { Node } from './ast.js'
import { some } from './ast.js'
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
  switch (node.kind) {
    case 'plusMinus': {
      const left = node.left === null ? null : go(node.left)
      const plus = isPlus(node.mirrored)
      const right = go(node.right)
      if (left === null) return plus ? right : { kind: 'negate', child: right }
      return { kind: 'binary', operator: plus ? '+' : '-', left, right }
    }
    case 'negate':
    case 'percent':
    case 'degree':
      return { ...node, child: go(node.child) }
    case 'binary': {
      const left = go(node.left)
      return { ...node, left, right: go(node.right) }
    }
    case 'call':
      return { ...node, args: node.args.map(go) }
    case 'sequence':
      return { ...node, items: node.items.map(go) }
    case 'relation':
      return { ...node, operands: node.operands.map(go) }
    default:
      return node
  }
}
