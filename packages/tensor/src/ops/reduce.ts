/**
 * Reductions over any set of axes. One kernel reduces one run of neighbouring axes; a set with gaps is reduced run by
 * run, innermost first.
 */
import { record } from '../autograd/tape.js'
import { Node, readOf, type ReduceSpec } from '../graph/node.js'
import { contiguousLayout, isFloat, normaliseAxis, sizeOf, type DType, type Shape } from '../graph/shape.js'
import { Tensor } from '../graph/tensor.js'
import { kernel } from './kernel.js'
import { div, eq, mul } from './elementwise.js'
import { expand, reshape } from './view.js'

export type Axes = number | readonly number[]

function resolveAxes(x: Tensor, axes: Axes | undefined, what: string): number[] {
  if (axes === undefined) return x.shape.map((_, axis) => axis)
  const list = typeof axes === 'number' ? [axes] : axes
  return [...new Set(list.map((axis) => normaliseAxis(axis, x.rank, what)))].sort((a, b) => a - b)
}

function keptShape(shape: Shape, axes: readonly number[]): number[] {
  return shape.map((dimension, axis) => (axes.includes(axis) ? 1 : dimension))
}

/** Reduces a run of neighbouring axes. */
function reduceRun(x: Tensor, op: ReduceSpec['op'], start: number, end: number): Tensor {
  const outer = sizeOf(x.shape.slice(0, start))
  const reduced = sizeOf(x.shape.slice(start, end))
  const inner = sizeOf(x.shape.slice(end))
  const shape = x.shape.map((dimension, axis) => (axis >= start && axis < end ? 1 : dimension))
  const dtype: DType = isFloat(x.dtype) ? 'f32' : x.dtype
  const node = new Node({ kind: 'reduce', op, outer, reduced, inner }, [readOf(x.node, x.layout)], shape, dtype)
  return new Tensor(x.device, node, contiguousLayout(shape))
}

function reduceAxes(x: Tensor, op: ReduceSpec['op'], axes: readonly number[]): Tensor {
  let result = x
  let end = axes.length
  while (end > 0) {
    let start = end - 1
    while (start > 0 && axes[start - 1] === (axes[start] ?? 0) - 1) start--
    result = reduceRun(result, op, axes[start] ?? 0, (axes[end - 1] ?? 0) + 1)
    end = start
  }
  return result
}

function reduction(op: ReduceSpec['op']) {
  return (x: Tensor, axes?: Axes, keepDims = false): Tensor => {
    const list = resolveAxes(x, axes, `${op}()`)
    const kept = keptShape(x.shape, list)
    const full = list.length === 0 ? x : reduceAxes(x.detached(), op, list)
    const result = list.length === 0 ? x : new Tensor(full.device, full.node, full.layout)
    if (list.length > 0) {
      record([result], [x], ([gradient]) => {
        if (!gradient) return [null]
        if (op === 'sum') return [expand(gradient, x.shape)]
        // Elements equal to the extremum share the gradient, as torch.amax does.
        const mask = eq(x, expand(result.detached(), x.shape))
        const share = div(gradient, sum(mask, list, true))
        return [mul(mask, expand(share, x.shape))]
      })
    }
    return keepDims
      ? result
      : reshape(
          result,
          kept.filter((_, axis) => !list.includes(axis)),
        )
  }
}

/** Sum over axes (all by default), accumulated in f32; f16 gives f32. */
export const sum = reduction('sum')
/** Largest element; equal ones share the gradient. */
export const max = reduction('max')
/** Smallest element; equal ones share the gradient. */
export const min = reduction('min')

/** Arithmetic mean over axes (all by default). */
export function mean(x: Tensor, axes?: Axes, keepDims = false): Tensor {
  const list = resolveAxes(x, axes, 'mean()')
  const count = list.reduce((product, axis) => product * (x.shape[axis] ?? 1), 1)
  return mul(sum(x, list, keepDims), 1 / count)
}

/** Index of the largest element along an axis, the lowest one of equals; u32, the axis removed. */
export function argmax(x: Tensor, axis = -1): Tensor {
  const at = normaliseAxis(axis, x.rank, 'argmax()')
  const outer = sizeOf(x.shape.slice(0, at))
  const length = x.shape[at] ?? 1
  const inner = sizeOf(x.shape.slice(at + 1))
  const shape = x.shape.filter((_, index) => index !== at)
  const { y } = kernel({
    name: 'argmax',
    inputs: { x: x.detached() },
    outputs: { y: { shape, dtype: 'u32' } },
    params: { rows: ['u32', outer * inner], length: ['u32', length], inner: ['u32', inner] },
    workgroupSize: [64, 1, 1],
    dispatch: [outer * inner, 1, 1],
    constants: { LANES: 64 },
    body: /* wgsl */ `
var<workgroup> best: array<f32, 64>;
var<workgroup> place: array<u32, 64>;
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = wid.x;
  let base = (row / params.inner) * params.length * params.inner + row % params.inner;
  var value = -3.4028234e38;
  var index = 0xffffffffu;
  if (row < params.rows) {
    for (var i = lidx; i < params.length; i += LANES) {
      let x = f32(load_x(base + i * params.inner));
      if (x > value || index == 0xffffffffu) { value = x; index = i; }
    }
  }
  best[lidx] = value;
  place[lidx] = index;
  for (var half = LANES / 2u; half > 0u; half = half / 2u) {
    workgroupBarrier();
    if (lidx < half) {
      let other = lidx + half;
      if (place[other] != 0xffffffffu && (best[other] > best[lidx] || (best[other] == best[lidx] && place[other] < place[lidx]))) {
        best[lidx] = best[other];
        place[lidx] = place[other];
      }
    }
  }
  if (lidx == 0u && row < params.rows) { store_y(row, place[0]); }
}`,
  })
  return y
}
