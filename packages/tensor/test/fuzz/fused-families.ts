/**
 * How random programs come by the operations of `fused-operations.ts`, and by narrow operands: structure from one source
 * of randomness, sizes and data from the other, as everywhere in `generate.ts`.
 */
import { QUANTISED_WIDTH } from './fused-operations.js'
import type { Dim, Drawing, Value } from './generate.js'
import type { LeafDType } from './program.js'

const narrow = (draw: Drawing): LeafDType => draw.of<LeafDType>(['f32', 'bf16', 'f16'])

/** Cuts `total` rows into runs, some of them empty, some rows in none. */
function runs(draw: Drawing, total: number): [number, number][] {
  const found: [number, number][] = []
  for (let at = 0; at < total;) {
    const length = draw.below(total - at + 1)
    found.push([at, length])
    at += length + (draw.below(4) === 0 ? 1 : 0)
    if (length === 0 && draw.below(2) === 0) at++
  }
  return found
}

/** Packed sequences, caches longer and shorter than their queries, prefixes shared by several. */
export function raggedAttention(draw: Drawing): void {
  if (!draw.chance(0.6)) return
  const [rows, other, third] = [draw.of(draw.pool), draw.of(draw.pool), draw.of(draw.pool)]
  const keys = draw.derive(`${other.id}*${third.id}`, other.size * third.size, [other, third])
  const [width, valueWidth] = [draw.pool[0] as Dim, draw.chance(0.7) ? (draw.pool[0] as Dim) : (draw.pool[1] as Dim)]
  const keyHeads = draw.of([draw.one, draw.pool[2] as Dim])
  const heads = draw.chance(0.5) ? keyHeads : draw.derive(`${keyHeads.id}*3`, 3 * keyHeads.size)
  if (!draw.fits([rows, heads, width]) || !draw.fits([keys, keyHeads, width])) return
  const stored = narrow(draw)
  const operand = (dims: readonly Dim[]) => (stored === 'f32' ? draw.like(dims) : draw.stored(dims, stored))
  const [q, k, v] = [
    draw.like([rows, heads, width]),
    operand([keys, keyHeads, width]),
    operand([keys, keyHeads, valueWidth]),
  ]
  const sequences = runs(draw, rows.size).flatMap(([start, length]) => {
    const first = draw.below(keys.size)
    const prefix = draw.below(3) === 0 ? draw.below(keys.size) : 0
    return [start, length, first, draw.below(keys.size - first + 1), 0, prefix]
  })
  draw.apply('flashAttention', [q, k, v], [rows, heads, valueWidth], v.bound, { sequences, causal: draw.chance(0.5) })
}

export function tokenLogProb(draw: Drawing): void {
  const hidden = draw.any(2, 2)
  if (!hidden || hidden.bound > 4) return
  const [tokens, width] = hidden.dims as [Dim, Dim]
  const other = draw.of(draw.pool)
  const vocabulary = draw.derive(`${other.id}*${other.id}`, other.size * other.size, [other, other])
  if (!draw.fits([vocabulary, width])) return
  const weight = draw.chance(0.5) ? draw.like([vocabulary, width]) : draw.stored([vocabulary, width], narrow(draw))
  draw.apply('logProb', [hidden, weight], [tokens], 12, {
    targets: Array.from({ length: tokens.size }, () => draw.below(vocabulary.size)),
    temperature: draw.of([1, 0.75, 2]),
    chunkElements: draw.of([1, 100, 2 ** 20]),
  })
}

