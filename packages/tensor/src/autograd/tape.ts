/**
 * The tape: a tensor made by an operation remembers the operation's inputs and its vector-Jacobian product. There is
 * one kind of record for all operations, plain or custom.
 */
import type { Tensor } from '../graph/tensor.js'

/** Gradients with respect to an operation's inputs, given those with respect to its outputs (null: none arrived). */
export type Vjp = (gradients: readonly (Tensor | null)[]) => readonly (Tensor | null)[]

export interface Operation {
  readonly inputs: readonly Tensor[]
  readonly outputs: number
  readonly vjp: Vjp
}

/** A tensor's place on the tape. */
export interface Origin {
  readonly operation: Operation
  readonly index: number
}

let enabled = true

export function isRecording(): boolean {
  return enabled
}

function withRecording<T>(value: boolean, fn: () => T): T {
  const before = enabled
  enabled = value
  try {
    return fn()
  } finally {
    enabled = before
  }
}

/** Runs `fn` without recording: its results are constants to autograd. */
export function noGrad<T>(fn: () => T): T {
  return withRecording(false, fn)
}

/** Runs `fn` with recording on, also inside {@link noGrad}. */
export function enableGrad<T>(fn: () => T): T {
  return withRecording(true, fn)
}

/** Puts the outputs of an operation on the tape when any input wants a gradient. */
export function record(outputs: readonly Tensor[], inputs: readonly Tensor[], vjp: Vjp): void {
  if (!enabled || !inputs.some((input) => input.requiresGrad)) return
  const operation: Operation = { inputs, outputs: outputs.length, vjp }
  outputs.forEach((output, index) => {
    output.requiresGrad = true
    output.origin = { operation, index }
  })
}
