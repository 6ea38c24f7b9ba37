/**
 * Log-probs and entropies of tokens straight from hidden states, without ever holding [T, V] logits. Logits are made
 * chunk by chunk over tokens and vocabulary and folded into four numbers a token (running maximum, Σeˣ, Σxeˣ, target
 * logit; the online softmax of arXiv 1805.02867). The gradient makes the chunks again:
 * dx_v = [dlogp·(1{v=target} − p_v) − dH·p_v·(log p_v + H)] / temperature.
 */
import { customGrad } from '../../autograd/grad.js'
import { ShapeError } from '../../device/errors.js'
import type { Tensor } from '../../graph/tensor.js'
import { add, div, eq, exp, mul, sub } from '../elementwise.js'
import { kernel } from '../kernel.js'
import { matmul } from '../matmul.js'
import { concat } from '../concat.js'
import { reshape, slice, transpose } from '../view.js'
import { rowGrid, rowLaunch, rowReductions } from './rows.js'

export interface LinearLogProbOptions {
  /** Logits are divided by this. A number or a tensor of one element; not differentiated. Default 1. */
  readonly temperature?: number | Tensor
  /** f32 `[V]` added to the logits: 0 keeps an entry, {@link DROPPED} leaves it out of the softmax. */
  readonly mask?: Tensor
  /** Most logits held at a time. Default 2²⁰ (4 MiB). */
  readonly chunkElements?: number
}

export interface TokenLogProbs {
  /** `[T]`, nats. */
  readonly logProbs: Tensor
  /** `[T]`, nats. */
  readonly entropies: Tensor
  /** `[T]`, 1 where no entry is more likely than the target, else 0. Has no gradient. */
  readonly top1: Tensor
}

/** Additive mask value that removes a vocabulary entry. */
export const DROPPED = -1e30

interface Chunk {
  readonly start: number
  readonly end: number
}

function chunks(total: number, size: number): Chunk[] {
  const count = Math.max(1, Math.ceil(total / size))
  const each = Math.ceil(total / count)
  return Array.from({ length: count }, (_, i) => ({ start: i * each, end: Math.min(total, (i + 1) * each) })).filter(
    ({ start, end }) => end > start,
  )
}

/** Folds a chunk of logits into the running statistics `[T, 4]`. */
function foldStatistics(logits: Tensor, targets: Tensor, previous: Tensor, firstEntry: number): Tensor {
  const [tokens = 0, entries = 0] = logits.shape
  const grid = rowGrid(logits.device, tokens, entries)
  const { next } = kernel({
    name: 'log-prob-statistics',
    inputs: { logits, targets, previous },
    outputs: { next: { shape: [tokens, 4], dtype: 'f32' } },
    params: { rows: ['u32', tokens], length: ['u32', entries], first: ['u32', firstEntry] },
    ...rowLaunch(grid),
    body: /* wgsl */ `
${rowReductions(grid, ['sum', 'max'])}
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let row = row_of(wid, lidx);
  let lane = lane_of(lidx);
  let valid = row < params.rows;
  let at = select(0u, row, valid);
  let length = select(0u, params.length, valid);
  let base = at * params.length;
  let oldTop = load_previous(at * 4u);
  var top = oldTop;
  for (var i = lane; i < length; i += LANES) { top = max(top, load_logits(base + i)); }
  top = row_max(top, lidx);
  var total = 0.0;
  var weighted = 0.0;
  var chosen = 0.0;
  let wanted = load_targets(at) - params.first;
  for (var i = lane; i < length; i += LANES) {
    let x = load_logits(base + i);
    let e = exp(x - top);
    total += e;
    weighted += e * x;
    if (i == wanted) { chosen = x; }
  }
  total = row_sum(total, lidx);
  weighted = row_sum(weighted, lidx);
  chosen = row_sum(chosen, lidx);
  if (lane == 0u && valid) {
    let keep = exp(oldTop - top);
    store_next(at * 4u, top);
    store_next(at * 4u + 1u, total + load_previous(at * 4u + 1u) * keep);
    store_next(at * 4u + 2u, weighted + load_previous(at * 4u + 2u) * keep);
    store_next(at * 4u + 3u, chosen + load_previous(at * 4u + 3u));
  }
}`,
  })
  return next
}

