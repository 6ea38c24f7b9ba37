/**
 * Generation with a key-value cache. All prompts are prefilled in one pass, each once however many samples it gets; then
 * every step advances all unfinished sequences by one token and brings one small record back to the host. Rows of finished
 * sequences are dropped when half of them are done. A sequence's randomness is a counter of (seed, sample index, step), so
 * what it draws does not depend on its neighbours.
 */
import {
  assign,
  concat,
  embedding,
  gather,
  linear,
  noGrad,
  sampleTokens,
  type Device,
  type Tensor,
} from '@revisual/tensor'
import { layoutOptions, layOutTokens } from '../network/batch.js'
import { headWeight } from '../network/decoder.js'
import { forward, type Network } from '../network/forward.js'
import {
  decoderLayers,
  joinProjections,
  normalizeFusedHeads,
  norms,
  type JoinedProjection,
  type Weights,
} from '../network/layers.js'
import { pickRows } from '../network/rows.js'
import type { ModelPrompt } from '../prompt.js'
import { decodeAttention } from './decode-attention.js'

export interface GenerationRequest {
  readonly prompt: ModelPrompt
  /** Samples wanted. */
  readonly n: number
  readonly seed: number
}

export interface GenerationOptions {
  readonly maxTokens: number
  /** 0 means greedy. */
  readonly temperature: number
  readonly topP?: number
  readonly topK?: number
  readonly stopIds: readonly number[]
  /** [V], added to the logits; see `samplingMask`. */
  readonly mask?: Float32Array
  readonly signal?: AbortSignal
}

export interface GeneratedSequence {
  readonly requestIndex: number
  readonly sampleIndex: number
  /** The stop id is the last element when `finishReason` is `stop`. */
  readonly ids: readonly number[]
  readonly logProbs: readonly number[]
  readonly finishReason: 'stop' | 'length' | 'aborted'
}

/** A sequence being generated. */
interface Slot {
  readonly requestIndex: number
  readonly sampleIndex: number
  readonly ids: number[]
  readonly logProbs: number[]
  finishReason: GeneratedSequence['finishReason'] | null
}

/** Slots the cache is grown by. */
const cacheBlock = 32

/** Completes the prompts. Results are ordered by (requestIndex, sampleIndex). */
export async function generate(
  network: Network,
  requests: readonly GenerationRequest[],
  options: GenerationOptions,
): Promise<GeneratedSequence[]> {
  const slots = requests.flatMap(({ n }, requestIndex) =>
    Array.from({ length: n }, (_, sampleIndex): Slot => ({
      requestIndex,
      sampleIndex,
      ids: [],
      logProbs: [],
      finishReason: null,
    })),
  )
  if (slots.length > 0 && options.maxTokens > 0) {
    using _scope = network.device.scope()
    await new Generation(network, requests, options, slots).run()
  }
  return slots.map(({ finishReason, ...slot }) => ({ ...slot, finishReason: finishReason ?? 'length' }))
}

/** The two words the sampler counts from. Seeds above 32 bits mix their upper bits into the second. */
function seedWords(seed: number, sampleIndex: number): [number, number] {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`generate(): seed is ${seed}; allowed: an integer from 0 to 2^53 - 1.`)
  }
  return [seed >>> 0, (sampleIndex ^ Math.imul(Math.floor(seed / 2 ** 32), 0x9e3779b1)) >>> 0]
}

class Generation {
  readonly #device: Device
  readonly #weights: Weights
  readonly #queryKeyValue: readonly JoinedProjection[]
  readonly #mask: Tensor | null
  readonly #stopIds: ReadonlySet<number>
  /** Per layer [P, length, 2·keyValueHeads, headSize]. */
  #prefixes: Tensor[] = []
  /** Per layer [capacity, B, 2·keyValueHeads, headSize]. */
  #caches: Tensor[] = []
  #active: Slot[]
  /** u32 [B, 2] for the attention kernel, and for the sampler. */
  #sequences!: Tensor
  #seeds!: Tensor

