/**
 * Scaled dot-product attention, composed of two matmuls and the masked softmax. It keeps the probabilities for the
 * gradient, [B, H, Lq, Lk] of them; grouped key-value heads are read by broadcasting, never repeated.
 */
import { ShapeError } from '../../device/errors.js'
import type { Tensor } from '../../graph/tensor.js'
import { matmul } from '../matmul.js'
import { reshape, transpose } from '../view.js'
import { maskedSoftmax, type MaskOptions } from './softmax.js'

/**
 * Attention of q `[B, H, Lq, D]` over k `[B, Hkv, Lk, D]`, v `[B, Hkv, Lk, Dv]` → `[B, H, Lq, Dv]`; query head i uses
 * key-value head ⌊i·Hkv/H⌋. The scale defaults to D^−½.
 *
 * @throws {ShapeError} H is not a multiple of Hkv, or shapes differ.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: MaskOptions = {}): Tensor {
  const [batch = 0, heads = 0, queries = 0, dimension = 0] = q.shape
  const [keyBatch, keyHeads = 0, keys, keyDimension] = k.shape
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
  const group = heads / keyHeads
  const query = reshape(q, [batch, keyHeads, group, queries, dimension])
  const key = reshape(k, [batch, keyHeads, 1, keys ?? 0, dimension])
  const value = reshape(v, [batch, keyHeads, 1, keys ?? 0, v.shape[3] ?? 0])
  const scores = matmul(query, transpose(key))
  const weights = maskedSoftmax(scores, { ...options, scale: options.scale ?? 1 / Math.sqrt(dimension) })
  return reshape(matmul(weights, value), [batch, heads, queries, v.shape[3] ?? 0])
}
