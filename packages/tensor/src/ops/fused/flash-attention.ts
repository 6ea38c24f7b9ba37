/**
 * Attention over ragged batches that never holds its scores: sequences lie end to end in q, k and v, and a list says
 * which rows see which. Memory is O(rows), forward and backward. The kernels are in `kernels/attention.ts`, the lists
 * in `attention-plan.ts`; this module fits tensors to them and ties the passes together.
 */
import { customGrad } from '../../autograd/grad.js'
import type { Device } from '../../device/device.js'
import { ShapeError } from '../../device/errors.js'
import { contiguousLayout } from '../../graph/shape.js'
import { Tensor } from '../../graph/tensor.js'
import type { KernelParameter } from '../../graph/node.js'
import type { AttentionEngine } from '../../kernels/attention-engine.js'
import { subgroupEngine } from '../../kernels/attention-subgroups.js'
import { tileEngine } from '../../kernels/attention-tiles.js'
import { attentionText, type AttentionPass } from '../../kernels/attention.js'
import { kernel } from '../kernel.js'
import { copy } from '../elementwise.js'
import { AttentionPlan, type AttentionSequence } from './attention-plan.js'

export interface FlashAttentionOptions {
  /** Which rows see which: a list, or a plan made from one that serves several layers. */
  readonly sequences: AttentionPlan | readonly AttentionSequence[]
  /** A query sees its own keys only up to its place. Part of the plan when a plan is given. */
  readonly causal?: boolean
  /** Scores are multiplied by this. Default D^−½. */
  readonly scale?: number
  /**
   * @internal How the kernels are written: for one subgroup and registers, or for workgroup memory. Default: by adapter.
   */
  readonly engine?: 'subgroups' | 'tiles'
}

/** u32 `[Tq]` and `[Tk]`: a query sees keys of its own segment only, and nobody those of segment 0xffffffff. */
export interface RowSegments {
  readonly querySegments: Tensor
  readonly keySegments: Tensor
}

/** Largest head size; beyond, the registers of a row would not fit. */
const MAX_HEAD_SIZE = 256

/** True for head sizes the fused kernels take. */
export function isFusedHeadSize(size: number): boolean {
  return size > 0 && size % 4 === 0 && size <= MAX_HEAD_SIZE
}

/**
 * Attention of q `[Tq, H, D]` over k `[Tk, Hkv, D]` and v `[Tk, Hkv, Dv]` → `[Tq, H, Dv]`; f32, f16 or bf16 in, f32 out; query
 * head i uses key-value head ⌊i·Hkv/H⌋. Accumulates in f32. A query that sees no key gives 0 and passes no gradient.
 * D and Dv are multiples of 4 up to 256.
 *
 * @throws {ShapeError} shapes do not fit, or a sequence reaches beyond the rows there are.
 */
export function flashAttention(q: Tensor, k: Tensor, v: Tensor, options: FlashAttentionOptions): Tensor {
  const { sequences, causal = false } = options
  const plan = sequences instanceof AttentionPlan ? sequences : new AttentionPlan(q.device, sequences, { causal })
  if (sequences instanceof AttentionPlan && options.causal !== undefined) {
    throw new ShapeError('flashAttention(): give causal to the plan, not beside it.')
  }
  checkShapes(q, k, v, plan)
  return planAttention(q, k, v, { ...options, plan, segments: null })
}

export interface PlanAttentionOptions {
  readonly plan: AttentionPlan
  readonly segments: RowSegments | null
  readonly scale?: number
  readonly engine?: 'subgroups' | 'tiles'
}

/** {@link flashAttention} with shapes known to fit, and segments on the device. */
export function planAttention(q: Tensor, k: Tensor, v: Tensor, options: PlanAttentionOptions): Tensor {
  const [queries = 0, heads = 0] = q.shape
  const shape = [queries, heads, v.shape[2] ?? 0]
  if (shape.includes(0) || k.size === 0) return q.device.zeros(shape)
  return customGrad((queryRows, keyRows, valueRows) => {
    if (!queryRows || !keyRows || !valueRows) throw new ShapeError('flashAttention(): missing operand.')
    const passes = new AttentionPasses(queryRows, keyRows, valueRows, options)
    const { output, logSumExp } = passes.forward()
    return {
      value: output,
      vjp: (gradient) => {
        if (!gradient) return [null, null, null]
        const needs = [q, k, v].map((input) => input.requiresGrad)
        const stats = passes.statistics(output, logSumExp, gradient)
        const dq = needs[0] ? passes.queryGradient(gradient, stats) : null
        const { dk, dv } = needs[1] || needs[2] ? passes.keyGradients(gradient, stats) : { dk: null, dv: null }
        return [dq, dk, dv]
      },
    }
  })(q, k, v)
}

