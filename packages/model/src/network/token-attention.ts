/**
 * How runs of rows attend: as a list of sequences the host made, and as the graph that follows it. Rows lie end to end;
 * nothing is padded, gathered or copied for attention's sake.
 */
import { AttentionPlan, flashAttention, type AttentionSequence, type Device, type Tensor } from '@revisual/tensor'

/** Mixes queries [N, heads, D] with keys and values [N, keyValueHeads, D] into [N, heads·D]. */
export type TokenAttention = (queries: Tensor, keys: Tensor, values: Tensor) => Tensor

/** Attention inside the given sequences, for any number of layers. */
export function tokenAttention(
  device: Device,
  sequences: readonly AttentionSequence[],
  options: { readonly causal: boolean },
): TokenAttention {
  const plan = new AttentionPlan(device, sequences, options)
  return (queries, keys, values) => {
    const mixed = flashAttention(queries, keys, values, { sequences: plan })
    return mixed.reshape([mixed.shape[0] as number, -1])
  }
}

/** A sequence for each of neighbouring runs of rows, which attends to itself. */
export function neighbouringRuns(lengths: readonly number[]): AttentionSequence[] {
  let start = 0
  return lengths.map((length) => {
    const rows = { start, length }
    start += length
    return { queries: rows, keys: rows }
  })
}
