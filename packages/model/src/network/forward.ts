/** From laid-out tokens to hidden states: embed, run the vision tower, put visual tokens in place, decode. */
import type { Device } from '@revisual/tensor'
import type { Architecture } from '../config/architecture.js'
import type { TextRotary } from '../positions/rotary.js'
import type { TokenLayout } from './batch.js'
import { decoder, type DecoderInput, type DecoderOutput } from './decoder.js'
import type { Weights } from './layers.js'
import { noRow, pickRows } from './rows.js'
import { tokenAttention } from './token-attention.js'
import { visionBatch, visionTower } from './vision.js'

/** A network: an architecture with a set of weights on a device. */
export interface Network {
  readonly device: Device
  readonly architecture: Architecture
  readonly weights: Weights
  readonly textRotary: TextRotary
  /** See {@link DecoderInput}. Default false. */
  readonly checkpointLayers?: boolean
}

/** Tokens with the visual tokens of their images in place, [N, H]. Padding is zeros. */
function embedTokens(network: Network, layout: TokenLayout): Pick<DecoderInput, 'embedded' | 'deepStack'> {
  const { device, architecture, weights } = network
  const { ids, images, cells } = layout
  const embedding = weights('model.embed_tokens.weight')
  if (images.length === 0) return { embedded: pickRows(embedding, ids), deepStack: [] }
  const batch = visionBatch(images, architecture)
  const visual = visionTower(device, weights, architecture.vision, batch)
  // Each place takes its row from one of the two; the other gives zeros.
  const textRows = ids.map((id, place) => (cells[place] === noRow ? id : noRow))
  const visualRows = cells.map((cell) => (cell === noRow ? noRow : (batch.rowOfCell[cell] as number)))
  return {
    embedded: pickRows(embedding, textRows).add(pickRows(visual.merged, visualRows)),
    deepStack: visual.deepStack.map((tokens) => pickRows(tokens, visualRows)),
  }
}

/** Runs the model over a layout. */
export function forward(network: Network, layout: TokenLayout): DecoderOutput {
  const { device, architecture, weights, textRotary } = network
  const { cos, sin } = textRotary.table(layout.positions)
  const shape = [layout.ids.length, architecture.text.headSize / 2]
  return decoder(weights, architecture.text, {
    ...embedTokens(network, layout),
    cos: device.tensor(cos, shape),
    sin: device.tensor(sin, shape),
    attention: tokenAttention(device, layout.attention, { causal: true }),
    checkpointLayers: network.checkpointLayers ?? false,
  })
}
