/**
 * Reverse-mode differentiation over the tape. The result is again a lazy graph: forward, backward and update become
 * one plan.
 */
import { ShapeError } from '../device/errors.js'
import { isFloat, sameShape } from '../graph/shape.js'
import { Tensor } from '../graph/tensor.js'
import { add } from '../ops/elementwise.js'
import { checkUnwritten, enableGrad, isRecording, nextOperation, noGrad, record, type Operation } from './tape.js'

export interface GradOptions {
  /** Gradients of the outputs; default ones, which needs outputs of one element. */
  readonly gradOutputs?: readonly Tensor[]
  /** Called as soon as the gradient of an input is complete, in the order in which that happens. */
  readonly onGradient?: (index: number, gradient: Tensor) => void
}

/** Tensors whose history is not looked into. */
type Boundary = ReadonlySet<Tensor>

const makerOf = (tensor: Tensor, boundary: Boundary): Operation | undefined =>
  boundary.has(tensor) ? undefined : tensor.origin?.operation

/** Operations the outputs depend on, each after all operations that use its results. */
function reverseOrder(outputs: readonly Tensor[], boundary: Boundary): Operation[] {
  const users = new Map<Operation, number>()
  const visit = [...outputs]
  const seen = new Set<Operation>()
  for (let tensor = visit.pop(); tensor; tensor = visit.pop()) {
    const operation = makerOf(tensor, boundary)
    if (!operation || seen.has(operation)) continue
    seen.add(operation)
    for (const input of operation.inputs) {
      const maker = makerOf(input, boundary)
      if (maker && input.requiresGrad) users.set(maker, (users.get(maker) ?? 0) + 1)
      visit.push(input)
    }
  }
  const ready = [...seen].filter((operation) => !users.has(operation))
  const order: Operation[] = []
  for (let operation = ready.pop(); operation; operation = ready.pop()) {
    order.push(operation)
    for (const input of operation.inputs) {
      const maker = makerOf(input, boundary)
      if (!maker || !input.requiresGrad) continue
      const left = (users.get(maker) ?? 1) - 1
      users.set(maker, left)
      if (left === 0) ready.push(maker)
    }
  }
  return order
}

/**
 * Gradients of the outputs (their sum, weighted by `gradOutputs`) with respect to `inputs`; zeros where there is no
 * path. The gradients are lazy.
 *
 * @throws {ShapeError} an output has more than one element and no `gradOutputs` are given, or shapes differ.
 * @throws {TensorStateError} something that was differentiated has been written in place since.
 */
export function grad(
  outputs: Tensor | readonly Tensor[],
  inputs: readonly Tensor[],
  options: GradOptions = {},
): Tensor[] {
  return gradients(outputs, inputs, options, new Set())
}

function gradients(
  outputs: Tensor | readonly Tensor[],
  inputs: readonly Tensor[],
  options: GradOptions,
  boundary: Boundary,
): Tensor[] {
  const roots: readonly Tensor[] = Array.isArray(outputs) ? outputs : [outputs as Tensor]
  return noGrad(() => {
    const leafGradients = new Map<Tensor, Tensor>()
    const pending = new Map<Operation, (Tensor | null)[]>()
    const wanted = new Map(inputs.map((input, index) => [input, index]))
    const arrive = (tensor: Tensor, gradient: Tensor) => {
      if (!sameShape(tensor.shape, gradient.shape)) {
        throw new ShapeError(
          `grad(): a gradient of shape [${gradient.shape.join(', ')}] arrived for a tensor of shape [${tensor.shape.join(', ')}].`,
        )
      }
      if (wanted.has(tensor)) {
        const sum = leafGradients.get(tensor)
        leafGradients.set(tensor, sum ? add(sum, gradient) : gradient)
      }
      if (!tensor.origin || boundary.has(tensor)) return
      const { operation, index } = tensor.origin
      const slots = pending.get(operation) ?? new Array<Tensor | null>(operation.outputs).fill(null)
      const sum = slots[index]
      slots[index] = sum ? add(sum, gradient) : gradient
      pending.set(operation, slots)
    }
    roots.forEach((root, index) => {
      const given = options.gradOutputs?.[index]
      if (!given && root.size !== 1) {
        throw new ShapeError(
          `grad(): output ${index} has shape [${root.shape.join(', ')}]; give gradOutputs, or reduce it to one element.`,
        )
      }
      arrive(root, given ?? root.device.ones(root.shape))
    })
    const order = reverseOrder(roots, boundary)
    const usersLeft = new Map<Tensor, number>()
    for (const { inputs: used } of order) {
      for (const input of used) if (wanted.has(input)) usersLeft.set(input, (usersLeft.get(input) ?? 0) + 1)
    }
    for (const operation of order) {
      const slots = pending.get(operation)
      pending.delete(operation)
      if (slots) checkUnwritten(operation)
      const gradients = slots ? operation.vjp(slots) : []
      operation.inputs.forEach((input, index) => {
        const gradient = gradients[index]
        if (gradient && input.requiresGrad) arrive(input, gradient)
        const left = (usersLeft.get(input) ?? 0) - 1
        usersLeft.set(input, left)
        const position = wanted.get(input)
        const complete = leafGradients.get(input)
        if (left === 0 && position !== undefined && complete) options.onGradient?.(position, complete)
      })
    }
    return inputs.map((input) => leafGradients.get(input) ?? input.device.zeros(input.shape))
  })
}