export function quantisedWeight(draw: Drawing): void {
  const x = draw.any(2)
  if (!x || x.bound > 6) return
  const wide = draw.derive('quantised', QUANTISED_WIDTH)
  const [bits, seed] = [draw.of([8, 4]), draw.below(1e6)]
  const inner = x.dims.at(-1) as Dim
  const lead = x.dims.slice(0, -1)
  if (inner.parts || !draw.fits([...x.dims, ...x.dims.slice(-1)])) return
  const out = draw.of(draw.pool)
  if (draw.chance(0.5)) {
    // Beyond the width of a weight nothing can be filled up.
    if (inner !== draw.one && !draw.pool.includes(inner)) return
    draw.apply('quantisedLinear', [x], [...lead, out], 8 * x.bound, { rows: out.size, bits, seed })
    return
  }
  const product = draw.apply('quantisedMatmul', [x], [...lead, wide], 8 * x.bound, { rows: inner.size, bits, seed })
  const [rows] = product.dims
  if (product.dims.length !== 2 || !rows || !draw.chance(0.5)) return
  const ids = Array.from({ length: rows.size }, () => draw.below(out.size))
  draw.apply('quantisedRows', [product], product.dims, product.bound + 1, { rows: out.size, bits, seed: seed + 1, ids })
}

export function rotate(draw: Drawing): void {
  const dims = [draw.of(draw.pool), draw.of(draw.pool), draw.pool[draw.int(2)] as Dim]
  const x = draw.like(dims)
  draw.apply('rotary', [x], dims, 2 * x.bound, { seed: draw.below(1e6) })
}

export function replaceRows(draw: Drawing): void {
  const x = draw.any(1)
  if (!x || x.dims[0] === draw.one) return
  const [first, ...rest] = x.dims as [Dim, ...Dim[]]
  const half = draw.derive(`${first.id}/2`, Math.ceil(first.size / 2))
  const rows = draw.like([half, ...rest])
  const start = draw.below(first.size)
  const places = Array.from({ length: half.size }, (_, i) => (start + i) % first.size)
  draw.apply('indexPut', [x, rows], x.dims, Math.max(x.bound, rows.bound), { rows: places })
}

export function positive(draw: Drawing): void {
  const x = draw.any()
  if (!x) return
  const op = draw.of(['log', 'sqrt', 'rsqrt', 'reciprocal'])
  draw.apply(op, [x], x.dims, op === 'rsqrt' || op === 'reciprocal' ? 2 : op === 'log' ? 5 : x.bound + 1)
}

/** Operands stored in 16 bits: products and rows of them, the larger of two, views and joins before they are widened. */
export function narrowOperands(draw: Drawing): void {
  const stored = draw.of<LeafDType>(['bf16', 'f16'])
  const x = draw.any(2)
  const kind = draw.int(4)
  if (kind === 0 && x) {
    const [out, inner] = [draw.of(draw.pool), x.dims.at(-1) as Dim]
    if (!draw.fits([...x.dims.slice(0, -1), out]) || !draw.fits([out, inner])) return
    const weight = draw.stored([out, inner], stored)
    draw.apply('linear', [x, weight, draw.leaf([out])], [...x.dims.slice(0, -1), out], 8 * x.bound + 1)
    return
  }
  const dims = [draw.of(draw.pool), draw.of(draw.pool)]
  const [a, b] = [draw.stored(dims, stored), draw.stored(dims, stored)]
  if (kind === 1) {
    const count = draw.of(draw.pool)
    const rows = Array.from({ length: count.size }, () => draw.below((dims[0] as Dim).size))
    draw.apply('embedding', [a], [count, dims[1] as Dim], 1, { rows })
    return
  }
  // Nothing that rounds: a fused chain rounds only where it is stored.
  let value: Value = kind === 2 ? draw.hidden(draw.of(['maximum', 'minimum']), [a, b], dims) : a
  if (kind === 3) {
    const twice = draw.derive(`${(dims[0] as Dim).id}+${(dims[0] as Dim).id}`, 2 * (dims[0] as Dim).size)
    value = draw.hidden('concat', [a, b], [twice, dims[1] as Dim], { axis: 0 })
  }
  const flipped = draw.hidden('permute', [value], value.dims.toReversed(), { axes: [1, 0] })
  draw.apply('widen', [flipped], flipped.dims, 2)
}

/** Two or three views, one on another. */
export function views(draw: Drawing): void {
  const before = draw.values.length
  draw.movement()
  for (let turn = 0; turn < 2; turn++) {
    const last = draw.values.at(-1)
    if (draw.values.length === before || !last || !draw.chance(0.8)) return
    draw.movement(last)
  }
}
