/**
 * Lifetimes by block: `using scope = device.scope()`.
 */
import type { Node } from '../graph/node.js'
import type { Tensor } from '../graph/tensor.js'

/** What a scope needs of its device. */
interface ScopeOwner {
  free(node: Node): void
  enclosing(scope: Scope): Scope | undefined
}

/** Frees every buffer born while it is active, except those kept. */
export class Scope {
  private readonly born = new Set<Node>()
  private readonly kept = new WeakSet<Node>()

  constructor(
    private readonly device: ScopeOwner,
    private readonly close: (scope: Scope) => void,
  ) {}

  /** @internal */
  track(node: Node): void {
    if (this.kept.has(node)) this.device.enclosing(this)?.track(node)
    else this.born.add(node)
  }

  /** @internal */
  adopt(node: Node): boolean {
    return this.born.delete(node)
  }

  /**
   * Keeps the tensor alive beyond this scope, whether it is computed already or later: it then belongs to the enclosing
   * scope, or to the caller.
   */
  keep<T extends Tensor>(tensor: T): T {
    this.kept.add(tensor.node)
    if (this.born.delete(tensor.node)) this.device.enclosing(this)?.track(tensor.node)
    return tensor
  }

  [Symbol.dispose](): void {
    for (const node of this.born) this.device.free(node)
    this.born.clear()
    this.close(this)
  }
}
