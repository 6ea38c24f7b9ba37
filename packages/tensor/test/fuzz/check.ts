/** Runs a program on devices, compares with the reference, and makes what fails small. */
import type { Device } from '../../src/index.js'
import { assertClose, type Tolerance } from '../../src/testing/index.js'
import { printProgram } from './print.js'
import { actual, expected, type Program, type Result } from './program.js'
import { shrink } from './shrink.js'

const tolerance: Tolerance = { relative: 5e-4, absolute: 5e-4 }
/** About sixteen roundings of f32. */
const NOISE = 2e-6

/** What is wrong with a result; null when nothing is. */
function difference(result: Result, wanted: Result): string | null {
  try {
    wanted.values.forEach((values, i) => assertClose(result.values[i] ?? [], values, tolerance, wanted.names[i]))
    return null
  } catch (error) {
    return (error as Error).message
  }
}

/**
 * True when changing the data by a few roundings changes the result as much as the tolerance allows: next to a jump of
 * `max` or `where`, say. Nothing can be said of such a program.
 */
function isIllConditioned(program: Program, wanted: Result): boolean {
  const moved = [NOISE, -NOISE, 4 * NOISE].map((noise) => expected(program, noise))
  return moved.some((other) =>
    other.values.some((values, i) =>
      Array.from(values).some((value, j) => {
        const exact = wanted.values[i]?.[j] ?? NaN
        return !(Math.abs(value - exact) <= 1e-4 + 1e-4 * Math.abs(exact))
      }),
    ),
  )
}

export type Verdict =
  { readonly kind: 'agrees' | 'ill-conditioned' } | { readonly kind: 'differs'; readonly what: string }

/** One program on one device. */
export async function judge(device: Device, program: Program): Promise<Verdict> {
  const wanted = expected(program)
  let what: string | null
  try {
    what = difference(await actual(device, program), wanted)
  } catch (error) {
    what = String(error)
  }
  if (what === null) return { kind: 'agrees' }
  return isIllConditioned(program, wanted) ? { kind: 'ill-conditioned' } : { kind: 'differs', what }
}

/** The smallest program found that fails like the given one, as code. */
export async function explainFailure(device: Device, program: Program): Promise<string> {
  const fails = async (candidate: Program) => {
    try {
      return (await judge(device, candidate)).kind === 'differs'
    } catch {
      return false
    }
  }
  const small = await shrink(program, fails)
  const verdict = await judge(device, small)
  return `${verdict.kind === 'differs' ? verdict.what : 'it fails no more'}\n\n${printProgram(small)}\n`
}