/** What the function given to {@link customGrad} returns. */
export interface CustomResult<Value extends Tensor | readonly Tensor[]> {
  readonly value: Value
  /** Gradients with respect to the inputs, one per input; null for none. Missing output gradients arrive as null. */
  readonly vjp: (...gradients: (Tensor | null)[]) => readonly (Tensor | null)[]
}

/**
 * An operation with a gradient of its own. `fn` computes the value (unrecorded) and returns it with its vector-Jacobian
 * product; what the product needs, it closes over.
 *
 * @throws {ShapeError} `fn` does not return that; or, from `grad`, the product does not give one gradient of the right
 * shape, or null, for every input.
 */
export function customGrad<Value extends Tensor | readonly Tensor[]>(
  fn: (...inputs: Tensor[]) => CustomResult<Value>,
): (...inputs: Tensor[]) => Value {
  return (...inputs) => {
    const result = noGrad(() => fn(...inputs))
    checkResult(result)
    const { value, vjp } = result
    // A tensor that has a place on the tape already, as an input has, would lose it.
    const own = (output: Tensor) => (output.requiresGrad || inputs.includes(output) ? output.detached() : output)
    const outputs = (Array.isArray(value) ? (value as readonly Tensor[]) : [value as Tensor]).map(own)
    record(outputs, inputs, (gradients) => {
      const found = vjp(...gradients)
      checkVjp(found, inputs)
      return found
    })
    return (Array.isArray(value) ? outputs : outputs[0]) as Value
  }
}

/** Callers may be plain JavaScript, and a result of another form would give gradients of zero in silence. */
function checkResult(result: unknown): void {
  const { value, vjp } = (result ?? {}) as { readonly value?: unknown; readonly vjp?: unknown }
  const values: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (values.every((one) => one instanceof Tensor) && typeof vjp === 'function') return
  throw new ShapeError(
    'customGrad(): the function must return { value, vjp }: a tensor or an array of tensors, and a function from their gradients to those of the inputs.',
  )
}

function checkVjp(found: unknown, inputs: readonly Tensor[]): void {
  if (!Array.isArray(found) || found.length !== inputs.length) {
    const what = Array.isArray(found) ? `an array of ${found.length}` : String(found)
    throw new ShapeError(
      `customGrad(): the vjp returned ${what} for ${inputs.length} inputs; return an array with a gradient for each, null for none.`,
    )
  }
  found.forEach((gradient: Tensor | null | undefined, index) => {
    const { shape } = inputs[index] as Tensor
    if (!gradient || (sameShape(gradient.shape, shape) && isFloat(gradient.dtype))) return
    throw new ShapeError(
      `customGrad(): the vjp gave ${gradient.dtype}[${gradient.shape.join(', ')}] as the gradient of input ${index}, which is [${shape.join(', ')}]; ` +
        `gradients are floats of the shape of their input. Sum over what was broadcast.`,
    )
  })
}

/** Tensors that want a gradient and were made before operation `first`, among what the outputs were made of since. */
function closedOver(outputs: readonly Tensor[], first: number, inputs: ReadonlySet<Tensor>): Tensor[] {
  const found = new Set<Tensor>()
  const seen = new Set<Tensor>()
  const visit = [...outputs]
  for (let tensor = visit.pop(); tensor; tensor = visit.pop()) {
    if (seen.has(tensor) || !tensor.requiresGrad || inputs.has(tensor)) continue
    seen.add(tensor)
    if (tensor.origin && tensor.origin.operation.id >= first) visit.push(...tensor.origin.operation.inputs)
    else found.add(tensor)
  }
  return [...found]
}

/**
 * `fn(...inputs)`, whose intermediates are not kept for the backward pass but computed again there: activation memory
 * for one more forward pass. `fn` must be a pure function of its inputs and of what it closes over, which gets its
 * gradients, too.
 */
export function checkpoint<Value extends Tensor | readonly Tensor[]>(
  fn: (...inputs: Tensor[]) => Value,
  ...inputs: Tensor[]
): Value {
  if (!isRecording()) return fn(...inputs)
  const run = () => {
    const first = nextOperation()
    const fresh = inputs.map((input) => input.detached(input.requiresGrad))
    const value = enableGrad(() => fn(...fresh))
    const outputs: readonly Tensor[] = Array.isArray(value) ? value : [value as Tensor]
    return { fresh, value, outputs, closed: closedOver(outputs, first, new Set(fresh)) }
  }
  const { value, outputs, closed } = run()
  const results = outputs.map((output) => output.detached())
  record(results, [...inputs, ...closed], (arrived) => {
    const again = run()
    const used = again.outputs.flatMap((output, index) => {
      const gradient = arrived[index]
      return gradient ? [{ output, gradient }] : []
    })
    const wanted = [...again.fresh, ...closed]
    const found = gradients(
      used.map(({ output }) => output),
      wanted,
      { gradOutputs: used.map(({ gradient }) => gradient) },
      new Set(closed),
    )
    return wanted.map((tensor, index) => (tensor.requiresGrad ? (found[index] ?? null) : null))
  })
  return (Array.isArray(value) ? results : results[0]) as Value
}
