/**
 * Attention of one new token per sequence, in one kernel: rotates the query and the new key, appends key and value to the
 * cache, and attends over the sequence's slots with a running maximum and sum (online softmax, Milakov and Gimelshein, arXiv 1805.02867).
 * Where the keys of a sequence lie is a list of runs of neighbouring slots; sequences that share a prompt share its runs.
 * Generation needs no gradient, so there is none.
 *
 * Two forms of the same sums. `workgroup` gives a workgroup to each sequence and key-value head: parallel over keys, then
 * over the head's dimensions. `invocation` gives them one invocation, everything in registers and no barriers: what a CPU
 * that runs shaders wants.
 */
import { kernel, type Tensor } from '@revisual/tensor'
import type { TextArchitecture } from '../config/architecture.js'
import type { SlotRun } from './block-pool.js'
import { invocationSource } from './decode-attention-invocation.js'
import { workgroupSource } from './decode-attention-workgroup.js'

/** Where a sequence's keys lie. */
export interface SequenceSlots {
  /** Slot the new key and value go to: the last slot of the last run. */
  readonly newSlot: number
  /** All slots to attend to, in any order, none empty. */
  readonly runs: readonly SlotRun[]
}

export interface DecodeAttentionInput {
  /** [B, (heads + 2·keyValueHeads)·headSize]: queries, keys, values of the new tokens before rotation. */
  readonly queryKeyValue: Tensor
  /** [B, headSize]: cosines, then sines. */
  readonly rotary: Tensor
  /** From {@link encodeSlots}. */
  readonly plan: Tensor
  /** [slots, 2·keyValueHeads, headSize] keys, then values, from `device.buffer`. */
  readonly cache: Tensor
}

/**
 * The plan the kernel reads: for each of the B sequences the index of its first run in the plan, the number of its runs and
 * the new slot; then the runs, (start, length) each.
 */
export function encodeSlots(sequences: readonly SequenceSlots[]): Uint32Array {
  const runs = sequences.reduce((sum, sequence) => sum + sequence.runs.length, 0)
  const plan = new Uint32Array(3 * sequences.length + 2 * runs)
  let next = 3 * sequences.length
  sequences.forEach((sequence, row) => {
    plan.set([next, sequence.runs.length, sequence.newSlot], 3 * row)
    for (const { start, length } of sequence.runs) {
      plan.set([start, length], next)
      next += 2
    }
  })
  return plan
}

export type DecodeAttentionForm = 'workgroup' | 'invocation'

const workgroupSizes: Record<DecodeAttentionForm, number> = { workgroup: 64, invocation: 16 }

type Heads = Pick<TextArchitecture, 'heads' | 'keyValueHeads' | 'headSize'>

/** Registers the `invocation` form may take before it would spill. */
const maxInvocationValues = 512

/** The form that suits an adapter. */
export function decodeAttentionForm(
  isSoftware: boolean,
  { heads, keyValueHeads, headSize }: Heads,
): DecodeAttentionForm {
  const values = (2 * headSize * heads) / keyValueHeads
  return isSoftware && headSize % 8 === 0 && values <= maxInvocationValues ? 'invocation' : 'workgroup'
}

/** @returns [B, heads·headSize]. */
export function decodeAttention(
  text: Heads,
  input: DecodeAttentionInput,
  form = decodeAttentionForm(input.cache.device.info.isSoftware, text),
): Tensor {
  const { heads, keyValueHeads, headSize } = text
  const { queryKeyValue, rotary, plan, cache } = input
  const batch = queryKeyValue.shape[0] as number
  const group = heads / keyValueHeads
  const size = workgroupSizes[form]
  const pairs = batch * keyValueHeads
  const { mixed } = kernel({
    name: `decode_attention_${form}`,
    inputs: { qkv: queryKeyValue, rotary, plan },
    writes: { cache },
    outputs: { mixed: { shape: [batch, heads * headSize], dtype: 'f32' } },
    params: {
      batch: ['u32', batch],
      half: ['u32', headSize / 2],
      scale: ['f32', headSize ** -0.5],
    },
    constants: { D: headSize, G: group, KV: keyValueHeads, WG: size, OWNED: Math.ceil((group * headSize) / size) },
    workgroupSize: [size, 1, 1],
    dispatch: [form === 'workgroup' ? pairs : Math.ceil(pairs / size), 1, 1],
    body: form === 'workgroup' ? workgroupSource : invocationSource(group, headSize),
  })
  return mixed
}
