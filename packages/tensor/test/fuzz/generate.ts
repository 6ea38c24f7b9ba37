/**
 * Draws programs. Two sources of randomness: one decides the structure (operations, ranks, which axes are equal), the
 * other the sizes and data. Kernel texts depend on the structure alone, and compiling them is what takes the time, so
 * many programs of one structure are tried. To keep the two apart an axis is an object, and only its identity is looked
 * at when an operation is chosen.
 */
import type { Options } from './operations.js'
import * as fused from './fused-families.js'
import type { LeafDType, Program, Step } from './program.js'

/** An axis. Sums, products and halves of axes are axes, too. */
export interface Dim {
  readonly id: number
  readonly size: number
  readonly parts?: readonly [Dim, Dim]
}

export interface Value {
  readonly index: number
  readonly dims: readonly Dim[]
  /** Upper bound of what its elements can be, by structure alone. */
  readonly bound: number
}

/** mulberry32: small, fast and good enough to choose with. */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Beyond it a value is put through a sine, so that rounding errors stay small. */
const WILD = 12
const MOST_ELEMENTS = 3000

export class Drawing {
  readonly steps: Step[] = []
  values: Value[] = []
  private buffers: Value[] = []
  private readonly choose: () => number
  private readonly measure: () => number
  private readonly derived = new Map<string, Dim>()
  private nextDim = 1
  readonly one: Dim = { id: 0, size: 1 }
  readonly pool: Dim[]

  constructor(structure: number, sizes: number) {
    this.choose = generator(structure * 2 + 1)
    this.measure = generator(structure * 7919 + sizes * 104_729 + 13)
    // Multiples of four take other paths through the kernels than other sizes, so which they are is structure.
    this.pool = [4, 4, 1, 1].map((quantum) =>
      quantum === 4 ? this.dim(this.sizeOf([4, 8])) : this.dim(this.sizeOf([3, 5, 7, 1])),
    )
  }

  // ------------------------------------------------------------------------------------------ drawing

  int(below: number): number {
    return Math.floor(this.choose() * below)
  }

  chance(probability: number): boolean {
    return this.choose() < probability
  }

  of<T>(items: readonly T[]): T {
    return items[this.int(items.length)] as T
  }

  /** A number of the data, below `limit`. */
  below(limit: number): number {
    return Math.floor(this.measure() * limit)
  }

  private sizeOf(sizes: readonly number[]): number {
    return sizes[Math.floor(this.measure() * sizes.length)] as number
  }

  private dim(size: number): Dim {
    return { id: this.nextDim++, size }
  }

  derive(key: string, size: number, parts?: readonly [Dim, Dim]): Dim {
    const known = this.derived.get(key)
    if (known) return known
    const made = { ...this.dim(size), ...(parts ? { parts } : {}) }
    this.derived.set(key, made)
    return made
  }

  // ------------------------------------------------------------------------------------------ steps

  private push(step: Step): number {
    return this.steps.push(step) - 1
  }

  /** Data in a storage type, for operations that take it as it is. */
  stored(dims: readonly Dim[], dtype: LeafDType): Value {
    const seed = Math.floor(this.measure() * 1e6)
    const view = this.chance(0.2)
    const index = this.push({ kind: 'leaf', shape: dims.map(({ size }) => size), dtype, seed, view })
    return { index, dims, bound: dtype === 'i32' ? 3 : 1 }
  }

  leaf(dims: readonly Dim[], dtype: LeafDType = 'f32'): Value {
    const value = this.stored(dims, dtype)
    if (dtype !== 'f32') return this.apply('widen', [value], dims, value.bound)
    this.values.push(value)
    return value
  }

  apply(op: string, inputs: readonly Value[], dims: readonly Dim[], bound: number, options: Options = {}): Value {
    const index = this.push({ kind: 'apply', op, inputs: inputs.map((input) => input.index), options })
    const value = { index, dims, bound }
    if (bound > WILD) return this.apply('sin', [value], dims, 1)
    this.values.push(value)
    return value
  }