/** `[T, 4]` statistics → log-prob, entropy, log-sum-exp and whether the target is on top, `[T, 1]` each. */
function finish(statistics: Tensor): Record<'logProbs' | 'entropies' | 'logSums' | 'top1', Tensor> {
  const [tokens = 0] = statistics.shape
  return kernel({
    name: 'log-prob-finish',
    inputs: { statistics },
    outputs: {
      logProbs: { shape: [tokens, 1], dtype: 'f32' },
      entropies: { shape: [tokens, 1], dtype: 'f32' },
      logSums: { shape: [tokens, 1], dtype: 'f32' },
      top1: { shape: [tokens, 1], dtype: 'f32' },
    },
    params: { tokens: ['u32', tokens] },
    workgroupSize: [64, 1, 1],
    dispatch: [Math.ceil(tokens / 64), 1, 1],
    body: /* wgsl */ `
fn main_kernel(wid: vec3<u32>, lid: vec3<u32>, lidx: u32) {
  let t = wid.x * 64u + lidx;
  if (t >= params.tokens) { return; }
  let total = load_statistics(t * 4u + 1u);
  let logSum = load_statistics(t * 4u) + log(total);
  store_logSums(t, logSum);
  store_logProbs(t, load_statistics(t * 4u + 3u) - logSum);
  store_entropies(t, max(0.0, logSum - load_statistics(t * 4u + 2u) / total));
  store_top1(t, select(0.0, 1.0, load_statistics(t * 4u + 3u) >= load_statistics(t * 4u)));
}`,
  })
}

function checkOptions(vocabulary: number, options: LinearLogProbOptions): void {
  const { temperature = 1, mask, chunkElements = 1 } = options
  const size = typeof temperature === 'number' ? 1 : temperature.size
  if (size !== 1 || (typeof temperature === 'number' && !(temperature > 0))) {
    const value = typeof temperature === 'number' ? temperature : `a tensor of ${size} elements`
    throw new ShapeError(`linearLogProb(): temperature is ${value}; it must be one number above 0.`)
  }
  if (mask && (mask.rank !== 1 || mask.size !== vocabulary || mask.dtype !== 'f32')) {
    throw new ShapeError(
      `linearLogProb(): mask is ${mask.dtype}[${mask.shape.join(', ')}]; it must be f32 [${vocabulary}], one number for each entry.`,
    )
  }
  if (!(chunkElements >= 1)) {
    throw new ShapeError(`linearLogProb(): chunkElements is ${chunkElements}; it must be at least 1.`)
  }
}

/**
 * Log-probs of `targets`, entropies, and whether each target is a most likely entry, under softmax((hidden · weightᵀ + mask) / temperature).
 *
 * @param hidden `[T, H]`
 * @param weight `[V, H]` of any float type or quantised; it may exceed one binding, a chunk of its rows is read at a time.
 * @param targets u32 `[T]`
 * @throws {ShapeError} shapes do not fit, the vocabulary is empty, or an option is out of range.
 */
