/**
 * Makes a failing program small: outputs, evaluations and writes are left out, values are replaced by fresh data or by
 * one of their operands, and what nobody needs any more is removed, for as long as the program still fails.
 */
import { shapesOf, type Program, type Step } from './program.js'

/** Steps read by a step. */
function readBy(step: Step): readonly number[] {
  if (step.kind === 'apply') return step.inputs
  if (step.kind === 'copy') return [step.buffer]
  if (isWrite(step)) return [step.buffer, step.value]
  return []
}

const isWrite = (step: Step) => step.kind === 'accumulate' || step.kind === 'assign'

/** Removes steps that nothing depends on, and renumbers the rest. */
export function prune(program: Program): Program {
  const needed = new Set(program.outputs)
  for (let index = program.steps.length - 1; index >= 0; index--) {
    const step = program.steps[index] as Step
    const writes = isWrite(step) && needed.has(step.buffer)
    if (needed.has(index) || writes) for (const read of readBy(step)) needed.add(read)
  }
  const kept = program.steps.flatMap((step, index) => {
    const isAsked = step.kind === 'evaluate' && step.values.some((value) => needed.has(value))
    const alive = isWrite(step) ? needed.has(step.buffer) : isAsked || needed.has(index)
    return alive ? [index] : []
  })
  const renamed = new Map(kept.map((old, index) => [old, index]))
  const to = (index: number) => renamed.get(index) as number
  const steps = kept.map((index): Step => {
    const step = program.steps[index] as Step
    if (step.kind === 'apply') return { ...step, inputs: step.inputs.map(to) }
    if (step.kind === 'copy') return { ...step, buffer: to(step.buffer) }
    if (isWrite(step)) return { ...step, buffer: to(step.buffer), value: to(step.value) }
    if (step.kind === 'evaluate') return { ...step, values: step.values.filter((value) => renamed.has(value)).map(to) }
    return step
  })
  return { ...program, steps, outputs: program.outputs.map(to) }
}

function* smaller(program: Program): Generator<Program> {
  const { steps, outputs } = program
  if (program.gradients) yield { ...program, gradients: false }
  if (outputs.length > 1) {
    for (const output of outputs) yield { ...program, outputs: [output] }
    for (const output of outputs) yield { ...program, outputs: outputs.filter((other) => other !== output) }
  }
  for (let index = steps.length - 1; index >= 0; index--) {
    const step = steps[index] as Step
    const without = steps.with(index, { kind: 'evaluate', values: [] })
    if (step.kind === 'evaluate' && step.values.length > 0) yield { ...program, steps: without }
    if (isWrite(step)) yield { ...program, steps: without }
    if (step.kind === 'leaf' && step.view) yield { ...program, steps: steps.with(index, { ...step, view: false }) }
    if (outputs.includes(index) && step.kind === 'apply') {
      // One step back: what the output was made of.
      yield {
        ...program,
        outputs: [...new Set(outputs.flatMap((output) => (output === index ? step.inputs : [output])))],
      }
    }
  }
  const shapes = shapesOf(program)
  for (let index = steps.length - 1; index >= 0; index--) {
    const step = steps[index] as Step
    if (step.kind !== 'apply') continue
    const shape = shapes[index]
    if (!shape) continue
    yield { ...program, steps: steps.with(index, { kind: 'leaf', shape, dtype: 'f32', seed: index, view: false }) }
    for (const input of step.inputs) {
      if (shapes[input]?.join() !== shape.join()) continue
      const rewire = (at: number) => (at === index ? input : at)
      yield {
        ...program,
        steps: steps.map((one) => (one.kind === 'apply' ? { ...one, inputs: one.inputs.map(rewire) } : one)),
        outputs: outputs.map(rewire),
      }
    }
  }
}

/** @param fails Whether a program still fails; a program that is no program at all does not. */
export async function shrink(
  program: Program,
  fails: (candidate: Program) => Promise<boolean>,
  limit = 400,
): Promise<Program> {
  let best = prune(program)
  let left = limit
  for (let found = true; found && left > 0;) {
    found = false
    for (const candidate of smaller(best)) {
      if (left-- <= 0) break
      const pruned = prune(candidate)
      if (JSON.stringify(pruned) === JSON.stringify(best) || !(await fails(pruned))) continue
      best = pruned
      found = true
      break
    }
  }
  return best
}