  /** A value that no later step chooses by itself, since it is not f32. */
  hidden(op: string, inputs: readonly Value[], dims: readonly Dim[], options: Options = {}): Value {
    const index = this.push({ kind: 'apply', op, inputs: inputs.map((input) => input.index), options })
    return { index, dims, bound: 2 }
  }

  freshLeaf(): void {
    const rank = this.of([1, 2, 2, 3, 3, 4])
    const dims: Dim[] = Array.from({ length: rank }, () => this.of([...this.pool, this.one]))
    if (!this.fits(dims)) dims.splice(0, dims.length - 2)
    this.leaf(dims, this.of<LeafDType>(['f32', 'f32', 'f32', 'f32', 'f16', 'bf16', 'i32']))
  }

  /** By structure: the pool's sizes are at most 8. */
  fits(dims: readonly Dim[]): boolean {
    const worst = (dim: Dim): number => (dim.id === 0 ? 1 : dim.parts ? worst(dim.parts[0]) * worst(dim.parts[1]) : 8)
    return dims.reduce((product, dim) => product * worst(dim), 1) <= MOST_ELEMENTS
  }

  any(minRank = 0, maxRank = Infinity): Value | undefined {
    const fitting = this.values.filter(({ dims }) => dims.length >= minRank && dims.length <= maxRank)
    return fitting.length === 0 ? undefined : this.of(fitting)
  }

  /** A value that broadcasts to the given axes: one that is there, or fresh data. */
  private partner(dims: readonly Dim[]): Value {
    const broadcasts = (value: Value) =>
      value.dims.length <= dims.length &&
      value.dims.every((dim, i) => dim === this.one || dim === dims[dims.length - value.dims.length + i])
    const there = this.values.filter(broadcasts)
    if (there.length > 0 && this.chance(0.7)) return this.of(there)
    const kept = dims.slice(this.chance(0.3) ? this.int(dims.length + 1) : 0)
    return this.leaf(kept.map((dim) => (this.chance(0.2) ? this.one : dim)))
  }

  like(dims: readonly Dim[]): Value {
    const there = this.values.filter((value) => same(value.dims, dims))
    return there.length > 0 && this.chance(0.7) ? this.of(there) : this.leaf(dims)
  }

  // ------------------------------------------------------------------------------------------ operations

  step(): void {
    const families = [
      () => this.unary(),
      () => this.unary(),
      () => this.binary(),
      () => this.binary(),
      () => this.binary(),
      () => this.select(),
      () => this.reduce(),
      () => this.reduce(),
      () => this.permute(),
      () => this.reshape(),
      () => this.slice(),
      () => this.join(),
      () => this.expand(),
      () => this.product(),
      () => this.product(),
      () => this.rows(),
      () => this.normalise(),
      () => this.attend(),
      () => this.checkpoint(),
      () => this.freshLeaf(),
      ...[
        fused.raggedAttention,
        fused.tokenLogProb,
        fused.quantisedWeight,
        fused.rotate,
        fused.replaceRows,
        fused.positive,
        fused.narrowOperands,
        fused.views,
      ].map((family) => () => {
        family(this)
      }),
    ]
    this.of(families)()
  }

  private unary(): void {
    const x = this.any()
    if (!x) return
    const { bound, dims } = x
    if (this.chance(0.2)) {
      const [scale, shift] = [this.of([0.5, -1.5, 2]), this.of([0, 1, -0.25])]
      this.apply('affine', [x], dims, Math.abs(scale) * bound + Math.abs(shift), { scale, shift })
      return
    }
    const bounds: Readonly<Record<string, number>> = {
      ...{ neg: bound, abs: bound, square: bound * bound, sin: 1, cos: 1, tanh: 1, sigmoid: 1, relu: bound },
      ...{ silu: bound, softplus: bound + 1, erf: 1, gelu: bound, exp: Math.exp(bound) },
    }
    const op = this.of(Object.keys(bounds))
    this.apply(op, [x], dims, bounds[op] as number)
  }