export function linearLogProb(
  hidden: Tensor,
  weight: Tensor,
  targets: Tensor,
  options: LinearLogProbOptions = {},
): TokenLogProbs {
  const [tokens = 0, width = 0] = hidden.shape
  const [vocabulary = 0, weightWidth] = weight.shape
  if (
    hidden.rank !== 2 ||
    weight.rank !== 2 ||
    width !== weightWidth ||
    vocabulary === 0 ||
    targets.size !== tokens ||
    targets.dtype !== 'u32'
  ) {
    throw new ShapeError(
      `linearLogProb(): hidden [${hidden.shape.join(', ')}], weight [${weight.shape.join(', ')}], targets ${targets.dtype}[${targets.shape.join(', ')}] ` +
        `must be [T, H], [V, H] with V ≥ 1, and u32 [T].`,
    )
  }
  checkOptions(vocabulary, options)
  const { device } = hidden
  const { mask, chunkElements = 2 ** 20, temperature = 1 } = options
  if (tokens === 0) return { logProbs: device.zeros([0]), entropies: device.zeros([0]), top1: device.zeros([0]) }
  const entryChunks = chunks(vocabulary, Math.min(vocabulary, 8192))
  const tokenChunks = chunks(tokens, Math.max(1, Math.floor(chunkElements / Math.min(vocabulary, 8192))))
  const logitsOf = (h: Tensor, w: Tensor, entries: Chunk): Tensor => {
    const raw = matmul(h, transpose(slice(w, 0, entries.start, entries.end)))
    const masked = mask ? add(raw, slice(mask, 0, entries.start, entries.end)) : raw
    return temperature === 1 ? masked : div(masked, temperature)
  }
  const outputs = customGrad((h, w) => {
    if (!h || !w) throw new ShapeError('linearLogProb(): missing operand.')
    const initial = (count: number) => concat([device.full([count, 1], -3e38), device.zeros([count, 3])], 1)
    const parts = tokenChunks.map(({ start, end }) => {
      const rows = slice(h, 0, start, end)
      const wanted = slice(targets, 0, start, end)
      let statistics = initial(end - start)
      for (const entries of entryChunks) {
        statistics = foldStatistics(logitsOf(rows, w, entries), wanted, statistics, entries.start)
      }
      return finish(statistics)
    })
    const join = (name: 'logProbs' | 'entropies' | 'logSums' | 'top1') =>
      concat(
        parts.map((part) => part[name]),
        0,
      )
    const entropies = join('entropies')
    const logSums = join('logSums')
    return {
      value: [reshape(join('logProbs'), [tokens]), reshape(entropies, [tokens]), reshape(join('top1'), [tokens])],
      vjp: (dLogProbs, dEntropies) => {
        let dWeight: Tensor | null = null
        const dHidden = tokenChunks.map(({ start, end }) => {
          const rows = slice(h, 0, start, end)
          const column = (x: Tensor) => slice(reshape(x, [tokens, 1]), 0, start, end)
          const logSum = column(logSums)
          let dRows: Tensor | null = null
          const dEntries = entryChunks.map((entries) => {
            const logits = logitsOf(rows, w, entries)
            const logP = sub(logits, logSum)
            const p = exp(logP)
            const shape = [end - start, entries.end - entries.start]
            let g: Tensor = device.zeros(shape)
            if (dLogProbs) {
              const ids = add(device.iota(shape, 1), entries.start)
              const hit = eq(ids, column(targets))
              g = mul(sub(hit, p), column(dLogProbs))
            }
            if (dEntropies) {
              const term = mul(mul(p, add(logP, column(entropies))), column(dEntropies))
              g = dLogProbs ? sub(g, term) : mul(term, -1)
            }
            const scaled = temperature === 1 ? g : div(g, temperature)
            if (h.requiresGrad) {
              const part = matmul(scaled, slice(w, 0, entries.start, entries.end))
              dRows = dRows ? add(dRows, part) : part
            }
            return w.requiresGrad ? matmul(transpose(scaled), rows) : null
          })
          if (w.requiresGrad) {
            const joined = concat(
              dEntries.flatMap((part) => (part ? [part] : [])),
              0,
            )
            dWeight = dWeight ? add(dWeight, joined) : joined
          }
          return dRows ?? device.zeros([end - start, width])
        })
        return [h.requiresGrad ? concat(dHidden, 0) : null, dWeight]
      },
    }
  })(hidden, weight)
  const [logProbs, entropies, top1] = outputs
  if (!logProbs || !entropies || !top1) throw new Error('Internal: linearLogProb made no outputs.')
  return { logProbs, entropies, top1: top1.detached() }
}
