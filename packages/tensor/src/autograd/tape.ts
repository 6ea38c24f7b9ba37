/**
 * The tape: a tensor made by an operation remembers the operation's inputs and its vector-Jacobian product. There is
 * one kind of record for all operations, plain or custom.
 */
import { TensorStateError } from '../device/errors.js'
import type { Tensor } from '../graph/tensor.js'

/** Gradients with respect to an operation's inputs, given those with respect to its outputs (null: none arrived). */
export type Vjp = (gradients: readonly (Tensor | null)[]) => readonly (Tensor | null)[]

export interface Operation {
  /** Grows with time. */
  readonly id: number
  readonly inputs: readonly Tensor[]
  readonly outputs: number
  readonly vjp: Vjp
  /** How often each input had been written in place when the operation was recorded. */
  readonly versions: readonly number[]
}

/** Fails when an input was overwritten since: its gradient would be computed with other values than its result. */
export function checkUnwritten({ inputs, versions }: Operation): void {
  inputs.forEach(({ node }, index) => {
    if (node.version === versions[index]) return
    throw new TensorStateError(
      `grad(): ${node.describe()} was written in place after it was used in what is differentiated. ` +
        `Take the gradient before the write, or use a copy() of it.`,
    )
  })
}

/** A tensor's place on the tape. */
export interface Origin {
  readonly operation: Operation
  readonly index: number
}

let enabled = true
let nextId = 1

/** The id of the operation that will be recorded next. */
export function nextOperation(): number {
  return nextId
}

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
  const operation: Operation = {
    id: nextId++,
    inputs,
    outputs: outputs.length,
    vjp,
    versions: inputs.map(({ node }) => node.version),
  }
  outputs.forEach((output, index) => {
    output.requiresGrad = true
    output.origin = { operation, index }
  })
}