  private binary(): void {
    const a = this.any()
    if (!a) return
    const b = this.partner(a.dims)
    const op = this.of(['add', 'add', 'sub', 'mul', 'mul', 'ratio', 'maximum', 'minimum'])
    const bound = op === 'mul' ? a.bound * b.bound : op === 'ratio' ? a.bound : a.bound + b.bound
    const swap = op !== 'ratio' && this.chance(0.3)
    this.apply(op, swap ? [b, a] : [a, b], a.dims, bound)
  }

  private select(): void {
    const a = this.any()
    if (!a) return
    const [b, c] = [this.partner(a.dims), this.partner(a.dims)]
    // Compared with fresh data, so that nothing is equal but for rounding.
    const condition = this.apply(this.of(['lt', 'ge']), [c, this.leaf(c.dims)], c.dims, 1)
    this.apply('where', [condition, a, b], a.dims, Math.max(a.bound, b.bound))
  }

  private reduce(): void {
    const x = this.any(1)
    if (!x) return
    const all = x.dims.map((_, axis) => axis)
    const axes = this.chance(0.15) ? all : all.filter(() => this.chance(0.4))
    if (axes.length === 0) axes.push(this.int(x.dims.length))
    const keepDims = this.chance(0.5)
    const op = this.of(['sum', 'sum', 'mean', 'max', 'min'])
    const dims = keepDims
      ? x.dims.map((dim, axis) => (axes.includes(axis) ? this.one : dim))
      : x.dims.filter((_, axis) => !axes.includes(axis))
    this.apply(op, [x], dims, op === 'sum' ? x.bound * 4 ** axes.length : x.bound, { axes, keepDims })
  }

  /** A view: of the given value, or of any. */
  movement(x?: Value): void {
    const kinds = [() => this.permute(x), () => this.reshape(x), () => this.slice(x), () => this.expand(x)]
    this.of(kinds)()
  }

  private permute(x = this.any(2)): void {
    if (!x || x.dims.length < 2) return
    const axes = x.dims.map((_, axis) => axis)
    for (let i = axes.length - 1; i > 0; i--) {
      const j = this.int(i + 1)
      ;[axes[i], axes[j]] = [axes[j] as number, axes[i] as number]
    }
    this.apply(
      'permute',
      [x],
      axes.map((axis) => x.dims[axis] as Dim),
      x.bound,
      { axes },
    )
  }

  /** Merges two axes, splits a merged one, or adds one of size 1. */
  private reshape(x = this.any(1)): void {
    if (!x || x.dims.length < 1) return
    const at = this.int(x.dims.length)
    const [first, second] = [x.dims[at] as Dim, x.dims[at + 1]]
    let dims = [...x.dims]
    if (first.parts && this.chance(0.6)) dims.splice(at, 1, ...first.parts)
    else if (second && this.chance(0.8)) {
      dims.splice(at, 2, this.derive(`${first.id}*${second.id}`, first.size * second.size, [first, second]))
    } else dims.splice(at, 0, this.one)
    if (dims.length > 4) dims = dims.filter((dim) => dim !== this.one)
    if (dims.length > 5) return
    this.apply('reshape', [x], dims, x.bound, { shape: dims.map(({ size }) => size) })
  }

  private slice(x = this.any(1)): void {
    if (!x || x.dims.length < 1) return
    const axis = this.int(x.dims.length)
    const dim = x.dims[axis] as Dim
    const half = this.derive(`${dim.id}/2`, Math.ceil(dim.size / 2))
    const start = this.chance(0.5) ? 0 : dim.size - half.size
    if (dim === this.one) return
    const options = { axis, start, end: start + half.size }
    this.apply('slice', [x], x.dims.with(axis, half), x.bound, options)
  }

