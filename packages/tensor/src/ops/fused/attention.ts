/**
 * Scaled dot-product attention of dense batches. Every mask it knows is a list of runs or a segment id per row, so it is
 * `flash-attention.ts` over rows of the same tensors; a composition of two matmuls and the masked softmax, which keeps
 * the probabilities for the gradient, is its plain twin, takes the head sizes the kernels do not, and on a software GPU
 * the small unmasked batches that learn faster so.
 */
import { isRecording } from '../../autograd/tape.js'
import type { Device } from '../../device/device.js'
import { ShapeError } from '../../device/errors.js'
import type { Tensor } from '../../graph/tensor.js'
import { isContiguous } from '../../graph/shape.js'
import { matmul } from '../matmul.js'
import { reshape, transpose } from '../view.js'
import { AttentionPlan } from './attention-plan.js'
import { isFusedHeadSize, planAttention, type RowSegments } from './flash-attention.js'
import { checkSegments, maskedSoftmax, type MaskOptions } from './softmax.js'

export interface AttentionOptions extends MaskOptions {
  /**
   * `false`: two matmuls and a softmax, with all scores in memory. Default: for head sizes without a kernel; for segments
   * on devices with fewer than ten storage buffers a stage (WebGPU guarantees eight); and on a software GPU where that is
   * the faster way to a gradient: no mask, and at most 32 MiB of scores.
   */
  readonly fused?: boolean
}

/** Storage buffers the gradient to keys and values binds when rows have segments. */
const SEGMENT_BINDINGS = 10

/**
 * Attention of q `[B, H, Lq, D]` over k `[B, Hkv, Lk, D]`, v `[B, Hkv, Lk, Dv]` → `[B, H, Lq, Dv]`; query head i uses
 * key-value head ⌊i·Hkv/H⌋. The scale defaults to D^−½. Where D and Dv are multiples of 4 up to 256, scores are not held,
 * but for the cases that {@link AttentionOptions.fused} names.
 *
 * @throws {ShapeError} H is not a multiple of Hkv, or shapes differ.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const [batch = 0, heads = 0, queries = 0, dimension = 0] = q.shape
  const [keyBatch, keyHeads = 0, keys = 0, keyDimension] = k.shape
  const fits =
    q.rank === 4 &&
    k.rank === 4 &&
    v.rank === 4 &&
    batch === keyBatch &&
    dimension === keyDimension &&
    keyHeads > 0 &&
    heads % keyHeads === 0 &&
    v.shape[0] === batch &&
    v.shape[1] === keyHeads &&
    v.shape[2] === keys
  if (!fits) {
    throw new ShapeError(
      `attention(): q [${q.shape.join(', ')}], k [${k.shape.join(', ')}], v [${v.shape.join(', ')}] must be [B, H, Lq, D], [B, Hkv, Lk, D], ` +
        `[B, Hkv, Lk, Dv] with H a multiple of Hkv.`,
    )
  }
  checkSegments(options, batch, queries, keys, 'attention()')
  const { querySegments, keySegments } = options
  const hasBindings = !querySegments || q.device.limits.maxStorageBuffersPerShaderStage >= SEGMENT_BINDINGS
  const hasKernel = hasBindings && isFusedHeadSize(dimension) && isFusedHeadSize(v.shape[3] ?? 0)
  const isFused = options.fused ?? (hasKernel && !composedLearnsFaster(q, k, v, options))
  if (!isFused) return composedAttention(q, k, v, options)
  if (querySegments && keySegments) {
    const segments = {
      querySegments: reshape(querySegments, [batch * queries]),
      keySegments: reshape(keySegments, [batch * keys]),
    }
    return byRows(q, k, v, options, segments)
  }
  return [q, k, v].every(({ layout }) => isContiguous(layout))
    ? byHeads(q, k, v, options)
    : byRows(q, k, v, options, null)
}

/** Most bytes of scores that are kept for a gradient where that is faster than computing them again. */
const MOST_SCORE_BYTES = 32 * 2 ** 20

/**
 * True where the gradient is faster with the scores in memory. On a CPU rasteriser the products of the backward pass run
 * faster as matmuls than in the fused kernels, which make the scores twice again; a causal mask makes up for it, for the
 * fused kernels skip what it hides (docs/tensor.md).
 */