function checkShapes(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan): void {
  const [, heads = 0, size = 0] = q.shape
  const [keys, keyHeads = 0, keySize] = k.shape
  const text = `q [${q.shape.join(', ')}], k [${k.shape.join(', ')}], v [${v.shape.join(', ')}]`
  const fits =
    [q, k, v].every((x) => x.rank === 3) &&
    size === keySize &&
    keyHeads > 0 &&
    heads % keyHeads === 0 &&
    v.shape[0] === keys &&
    v.shape[1] === keyHeads
  if (!fits) {
    throw new ShapeError(
      `flashAttention(): ${text} must be [Tq, H, D], [Tk, Hkv, D], [Tk, Hkv, Dv] with H a multiple of Hkv.`,
    )
  }
  if (!isFusedHeadSize(size) || !isFusedHeadSize(v.shape[2] ?? 0)) {
    throw new ShapeError(
      `flashAttention(): ${text}: D and Dv must be multiples of 4 up to ${MAX_HEAD_SIZE}; pad them, or use attention().`,
    )
  }
  const other = [q, k, v].find(({ dtype }) => dtype !== 'f32' && dtype !== 'f16' && dtype !== 'bf16')
  if (other) throw new ShapeError(`flashAttention(): needs float tensors, got ${other.dtype}; cast first.`)
  if (plan.queryRows > (q.shape[0] ?? 0) || plan.keyRows > (keys ?? 0)) {
    throw new ShapeError(
      `flashAttention(): the sequences reach to query row ${plan.queryRows} and key row ${plan.keyRows}; there are ${q.shape[0]} and ${keys}.`,
    )
  }
}

/** A tensor `[T, heads, 4n]` as the kernels address it: rows in the buffer of its node. Places count numbers. */
interface Rows {
  readonly buffer: Tensor
  readonly offset: number
  readonly row: number
  readonly head: number
}

/** Reads a view in place where its rows are runs of whole vec4; copies it otherwise. */
function rowsOf(x: Tensor): Rows {
  const { shape, strides, offset } = x.layout
  const stride = (axis: number) => ((shape[axis] ?? 1) === 1 ? 0 : (strides[axis] ?? 0))
  const places = [offset, stride(0), stride(1)]
  if (strides[2] !== 1 || places.some((place) => place % 4 !== 0)) return rowsOf(copy(x))
  const [first = 0, row = 0, head = 0] = places
  return { buffer: new Tensor(x.device, x.node, contiguousLayout(x.node.shape)), offset: first, row, head }
}

/** Places in elements of `unit` numbers. */
function rowParameters(name: string, { offset, row, head }: Rows, unit: number): Record<string, KernelParameter> {
  return {
    [`${name}Offset`]: ['u32', offset / unit],
    [`${name}Row`]: ['u32', row / unit],
    [`${name}Head`]: ['u32', head / unit],
  }
}

/** Own rows per tile of the subgroup engine. Sixteen run up to twice as fast, and compile twice as long. */
function subgroupRows(side: 'queries' | 'keys', rows: number, plan: AttentionPlan): number {
  return rows >= 256 && !plan.hasShortRuns(side, 8) ? 16 : 8
}

function engineFor(
  device: Device,
  side: 'queries' | 'keys',
  rows: number,
  { plan, engine }: PlanAttentionOptions,
): AttentionEngine {
  const lanes = device.features.has('subgroups') ? device.info.subgroupSize : undefined
  const suits = lanes !== undefined && lanes >= 4 && lanes <= 16
  const wanted = engine ?? (device.info.isSoftware && suits ? 'subgroups' : 'tiles')
  if (wanted === 'tiles') return tileEngine
  if (!suits) throw new ShapeError(`flashAttention(): subgroups of ${lanes ?? 'varying size'} are not supported.`)
  return subgroupEngine(lanes, subgroupRows(side, rows, plan))
}

/** The passes over one set of operands. */
class AttentionPasses {
  private readonly device: Device
  private readonly q: Rows
  private readonly k: Rows
  private readonly v: Rows
  private readonly heads: number
  private readonly keyHeads: number
  private readonly width: number
  private readonly valueWidth: number
  private readonly scale: number

  constructor(
    private readonly queries: Tensor,
    private readonly keys: Tensor,
    private readonly values: Tensor,
    private readonly options: PlanAttentionOptions,
  ) {
    this.device = queries.device
    this.q = rowsOf(queries)
    this.k = rowsOf(keys)
    this.v = rowsOf(values)
    this.heads = queries.shape[1] ?? 1
    this.keyHeads = keys.shape[1] ?? 1
    this.width = queries.shape[2] ?? 0
    this.valueWidth = values.shape[2] ?? 0
    this.scale = options.scale ?? 1 / Math.sqrt(this.width)
  }

