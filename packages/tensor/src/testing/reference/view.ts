/**
 * Operations that only move elements: each is a map from places of the result to places of the input (−1: a zero), so
 * one gather is their value and one scatter-add their gradient.
 */
import {
  at,
  axisOf,
  broadcastMap,
  coordinates,
  generate,
  position,
  sizeOfShape,
  zeros,
  type NdArray,
} from '../ndarray.js'
import type { DifferentiableOp, UnaryInputs } from './operation.js'

interface Move {
  readonly shape: readonly number[]
  readonly from: readonly number[]
}

function moving<Options>(
  plan: (shape: readonly number[], options: Options) => Move,
): DifferentiableOp<UnaryInputs, Options> {
  return {
    forward: ([x], options) => {
      const { shape, from } = plan(x.shape, options)
      return [generate(shape, (i) => ((from[i] ?? -1) < 0 ? 0 : at(x, from[i] ?? 0)))]
    },
    vjp: ([x], [gradient], options) => {
      const result = zeros(x.shape)
      plan(x.shape, options).from.forEach((place, i) => {
        if (place >= 0) result.data[place] = at(result, place) + at(gradient, i)
      })
      return [result]
    },
  }
}

function planBy(
  shape: readonly number[],
  source: readonly number[],
  fn: (coordinate: number[]) => number[] | null,
): Move {
  const from = Array.from({ length: sizeOfShape(shape) }, (_, i) => {
    const origin = fn(coordinates(i, shape))
    return origin ? position(origin, source) : -1
  })
  return { shape, from }
}

const inOrder = (shape: readonly number[]): Move => ({
  shape,
  from: Array.from({ length: sizeOfShape(shape) }, (_, i) => i),
})

function permuted(shape: readonly number[], axes: readonly number[]): Move {
  const order = axes.map((axis) => axisOf(axis, shape.length))
  const result = order.map((axis) => shape[axis] ?? 1)
  return planBy(result, shape, (coordinate) => shape.map((_, axis) => coordinate[order.indexOf(axis)] ?? 0))
}

function rowsOf(shape: readonly number[], indices: readonly number[]): Move {
  const last = (shape[0] ?? 1) - 1
  return planBy([indices.length, ...shape.slice(1)], shape, ([row = 0, ...rest]) => [
    Math.min(indices[row] ?? 0, last),
    ...rest,
  ])
}

export interface SliceOptions {
  readonly axis: number
  readonly start: number
  readonly end: number
}

export interface PadOptions {
  readonly axis: number
  readonly before: number
  readonly after: number
}

/** For each input, where its elements lie in the concatenation. */
function placesOf(inputs: readonly NdArray[], axis: number): { shape: number[]; places: number[][] } {
  const first = inputs[0]?.shape ?? []
  const along = axisOf(axis, first.length)
  const lengths = inputs.map(({ shape }) => shape[along] ?? 1)
  const shape = first.map((dimension, a) =>
    a === along ? lengths.reduce((sum, length) => sum + length, 0) : dimension,
  )
  let start = 0
  const places = inputs.map((input, n) => {
    const begin = start
    start += lengths[n] ?? 0
    return Array.from(input.data, (_, i) =>
      position(
        coordinates(i, input.shape).map((value, a) => (a === along ? value + begin : value)),
        shape,
      ),
    )
  })
  return { shape, places }
}

export const views = {
  reshape: moving<readonly number[]>((_, shape) => inOrder(shape)),
  permute: moving<readonly number[]>(permuted),
  /** Swaps the last two axes. */
  transpose: moving<void>((shape) => {
    const axes = shape.map((_, axis) => axis)
    return permuted(shape, [...axes.slice(0, -2), shape.length - 1, shape.length - 2])
  }),
  expand: moving<readonly number[]>((source, shape) => ({ shape, from: broadcastMap(source, shape) })),
  slice: moving<SliceOptions>((source, { axis, start, end }) => {
    const along = axisOf(axis, source.length)
    const shape = source.map((dimension, a) => (a === along ? end - start : dimension))
    return planBy(shape, source, (coordinate) => coordinate.map((value, a) => (a === along ? value + start : value)))
  }),
  pad: moving<PadOptions>((source, { axis, before, after }) => {
    const along = axisOf(axis, source.length)
    const length = source[along] ?? 1
    const shape = source.map((dimension, a) => (a === along ? before + dimension + after : dimension))
    return planBy(shape, source, (coordinate) => {
      const place = (coordinate[along] ?? 0) - before
      return place < 0 || place >= length ? null : coordinate.with(along, place)
    })
  }),
  /** Rows along axis 0; indices beyond the last row read the last. */
  gather: moving<readonly number[]>(rowsOf),
  /** Rows of a weight [V, H] at token ids. */
  embedding: moving<readonly number[]>(rowsOf),
  /** Inputs: x [R, …] and the rows [N, …] that replace those of x at the given distinct indices. */
  indexPut: {
    forward: ([x, rows], indices) => {
      const width = x.data.length / (x.shape[0] ?? 1)
      const data = x.data.slice()
      indices.forEach((row, n) => data.set(rows.data.subarray(n * width, (n + 1) * width), row * width))
      return [{ shape: x.shape, data }]
    },
    vjp: ([x, rows], [gradient], indices) => {
      const width = x.data.length / (x.shape[0] ?? 1)
      const kept = gradient.data.slice()
      for (const row of indices) kept.fill(0, row * width, (row + 1) * width)
      const moved = generate(rows.shape, (i) =>
        at(gradient, (indices[Math.floor(i / width)] ?? 0) * width + (i % width)),
      )
      return [{ shape: x.shape, data: kept }, moved]
    },
  } satisfies DifferentiableOp<readonly [NdArray, NdArray], readonly number[]>,
  concat: {
    forward: (inputs, axis) => {
      const { shape, places } = placesOf(inputs, axis)
      const result = zeros(shape)
      inputs.forEach((input, n) => places[n]?.forEach((place, i) => (result.data[place] = at(input, i))))
      return [result]
    },
    vjp: (inputs, [gradient], axis) => {
      const { places } = placesOf(inputs, axis)
      return inputs.map((input, n) => generate(input.shape, (i) => at(gradient, places[n]?.[i] ?? 0)))
    },
  } satisfies DifferentiableOp<readonly NdArray[], number>,
}