function composedLearnsFaster(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): boolean {
  const [batch = 0, heads = 0, queries = 0] = q.shape
  return (
    q.device.info.isSoftware &&
    !options.causal &&
    !options.querySegments &&
    isRecording() &&
    [q, k, v].some(({ requiresGrad }) => requiresGrad) &&
    4 * batch * heads * queries * (k.shape[2] ?? 0) <= MOST_SCORE_BYTES
  )
}

/** Plans of recent shapes: layers and steps repeat them. */
const plans = new WeakMap<Device, Map<string, AttentionPlan>>()
const KEPT_PLANS = 16

/** The plan of a shape: `sequences` sequences of `queries` rows, sequence i over block ⌊i / shared⌋ of `keys` rows. */
function planOf(
  device: Device,
  shape: { readonly sequences: number; readonly shared: number; readonly queries: number; readonly keys: number },
  { causal = false, queryOffset = 0 }: MaskOptions,
): AttentionPlan {
  const { sequences, shared, queries, keys } = shape
  const kept = plans.get(device) ?? new Map<string, AttentionPlan>()
  plans.set(device, kept)
  const key = [sequences, shared, queries, keys, causal ? queryOffset : 'all'].join(':')
  const known = kept.get(key)
  if (known) return known
  const list = Array.from({ length: sequences }, (_, index) => ({
    queries: { start: index * queries, length: queries },
    keys: { start: Math.floor(index / shared) * keys, length: keys },
    ...(causal ? { queryOffset } : {}),
  }))
  const plan = new AttentionPlan(device, list, { causal })
  const [oldest] = kept.keys()
  if (kept.size >= KEPT_PLANS && oldest !== undefined) kept.delete(oldest)
  kept.set(key, plan)
  return plan
}

/** Every head of every row of the batch is a sequence: what lies heads first is read as it lies. */
function byHeads(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
  const [batch = 0, heads = 0, queries = 0] = q.shape
  const [, keyHeads = 1, keys = 0] = k.shape
  const rows = (x: Tensor) => reshape(x, [-1, 1, x.shape[3] ?? 0])
  const shape = { sequences: batch * heads, shared: heads / keyHeads, queries, keys }
  const plan = planOf(q.device, shape, options)
  const mixed = planAttention(rows(q), rows(k), rows(v), { ...flashOptions(options), plan, segments: null })
  return reshape(mixed, [batch, heads, queries, v.shape[3] ?? 0])
}

/** Every row of the batch is a sequence: what lies rows first is read as it lies. */
function byRows(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions, segments: RowSegments | null): Tensor {
  const [batch = 0, heads = 0, queries = 0] = q.shape
  const keys = k.shape[2] ?? 0
  const rows = (x: Tensor) =>
    x.permute([0, 2, 1, 3]).reshape([batch * (x.shape[2] ?? 0), x.shape[1] ?? 0, x.shape[3] ?? 0])
  const plan = planOf(q.device, { sequences: batch, shared: 1, queries, keys }, options)
  const mixed = planAttention(rows(q), rows(k), rows(v), { ...flashOptions(options), plan, segments })
  return mixed.reshape([batch, queries, heads, v.shape[3] ?? 0]).permute([0, 2, 1, 3])
}

function flashOptions({ scale }: AttentionOptions): { readonly scale?: number } {
  return scale === undefined ? {} : { scale }
}

/** The plain twin: keeps the probabilities, [B, H, Lq, Lk]; grouped heads are read by broadcasting, never repeated. */
function composedAttention(q: Tensor, k: Tensor, v: Tensor, options: MaskOptions): Tensor {
  const [batch = 0, heads = 0, queries = 0, dimension = 0] = q.shape
  const [, keyHeads = 1, keys = 0] = k.shape
  const group = heads / keyHeads
  const query = reshape(q, [batch, keyHeads, group, queries, dimension])
  const key = reshape(k, [batch, keyHeads, 1, keys, dimension])
  const value = reshape(v, [batch, keyHeads, 1, keys, v.shape[3] ?? 0])
  const scores = matmul(query, transpose(key))
  const weights = maskedSoftmax(scores, { ...options, scale: options.scale ?? 1 / Math.sqrt(dimension) })
  return reshape(matmul(weights, value), [batch, heads, queries, v.shape[3] ?? 0])
}
