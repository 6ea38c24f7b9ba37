/**
 * Reductions over sets of axes.
 */
import { at, axisOf, coordinates, generate, map, position, sizeOfShape, zeros, type NdArray } from '../ndarray.js'
import type { DifferentiableOp, ReferenceOp, UnaryInputs } from './operation.js'

export interface ReduceOptions {
  /** Default: all. */
  readonly axes?: readonly number[]
  readonly keepDims?: boolean
}

interface Groups {
  /** Shape of the result. */
  readonly shape: readonly number[]
  /** For each input element, the result element it goes into. */
  readonly target: readonly number[]
}

function groupsOf(shape: readonly number[], { axes, keepDims = false }: ReduceOptions): Groups {
  const reduced = new Set((axes ?? shape.map((_, axis) => axis)).map((axis) => axisOf(axis, shape.length)))
  const kept = shape.map((dimension, axis) => (reduced.has(axis) ? 1 : dimension))
  const target = Array.from({ length: sizeOfShape(shape) }, (_, index) =>
    position(
      coordinates(index, shape).map((value, axis) => (reduced.has(axis) ? 0 : value)),
      kept,
    ),
  )
  return { shape: keepDims ? kept : kept.filter((_, axis) => !reduced.has(axis)), target }
}

function fold(x: NdArray, options: ReduceOptions, start: number, merge: (a: number, b: number) => number): NdArray {
  const { shape, target } = groupsOf(x.shape, options)
  const result = generate(shape, () => start)
  target.forEach((place, index) => {
    result.data[place] = merge(at(result, place), at(x, index))
  })
  return result
}

function extremum(
  start: number,
  merge: (a: number, b: number) => number,
): DifferentiableOp<UnaryInputs, ReduceOptions> {
  return {
    forward: ([x], options) => [fold(x, options, start, merge)],
    /** Elements equal to the extremum share its gradient. */
    vjp: ([x], [gradient], options) => {
      const { target } = groupsOf(x.shape, options)
      const best = fold(x, options, start, merge)
      const ties = zeros(best.shape)
      const isBest = (value: number, index: number) => value === at(best, target[index] ?? 0)
      x.data.forEach((value, index) => {
        const place = target[index] ?? 0
        if (isBest(value, index)) ties.data[place] = at(ties, place) + 1
      })
      return [
        map(x, (value, index) => {
          const place = target[index] ?? 0
          return isBest(value, index) ? at(gradient, place) / at(ties, place) : 0
        }),
      ]
    },
  }
}

function scaledSum(scale: (count: number) => number): DifferentiableOp<UnaryInputs, ReduceOptions> {
  const factor = (x: NdArray, result: NdArray) => scale(x.data.length / Math.max(1, result.data.length))
  return {
    forward: ([x], options) => {
      const total = fold(x, options, 0, (a, b) => a + b)
      return [map(total, (value) => value * factor(x, total))]
    },
    vjp: ([x], [gradient], options) => {
      const { target } = groupsOf(x.shape, options)
      return [map(x, (_, index) => at(gradient, target[index] ?? 0) * factor(x, gradient))]
    },
  }
}

export const reductions = {
  sum: scaledSum(() => 1),
  mean: scaledSum((count) => 1 / count),
  max: extremum(-Infinity, Math.max),
  min: extremum(Infinity, Math.min),
  /** The lowest index of equal elements; the axis is removed. */
  argmax: {
    forward: ([x], axis) => {
      const along = axisOf(axis, x.shape.length)
      const shape = x.shape.filter((_, a) => a !== along)
      const best = generate(shape, () => -1)
      const value = generate(shape, () => -Infinity)
      x.data.forEach((element, index) => {
        const coordinate = coordinates(index, x.shape)
        const place = position(coordinate.toSpliced(along, 1), shape)
        if (at(best, place) >= 0 && element <= at(value, place)) return
        best.data[place] = coordinate[along] ?? 0
        value.data[place] = element
      })
      return [best]
    },
  } satisfies ReferenceOp<UnaryInputs, number>,
}