  forward(): { output: Tensor; logSumExp: Tensor } {
    const [rows = 0] = this.queries.shape
    const outputs = {
      o: { shape: [rows, this.heads, this.valueWidth], dtype: 'f32' },
      lse: { shape: [rows, this.heads], dtype: 'f32' },
    } as const
    const { o, lse } = this.run('forward', {}, outputs)
    return { output: o, logSumExp: lse }
  }

  /** `[Tq, H, 2]`: per query L · log2 e and D = Σ dO ∘ O. */
  statistics(output: Tensor, logSumExp: Tensor, gradient: Tensor): Tensor {
    const count = logSumExp.size
    const g = rowsOf(gradient)
    const { stats } = kernel({
      name: 'attention-statistics',
      inputs: { o: output, lse: logSumExp, g: g.buffer },
      outputs: { stats: { shape: [...logSumExp.shape, 2], dtype: 'f32' } },
      params: {
        count: ['u32', count],
        heads: ['u32', this.heads],
        width: ['u32', this.valueWidth / 4],
        ...rowParameters('g', g, 4),
      },
      vectors: ['o', 'g'],
      dispatch: [Math.ceil(count / 64), 1, 1],
      body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let i = wid.x * 64u + lidx;
  if (i >= params.count) { return; }
  let place = params.gOffset + (i / params.heads) * params.gRow + (i % params.heads) * params.gHead;
  var sum = vec4<f32>();
  for (var d = 0u; d < params.width; d++) { sum += load_o(i * params.width + d) * load_g(place + d); }
  store_stats(2u * i, load_lse(i) * ${Math.LOG2E});
  store_stats(2u * i + 1u, (sum.x + sum.y) + (sum.z + sum.w));
}`,
    })
    return stats
  }

  queryGradient(gradient: Tensor, stats: Tensor): Tensor {
    const outputs = { dq: { shape: this.queries.shape, dtype: 'f32' } } as const
    return this.run('queries', { g: rowsOf(gradient), stats }, outputs).dq
  }

  keyGradients(gradient: Tensor, stats: Tensor): { dk: Tensor; dv: Tensor } {
    const outputs = {
      dk: { shape: this.keys.shape, dtype: 'f32' },
      dv: { shape: this.values.shape, dtype: 'f32' },
    } as const
    return this.run('keys', { g: rowsOf(gradient), stats }, outputs)
  }

  /** Runs one pass. */
  private run<Output extends string>(
    pass: AttentionPass,
    extra: { readonly g?: Rows; readonly stats?: Tensor },
    outputs: Readonly<Record<Output, { readonly shape: readonly number[]; readonly dtype: 'f32' }>>,
  ): Record<Output, Tensor> {
    const { q, k, v, options } = this
    const { plan, segments } = options
    const side = pass === 'keys' ? 'keys' : 'queries'
    const rows = (side === 'keys' ? this.keys : this.queries).shape[0] ?? 0
    const engine = engineFor(this.device, side, rows, options)
    const { unit } = engine
    const [width, valueWidth] = [this.width / unit, this.valueWidth / unit]
    const list = plan.tiles(side, rows, engine.tileRows)
    const workgroups = list.tiles * (side === 'keys' ? this.keyHeads : this.heads)
    const { g, stats } = extra
    return kernel({
      name: `attention-${pass}`,
      inputs: {
        plan: list.words,
        q: q.buffer,
        k: k.buffer,
        v: v.buffer,
        ...(g && stats ? { g: g.buffer, stats } : {}),
        ...(segments ? { querySegments: segments.querySegments, keySegments: segments.keySegments } : {}),
      },
      outputs,
      params: {
        workgroups: ['u32', workgroups],
        heads: ['u32', this.heads],
        keyHeads: ['u32', this.keyHeads],
        group: ['u32', this.heads / this.keyHeads],
        width: ['u32', width],
        valueWidth: ['u32', valueWidth],
        four: ['u32', 4],
        rows: ['u32', engine.rows],
        scale: ['f32', this.scale * Math.LOG2E],
        factor: ['f32', this.scale],
        minusInfinity: ['u32', 0xff800000],
        ...rowParameters('q', q, unit),
        ...rowParameters('k', k, unit),
        ...rowParameters('v', v, unit),
        ...(g ? rowParameters('g', g, unit) : {}),
      },
      vectors: ['plan', ...(unit === 4 ? ['q', 'k', 'v', 'g', 'o', 'dq', 'dk', 'dv'] : [])],
      subgroups: engine.subgroups,
      workgroupSize: [engine.workgroupSize, 1, 1],
      dispatch: [workgroups, 1, 1],
      body: attentionText({ pass, engine, width, valueWidth, segmented: segments !== null }),
    })
  }
}
