/**
 * Kernels over tensors that are larger than one binding. A kernel is first built for all of its work; where that needs
 * several windows on a tensor, or more bindings than a stage has, the work is halved as long as halves need fewer. What
 * remains (a transpose reads everything for every part of its result) switches between segments.
 */
import { ShapeError } from '../device/errors.js'
import type { ModuleBuilder } from './codegen.js'
import type { Dispatch, EmitContext } from './dispatch.js'

/** A part of the work, built. */
export interface Attempt {
  readonly dispatch: Dispatch
  readonly builder: ModuleBuilder
}

/** Most parts a kernel is cut into. */
const MAX_PIECES = 4096

/**
 * Dispatches that together do `whole`.
 *
 * @param halve Cuts a part of the work in two, or returns null when it is not to be cut.
 * @throws {ShapeError} even small parts need more bindings than the device has.
 */
export function inPieces<Piece>(
  whole: Piece,
  attempt: (piece: Piece) => Attempt,
  halve: (piece: Piece) => readonly [Piece, Piece] | null,
  context: EmitContext,
): Dispatch[] {
  const available = context.limits.maxStorageBuffersPerShaderStage
  const split = (piece: Piece, built: Attempt, share: number): Dispatch[] => {
    const { slots, isSegmented } = built.builder.bindings
    if (!isSegmented && slots <= available) return [built.dispatch]
    const halves = share < MAX_PIECES ? halve(piece) : null
    if (halves) {
      const parts = halves.map((half) => attempt(half))
      const needed = Math.max(...parts.map(({ builder }) => builder.bindings.slots))
      if (needed < slots || slots > available) {
        return parts.flatMap((part, index) => split(halves[index === 0 ? 0 : 1], part, share * 2))
      }
    }
    if (slots > available) {
      throw new ShapeError(
        `Kernel '${built.dispatch.label}' needs ${slots} bindings of at most ${context.limits.maxStorageBufferBindingSize} bytes to reach its tensors, ` +
          `and this adapter has ${available}. Use smaller batches, or slice the largest tensor along its first axis.`,
      )
    }
    return [built.dispatch]
  }
  return split(whole, attempt(whole), 1)
}
