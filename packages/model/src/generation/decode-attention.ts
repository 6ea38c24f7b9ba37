/**
 * Attention of one new token per sequence, in one kernel: rotates the query and the new key, appends key and value to the
 * sequence's cache, and attends over the prompt's keys (computed once and shared by all samples of the prompt) followed by
 * the sequence's own, with a running maximum and sum (online softmax, Milakov and Gimelshein, arXiv 1805.02867).
 * Generation needs no gradient, so there is none.
 *
 * Two forms of the same sums. `workgroup` gives a workgroup to each sequence and key-value head: parallel over keys, then
 * over the head's dimensions. `invocation` gives them one invocation, everything in registers and no barriers: what a CPU
 * that runs shaders wants.
 */
import { kernel, type Tensor } from '@revisual/tensor'
import type { TextArchitecture } from '../config/architecture.js'
import { invocationSource } from './decode-attention-invocation.js'
import { workgroupSource } from './decode-attention-workgroup.js'

export interface DecodeAttentionInput {
  /** [B, (heads + 2·keyValueHeads)·headSize]: queries, keys, values of the new tokens before rotation. */
  readonly queryKeyValue: Tensor
  /** [B, headSize]: cosines, then sines. */
  readonly rotary: Tensor
  /** [P, prefixLength, 2·keyValueHeads, headSize]: rotated keys, then values, of the prompts. */
  readonly prefix: Tensor
  /** u32 [B, 2]: prompt of each sequence, and its number of tokens. */
  readonly sequences: Tensor
  /** [capacity, B, 2·keyValueHeads, headSize] from `device.buffer`; slot `step` is written. */
  readonly cache: Tensor
  /** Tokens generated and cached so far. */
  readonly step: number
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
  const { queryKeyValue, rotary, prefix, sequences, cache, step } = input
  const batch = queryKeyValue.shape[0] as number
  const group = heads / keyValueHeads
  const size = workgroupSizes[form]
  const pairs = batch * keyValueHeads
  const { mixed } = kernel({
    name: `decode_attention_${form}`,
    inputs: { qkv: queryKeyValue, rotary, prefix, sequences },
    writes: { cache },
    outputs: { mixed: { shape: [batch, heads * headSize], dtype: 'f32' } },
    params: {
      batch: ['u32', batch],
      prefix_length: ['u32', prefix.shape[1] as number],
      step: ['u32', step],
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