  constructor(
    private readonly network: Network,
    private readonly requests: readonly GenerationRequest[],
    private readonly options: GenerationOptions,
    slots: readonly Slot[],
  ) {
    const { device, weights, architecture } = network
    const { text } = architecture
    this.#device = device
    this.#weights = weights
    this.#active = [...slots]
    this.#stopIds = new Set(options.stopIds)
    this.#mask = options.mask ? device.tensor(options.mask) : null
    // Queries, keys and values in one product per step.
    this.#queryKeyValue = noGrad(() =>
      Array.from({ length: text.layers }, (_, layer) => {
        const names = ['q_proj', 'k_proj', 'v_proj'].map((name) => `model.layers.${layer}.self_attn.${name}`)
        return joinProjections(weights, names, text.attentionBias)
      }),
    )
  }

  async run(): Promise<void> {
    const { maxTokens, signal } = this.options
    await this.#device.eval(this.#queryKeyValue.flatMap(({ prepared }) => prepared))
    this.#describeRows()
    let sampled = await this.#sample(0, () => this.#prefill())
    for (let step = 1; ; step++) {
      const kept = this.#settle(sampled)
      if (this.#active.length === 0 || step === maxTokens) return
      if (signal?.aborted) {
        for (const slot of this.#active) slot.finishReason ??= 'aborted'
        return
      }
      if (kept) await this.#compact(kept)
      if ((step - 1) % cacheBlock === 0) await this.#growCaches(step - 1)
      sampled = await this.#sample(step, () => ({ logits: this.#decode(step - 1), keep: [] }))
    }
  }

  /** Samples from logits. Everything made on the way is freed, except what is to be kept. */
  async #sample(
    step: number,
    build: () => { readonly logits: Tensor; readonly keep: readonly Tensor[] },
  ): Promise<{ ids: Uint32Array; logProbs: Float32Array }> {
    const { temperature, topK, topP } = this.options
    using scope = this.#device.scope()
    const { ids, logProbs, keep } = noGrad(() => {
      const { logits, keep } = build()
      const sampled = sampleTokens(logits, {
        // As good as greedy, and 1 / temperature would overflow (checkpoints ship 1e-6).
        temperature: temperature < 1e-5 ? 0 : temperature,
        ...(topK ? { topK } : {}),
        ...(topP !== undefined && topP < 1 ? { topP } : {}),
        ...(this.#mask ? { mask: this.#mask } : {}),
        seeds: this.#seeds,
        step,
      })
      return { ...sampled, keep }
    })
    await this.#device.eval([ids, logProbs, ...keep])
    for (const tensor of keep) scope.keep(tensor)
    const [idValues, logProbValues] = await this.#device.read([ids, logProbs])
    return { ids: idValues as Uint32Array, logProbs: logProbValues as Float32Array }
  }

  /** Runs the prompts, once each: logits [B, V] of the first token of every sequence, and their keys and values. */
  #prefill(): { logits: Tensor; keep: readonly Tensor[] } {
    const { architecture } = this.network
    const { text } = architecture
    const sequences = this.requests.map(({ prompt }) => ({ prompt, continuation: [] }))
    const layout = layOutTokens(sequences, layoutOptions(architecture), 'rows')
    const { hidden, keyValues } = forward(this.network, layout)
    this.#prefixes = keyValues.map(({ keys, values }) =>
      concat([keys, values], 1).reshape([sequences.length, -1, 2 * text.keyValueHeads, text.headSize]),
    )
    const last = this.#active.map(({ requestIndex }) => layout.lastPromptPlace[requestIndex] as number)
    const rows = pickRows(hidden, Uint32Array.from(last))
    return { logits: linear(rows, headWeight(this.#weights, text)), keep: this.#prefixes }
  }

  /** Logits [B, V] after each sequence's newest token, the `step`-th it generated. */
  #decode(step: number): Tensor {
    const { text } = this.network.architecture
    const weights = this.#weights
    const ids = this.#device.tensor(Uint32Array.from(this.#active, (slot) => slot.ids.at(-1) ?? 0))
    const rotary = this.#rotaryAt(step)
    let x = embedding(weights('model.embed_tokens.weight'), ids)
    for (let layer = 0; layer < text.layers; layer++) {
      const at = `model.layers.${layer}`
      x = decoderLayers[text.layer](weights, text, at, x, (normed) => {
        const queryKeyValue = (this.#queryKeyValue[layer] as JoinedProjection).project(normed)
        return decodeAttention(text, {
          queryKeyValue: normalizeFusedHeads(weights, text, at, queryKeyValue),
          rotary,
          prefix: this.#prefixes[layer] as Tensor,
          sequences: this.#sequences,
          cache: this.#caches[layer] as Tensor,
          step,
        })
      })
    }
    return linear(norms[text.norm](weights, 'model.norm', x, text.normEpsilon), headWeight(weights, text))
  }

  /** [B, headSize]: cosines and sines at the position of each sequence's newest token. */
  #rotaryAt(step: number): Tensor {
    const { headSize } = this.network.architecture.text
    const batch = this.#active.length
    const half = headSize / 2
    const at = this.#active.map(
      ({ requestIndex }) => (this.requests[requestIndex] as GenerationRequest).prompt.nextPosition + step,
    )
    const { cos, sin } = this.network.textRotary.table(Int32Array.from([...at, ...at, ...at]))
    const joined = new Float32Array(batch * headSize)
    for (let row = 0; row < batch; row++) {
      joined.set(cos.subarray(row * half, (row + 1) * half), row * headSize)
      joined.set(sin.subarray(row * half, (row + 1) * half), row * headSize + half)
    }
    return this.#device.tensor(joined, [batch, headSize])
  }

  /** Takes a step's tokens in. Returns the rows to go on with when enough are finished. */
  #settle({ ids, logProbs }: { ids: Uint32Array; logProbs: Float32Array }): number[] | null {
    this.#active.forEach((slot, row) => {
      if (slot.finishReason) return
      slot.ids.push(ids[row] as number)
      slot.logProbs.push(logProbs[row] as number)
      if (this.#stopIds.has(ids[row] as number)) slot.finishReason = 'stop'
    })
    const unfinished = this.#active.flatMap((slot, row) => (slot.finishReason ? [] : [row]))
    if (unfinished.length === 0) this.#active = []
    return unfinished.length > 0 && unfinished.length <= this.#active.length / 2 ? unfinished : null
  }

  /** Uploads what the kernels must know of each row. */
  #describeRows(): void {
    const rows = this.#active
    const request = ({ requestIndex }: Slot) => this.requests[requestIndex] as GenerationRequest
    const pairs = (values: (slot: Slot) => readonly [number, number]) =>
      this.#device.tensor(Uint32Array.from(rows.flatMap((slot) => values(slot))), [rows.length, 2])
    this.#sequences = pairs((slot) => [slot.requestIndex, request(slot).prompt.ids.length])
    this.#seeds = pairs((slot) => seedWords(request(slot).seed, slot.sampleIndex))
  }

  /** Drops the rows of finished sequences. */
  async #compact(rows: readonly number[]): Promise<void> {
    this.#active = rows.map((row) => this.#active[row] as Slot)
    this.#sequences.dispose()
    this.#seeds.dispose()
    this.#describeRows()
    if (this.#caches.length === 0) return
    const index = this.#device.tensor(Uint32Array.from(rows))
    await this.#replaceCaches((old) => {
      const [capacity, , ...rest] = old.shape
      const next = this.#device.buffer([capacity as number, rows.length, ...rest])
      assign(next, gather(old.permute([1, 0, 2, 3]), index).permute([1, 0, 2, 3]))
      return next
    })
    index.dispose()
  }

  /** Makes room for another block of tokens behind the `filled` ones. */
  async #growCaches(filled: number): Promise<void> {
    const { text } = this.network.architecture
    const shape = [filled + cacheBlock, this.#active.length, 2 * text.keyValueHeads, text.headSize]
    if (filled === 0) {
      this.#caches = this.#prefixes.map(() => this.#device.buffer(shape))
      return
    }
    await this.#replaceCaches((old) => {
      const next = this.#device.buffer(shape)
      assign(next.slice(0, 0, filled), old)
      return next
    })
  }

  async #replaceCaches(replace: (old: Tensor) => Tensor): Promise<void> {
    const old = this.#caches
    this.#caches = noGrad(() => old.map(replace))
    await this.#device.eval([])
    for (const tensor of old) tensor.dispose()
  }
}
