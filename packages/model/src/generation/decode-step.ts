/**
 * The two graphs generation runs: the prefill, which puts the keys and values of prompts into the cache, and the decode
 * step, which feeds one token per sequence. Both go through the layers that training uses; the decode step
 * brings an attention of its own.
 *
 * The prefill leaves out the last token of a prompt: it is the first one the decode loop feeds. So every sampled token
 * comes from the same graph, whenever its sample is admitted, and the output matrix meets no row that is not sampled from.
 */
import { linear, noGrad, type Tensor } from '@revisual/tensor'
import { layoutOptions, layOutTokens } from '../network/batch.js'
import { headWeight } from '../network/decoder.js'
import { forward, type Network } from '../network/forward.js'
import { decoderLayers, normalizeFusedHeads, norms } from '../network/layers.js'
import { pickRows } from '../network/rows.js'
import type { ModelPrompt } from '../prompt.js'
import { decodeAttention, encodeSlots, type SequenceSlots } from './decode-attention.js'
import type { DecodeWeights } from './decode-weights.js'
import { noSlot, type KeyValueCache } from './key-value-cache.js'

/** A prompt to prefill and the slot of each of its tokens but the last. */
export interface PrefillPrompt {
  readonly prompt: ModelPrompt
  readonly slots: readonly number[]
}

/** The prompt without its last token. */
function withoutLast(prompt: ModelPrompt): ModelPrompt {
  const size = prompt.ids.length
  const positions = new Int32Array(3 * (size - 1))
  for (let axis = 0; axis < 3; axis++) {
    positions.set(prompt.positions.subarray(axis * size, axis * size + size - 1), axis * (size - 1))
  }
  return { ...prompt, ids: prompt.ids.slice(0, -1), positions }
}

/** Runs prompts of at least two tokens through the model and stores what they leave in the cache. */
export async function prefill(
  network: Network,
  cache: KeyValueCache,
  prompts: readonly PrefillPrompt[],
): Promise<void> {
  const { device, architecture } = network
  using _scope = device.scope()
  noGrad(() => {
    const sequences = prompts.map(({ prompt }) => ({ prompt: withoutLast(prompt), continuation: [] }))
    const layout = layOutTokens(sequences, layoutOptions(architecture), 'packed')
    const places = new Uint32Array(layout.ids.length).fill(noSlot)
    prompts.forEach(({ slots }, index) => {
      places.set(slots, (layout.lastPromptPlace[index] as number) + 1 - slots.length)
    })
    const slots = device.tensor(places)
    const { keyValues } = forward(network, layout)
    keyValues.forEach(({ keys, values }, layer) => cache.store(layer, keys, values, slots))
  })
  await device.eval([])
}

/** A sequence in a decode step. */
export interface DecodeRow extends SequenceSlots {
  /** The token to feed. */
  readonly id: number
  /** Its position, the same on all three axes. */
  readonly position: number
}

/** Logits [B, V] after the given tokens, whose keys and values go into the cache. Call under `noGrad`. */
export function decodeLogits(
  network: Network,
  decodeWeights: DecodeWeights,
  cache: KeyValueCache,
  rows: readonly DecodeRow[],
): Tensor {
  const { device, architecture } = network
  const { text } = architecture
  const { weights } = decodeWeights
  const rotary = rotaryAt(
    network,
    rows.map(({ position }) => position),
  )
  const plan = device.tensor(encodeSlots(rows))
  const ids = Uint32Array.from(rows, ({ id }) => id)
  let x = pickRows(network.weights('model.embed_tokens.weight'), ids)
  for (let layer = 0; layer < text.layers; layer++) {
    const at = `model.layers.${layer}`
    x = decoderLayers[text.layer](weights, text, at, x, (normed) => {
      const queryKeyValue = normalizeFusedHeads(weights, text, at, decodeWeights.queryKeyValue(layer, normed))
      return decodeAttention(text, { queryKeyValue, rotary, plan, cache: cache.layer(layer) })
    })
  }
  const hidden = norms[text.norm](weights, 'model.norm', x, text.normEpsilon)
  return linear(hidden, headWeight(weights, text))
}

/** [B, headSize]: cosines and sines at text positions. */
function rotaryAt({ device, architecture, textRotary }: Network, positions: readonly number[]): Tensor {
  const half = architecture.text.headSize / 2
  const { cos, sin } = textRotary.table(Int32Array.from([...positions, ...positions, ...positions]))
  const joined = new Float32Array(positions.length * 2 * half)
  for (let row = 0; row < positions.length; row++) {
    joined.set(cos.subarray(row * half, (row + 1) * half), 2 * row * half)
    joined.set(sin.subarray(row * half, (row + 1) * half), (2 * row + 1) * half)
  }
  return device.tensor(joined, [positions.length, 2 * half])
}
