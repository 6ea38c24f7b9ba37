/**
 * How the tokens of a layout attend to each other: as a plan of host arrays, and as the graph that follows it.
 *
 * `rows`: tokens lie in rows [R, L]; a row holds one sequence or several told apart by segment ids; attention is causal by
 * place. `shared`: tokens lie end to end, each distinct prompt once, then the continuations. Every prompt and every
 * continuation becomes an attention row, whose keys are a prompt (none for prompt rows) followed by its own tokens.
 */
import { attention, type Device, type Tensor } from '@revisual/tensor'
import { pickRows } from './rows.js'

interface RowsPlan {
  readonly kind: 'rows'
  readonly rows: number
  readonly length: number
  /** [rows, length]; absent when every row is one sequence without padding. */
  readonly segments?: Uint32Array
}

interface SharedPlan {
  readonly kind: 'shared'
  readonly rows: number
  /** Queries of a row, padded. */
  readonly queries: number
  /** Keys of a row that belong to its prompt, padded; its own tokens follow, `queries` of them. */
  readonly prefix: number
  /** [rows·queries] place of each query's token, or none. */
  readonly queryPlaces: Uint32Array
  /** [rows·(prefix + queries)] place of each key's token, or none. */
  readonly keyPlaces: Uint32Array
  /** 0 for tokens, the padding segment for padding; shapes as above. */
  readonly querySegments: Uint32Array
  readonly keySegments: Uint32Array
  /** [N] index into the queries of each token. */
  readonly back: Uint32Array
}

export type AttentionPlan = RowsPlan | SharedPlan

/** Mixes rotated queries [N, heads, D] with rotated keys and values [N, keyValueHeads, D] into [N, heads·D]. */
export type TokenAttention = (queries: Tensor, keys: Tensor, values: Tensor) => Tensor

/** Uploads a plan. */
export function tokenAttention(device: Device, plan: AttentionPlan): TokenAttention {
  return plan.kind === 'rows' ? rowsAttention(device, plan) : sharedAttention(device, plan)
}

/** [R·L, heads·D] or [R·L, heads, D] as [R, heads, L, D]. */
const perHead = (x: Tensor, rows: number, headSize: number) =>
  x.reshape([rows, x.size / (rows * (x.shape[1] as number) * (x.shape[2] ?? 1)), -1, headSize]).permute([0, 2, 1, 3])

/** [R, heads, L, D] as [R·L, heads·D]. */
const flat = (x: Tensor) => {
  const [rows, heads, length, headSize] = x.shape as readonly [number, number, number, number]
  return x.permute([0, 2, 1, 3]).reshape([rows * length, heads * headSize])
}

function rowsAttention(device: Device, { rows, length, segments }: RowsPlan): TokenAttention {
  const uploaded = segments && device.tensor(segments, [rows, length])
  const mask = uploaded ? { querySegments: uploaded, keySegments: uploaded } : {}
  return (queries, keys, values) => {
    const headSize = queries.shape[2] as number
    const [q, k, v] = [queries, keys, values].map((x) => perHead(x, rows, headSize)) as [Tensor, Tensor, Tensor]
    return flat(attention(q, k, v, { causal: true, ...mask }))
  }
}

function sharedAttention(device: Device, plan: SharedPlan): TokenAttention {
  const { rows, queries: length, prefix, queryPlaces, keyPlaces, back } = plan
  const options = {
    causal: true,
    queryOffset: prefix,
    querySegments: device.tensor(plan.querySegments, [rows, length]),
    keySegments: device.tensor(plan.keySegments, [rows, prefix + length]),
  }
  return (queries, keys, values) => {
    const headSize = queries.shape[2] as number
    const picked = (x: Tensor, places: Uint32Array) =>
      perHead(pickRows(x.reshape([x.shape[0] as number, -1]), places), rows, headSize)
    const [q, k, v] = [picked(queries, queryPlaces), picked(keys, keyPlaces), picked(values, keyPlaces)]
    return pickRows(flat(attention(q, k, v, options)), back)
  }
}