  private join(): void {
    const x = this.any(1)
    if (!x || !this.fits([...x.dims, ...x.dims.slice(0, 1)])) return
    const axis = this.int(x.dims.length)
    const dim = x.dims[axis] as Dim
    if (this.chance(0.4)) {
      const longer = this.derive(`${dim.id}+3`, dim.size + 3)
      this.apply('pad', [x], x.dims.with(axis, longer), x.bound, { axis, before: 1, after: 2 })
      return
    }
    const other = this.like(x.dims)
    const twice = this.derive(`${dim.id}+${dim.id}`, 2 * dim.size)
    this.apply('concat', [x, other], x.dims.with(axis, twice), Math.max(x.bound, other.bound), { axis })
  }

  private expand(x = this.any()): void {
    if (!x || x.dims.length > 3) return
    const dims = [this.of(this.pool), ...x.dims.map((dim) => (dim === this.one ? this.of(this.pool) : dim))]
    if (!this.fits(dims)) return
    this.apply('expand', [x], dims, x.bound, { shape: dims.map(({ size }) => size) })
  }

  private product(): void {
    const x = this.any(2)
    if (!x) return
    const inner = x.dims.at(-1) as Dim
    const lead = x.dims.slice(0, -1)
    const out = this.of(this.pool)
    if (this.chance(0.3) && this.fits([...lead, out])) {
      const [weight, bias] = [this.leaf([out, inner]), this.leaf([out])]
      this.apply('linear', [x, weight, bias], [...lead, out], 8 * x.bound + 1)
    } else if (this.chance(0.4)) {
      const rows = x.dims.at(-2) as Dim
      const axes = [...x.dims.keys()].map((axis, _, all) => (axis < all.length - 2 ? axis : 2 * all.length - 3 - axis))
      const flipped = this.apply('permute', [x], [...x.dims.slice(0, -2), inner, rows], x.bound, { axes })
      this.apply('matmul', [x, flipped], [...lead, rows], 8 * x.bound * x.bound)
    } else if (this.fits([...lead, out])) {
      const weight = this.leaf(this.chance(0.5) ? [inner, out] : [...x.dims.slice(0, -2), inner, out])
      this.apply('matmul', [x, weight], [...lead, out], 8 * x.bound)
    }
  }

  private rows(): void {
    const x = this.any(1)
    if (!x || x.dims[0] === this.one) return
    const count = this.of(this.pool)
    if (!this.fits([count, ...x.dims.slice(1)])) return
    const size = (x.dims[0] as Dim).size
    const rows = Array.from({ length: count.size }, () => Math.floor(this.measure() * size))
    const op = x.dims.length === 2 && this.chance(0.5) ? 'embedding' : 'gather'
    this.apply(op, [x], [count, ...x.dims.slice(1)], x.bound, { rows })
  }

  private normalise(): void {
    const x = this.any(1)
    if (!x) return
    const width = x.dims.at(-1) as Dim
    const op = this.of(['softmax', 'logSoftmax', 'rmsNorm', 'layerNorm', 'swiglu'])
    if (op === 'softmax') this.apply(op, [x], x.dims, 1)
    else if (op === 'logSoftmax') this.apply(op, [x], x.dims, 2 * x.bound + 3)
    else if (op === 'swiglu') {
      const other = this.like(x.dims)
      this.apply(op, [x, other], x.dims, x.bound * other.bound)
    } else {
      // Rows of a spread of their own: the gradient of a norm of nearly equal numbers is as wild as it gets.
      const spread = this.apply('add', [this.apply('sin', [x], x.dims, 1), this.leaf(x.dims)], x.dims, 2)
      const parameters = op === 'rmsNorm' ? [this.leaf([width])] : [this.leaf([width]), this.leaf([width])]
      this.apply(op, [spread, ...parameters], x.dims, 5)
    }
  }

  private attend(): void {
    if (!this.chance(0.5)) return
    const [batch, heads, length, width] = [this.one, this.of(this.pool), this.of(this.pool), this.of(this.pool)]
    const dims = [batch, heads, length, width]
    const [q, k, v] = [this.like(dims), this.like(dims), this.like(dims)]
    this.apply('attention', [q, k, v], dims, v.bound, { causal: this.chance(0.5) })
  }

  private checkpoint(): void {
    const x = this.any()
    if (!x) return
    const other = this.like(x.dims)
    this.apply('checkpointed', [x, other], x.dims, 1 + x.bound)
  }

