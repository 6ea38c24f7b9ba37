/**
 * Logit bias and penalties: sparse changes of a few logits per row, listed by the host, which knows the tokens of each
 * sequence. See `request.ts` for the order and the sources of the formulas.
 */
import { kernel, type Tensor } from '@revisual/tensor'
import type { SamplingOptions } from './request.js'

/** Change of one logit: s + bias, then divided (negative: multiplied) by the repetition penalty, then less `minus`. */
export interface LogitEdit {
  readonly id: number
  readonly bias: number
  readonly repetition: number
  readonly minus: number
}

export type EditOptions = Pick<
  SamplingOptions,
  'logitBias' | 'repetitionPenalty' | 'presencePenalty' | 'frequencyPenalty'
>

/**
 * The edits of a row, each id once.
 * @param promptIds distinct ids of the prompt.
 * @param counts how often each id is in the output.
 */
export function editsOf(
  options: EditOptions,
  promptIds: ReadonlySet<number>,
  counts: ReadonlyMap<number, number>,
): LogitEdit[] {
  const { logitBias, repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = options
  const repeats = repetitionPenalty !== 1
  const ids = new Set<number>(logitBias?.keys())
  if (repeats) for (const id of promptIds) ids.add(id)
  if (repeats || presencePenalty !== 0 || frequencyPenalty !== 0) for (const id of counts.keys()) ids.add(id)
  return Array.from(ids, (id) => {
    const count = counts.get(id) ?? 0
    return {
      id,
      bias: logitBias?.get(id) ?? 0,
      repetition: repeats && (count > 0 || promptIds.has(id)) ? repetitionPenalty : 1,
      minus: count > 0 ? presencePenalty + frequencyPenalty * count : 0,
    }
  })
}

const lanes = 64

/** Logits [B, V] with the edits of each row made. */
export function editLogits(logits: Tensor, edits: readonly (readonly LogitEdit[])[]): Tensor {
  const [rows, length] = logits.shape as readonly [number, number]
  const { device } = logits
  const flat = edits.flat()
  if (flat.length === 0) return logits
  const offsets = new Uint32Array(rows + 1)
  for (let row = 0; row < rows; row++) {
    offsets[row + 1] = (offsets[row] as number) + (edits[row]?.length ?? 0)
  }
  const changes = flat.flatMap(({ bias, repetition, minus }) => [bias, repetition, minus])
  const { edited } = kernel({
    name: 'edit_logits',
    inputs: {
      logits,
      offsets: device.tensor(offsets),
      ids: device.tensor(Uint32Array.from(flat, ({ id }) => id)),
      changes: device.tensor(Float32Array.from(changes)),
    },
    outputs: { edited: { shape: [rows, length], dtype: 'f32' } },
    params: { rows: ['u32', rows], length: ['u32', length] },
    workgroupSize: [lanes, 1, 1],
    dispatch: [rows, 1, 1],
    body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = wid.x;
  if (row >= params.rows) { return; }
  let base = row * params.length;
  for (var i = lidx; i < params.length; i += ${lanes}u) { store_edited(base + i, load_logits(base + i)); }
  storageBarrier();
  let end = load_offsets(row + 1u);
  for (var e = load_offsets(row) + lidx; e < end; e += ${lanes}u) {
    let at = base + load_ids(e);
    var s = load_logits(at) + load_changes(3u * e);
    let repetition = load_changes(3u * e + 1u);
    s = select(s / repetition, s * repetition, s < 0.0);
    store_edited(at, s - load_changes(3u * e + 2u));
  }
}`,
  })
  return edited
}