  // ------------------------------------------------------------------------------------------ writes, evaluations

  /** One step that writes in place, or looks at what was written. */
  write(): void {
    const buffer = this.buffers.length > 0 && this.chance(0.7) ? this.of(this.buffers) : undefined
    if (!buffer) {
      const x = this.any(1)
      if (!x) return
      const index = this.push({ kind: 'buffer', shape: x.dims.map(({ size }) => size) })
      this.buffers.push({ ...x, index, bound: 0 })
      return
    }
    if (this.chance(0.4)) {
      const index = this.push({ kind: 'copy', buffer: buffer.index })
      this.values.push({ ...buffer, index, bound: 8 })
      return
    }
    const value = this.values.find(({ dims, bound }) => bound <= 2 && same(dims, buffer.dims)) ?? this.leaf(buffer.dims)
    if (this.chance(0.35)) {
      this.overwrite(buffer)
      return
    }
    const [rows, ...rest] = buffer.dims as [Dim, ...Dim[]]
    const half = this.derive(`${rows.id}/2`, Math.ceil(rows.size / 2))
    if (this.chance(0.5) || rows === this.one) {
      this.push({ kind: 'accumulate', buffer: buffer.index, value: value.index, start: 0, rows: rows.size })
      return
    }
    const part = this.apply('slice', [value], [half, ...rest], value.bound, { axis: 0, start: 0, end: half.size })
    this.push({
      kind: 'accumulate',
      buffer: buffer.index,
      value: part.index,
      start: rows.size - half.size,
      rows: half.size,
    })
  }

  /** Writes over half of any axis, or all of it; the value broadcasts now and then. */
  private overwrite(buffer: Value): void {
    const axis = this.int(buffer.dims.length)
    const dim = buffer.dims[axis] as Dim
    const part = dim !== this.one && this.chance(0.6) ? this.derive(`${dim.id}/2`, Math.ceil(dim.size / 2)) : dim
    const start = this.chance(0.5) ? 0 : dim.size - part.size
    const dims = buffer.dims.with(axis, part)
    const value = this.chance(0.3) ? this.leaf(dims.map((one) => (this.chance(0.5) ? this.one : one))) : this.like(dims)
    this.push({
      kind: 'assign',
      buffer: buffer.index,
      value: value.index,
      axis,
      start,
      end: start + part.size,
    })
  }

  /** What is not asked for at an evaluation may not be computable after it, when something was written. */
  evaluate(): void {
    const asked = this.values.filter((value) => this.steps[value.index]?.kind === 'leaf' || this.chance(0.6))
    this.push({ kind: 'evaluate', values: asked.map(({ index }) => index) })
    this.values = asked
  }

  get hasBuffers(): boolean {
    return this.buffers.length > 0
  }

  get bufferIndices(): number[] {
    return this.buffers.map(({ index }) => index)
  }
}

const same = (a: readonly Dim[], b: readonly Dim[]) => a.length === b.length && a.every((dim, i) => dim === b[i])

/** The program of a structure with some sizes and data. */
export function drawProgram(structure: number, sizes: number): Program {
  const drawing = new Drawing(structure, sizes)
  const [writes, evaluates] = [drawing.chance(0.4), drawing.chance(0.3)]
  drawing.freshLeaf()
  const length = 3 + drawing.int(7)
  for (let step = 0; step < length; step++) {
    if (writes && drawing.chance(0.35)) drawing.write()
    else if (evaluates && drawing.chance(0.2)) drawing.evaluate()
    else drawing.step()
  }
  const { steps } = drawing
  const isRead = new Set(steps.flatMap((step) => (step.kind === 'apply' ? step.inputs : [])))
  const ends = drawing.values
    .filter(({ index }) => !isRead.has(index) || drawing.chance(0.15))
    .map(({ index }) => index)
  return {
    steps,
    outputs: [...new Set([...ends, ...drawing.bufferIndices])],
    gradients: !(drawing.hasBuffers && evaluates),
  }
}
