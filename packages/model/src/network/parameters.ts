/**
 * The parameters of an architecture under the names checkpoints on the hub have, and their fresh values. Groups: `vision`
 * (tower and merger) and `text` (embeddings, decoder, head); a stage of training freezes by group.
 */
import type { Architecture } from '../config/architecture.js'

export interface ParameterSpec {
  readonly name: string
  readonly shape: readonly number[]
  readonly group: 'vision' | 'text'
  /** Weight decay reaches every parameter, norms and biases too, as with torch.optim.AdamW on `model.parameters()`. */
  readonly decay: true
}

/** Every parameter, in the order of the forward pass. */
export function parameterSpecs({ text, vision }: Architecture): ParameterSpec[] {
  const specs: ParameterSpec[] = []
  const visual = (name: string, ...shape: number[]) =>
    specs.push({ name: `visual.${name}`, shape, group: 'vision', decay: true })
  const textual = (name: string, ...shape: number[]) => specs.push({ name, shape, group: 'text', decay: true })

  const { hiddenSize: E, intermediateSize: F, patchSize, mergeSize } = vision
  const merged = E * mergeSize ** 2
  visual('patch_embed.proj.weight', E, vision.channels, vision.temporalPatchSize, patchSize, patchSize)
  for (let block = 0; block < vision.blocks; block++) {
    const at = `blocks.${block}`
    visual(`${at}.norm1.weight`, E)
    visual(`${at}.attn.qkv.weight`, 3 * E, E)
    visual(`${at}.attn.qkv.bias`, 3 * E)
    visual(`${at}.attn.proj.weight`, E, E)
    visual(`${at}.attn.proj.bias`, E)
    visual(`${at}.norm2.weight`, E)
    for (const [projection, rows, columns] of [
      ['gate_proj', F, E],
      ['up_proj', F, E],
      ['down_proj', E, F],
    ] as const) {
      visual(`${at}.mlp.${projection}.weight`, rows, columns)
      visual(`${at}.mlp.${projection}.bias`, rows)
    }
  }
  visual('merger.ln_q.weight', E)
  visual('merger.mlp.0.weight', merged, merged)
  visual('merger.mlp.0.bias', merged)
  visual('merger.mlp.2.weight', vision.outputSize, merged)
  visual('merger.mlp.2.bias', vision.outputSize)

  const { hiddenSize: H, intermediateSize: I, vocabularySize: V } = text
  const queries = text.heads * text.headSize
  const keys = text.keyValueHeads * text.headSize
  textual('model.embed_tokens.weight', V, H)
  for (let layer = 0; layer < text.layers; layer++) {
    const at = `model.layers.${layer}`
    textual(`${at}.input_layernorm.weight`, H)
    for (const [projection, rows] of [
      ['q_proj', queries],
      ['k_proj', keys],
      ['v_proj', keys],
    ] as const) {
      textual(`${at}.self_attn.${projection}.weight`, rows, H)
      if (text.attentionBias) textual(`${at}.self_attn.${projection}.bias`, rows)
    }
    textual(`${at}.self_attn.o_proj.weight`, H, queries)
    textual(`${at}.post_attention_layernorm.weight`, H)
    textual(`${at}.mlp.gate_proj.weight`, I, H)
    textual(`${at}.mlp.up_proj.weight`, I, H)
    textual(`${at}.mlp.down_proj.weight`, H, I)
  }
  textual('model.norm.weight', H)
  if (!text.tiedHead) textual('lm_head.weight', V, H)
  return specs
}

/** Number of trainable values. */
export function parameterCount(architecture: Architecture): number {
  return parameterSpecs(architecture).reduce((total, { shape }) => total + shape.reduce((size, n) => size * n, 1), 0)
}

/** Mixes a counter into 32 well-spread bits (finaliser of MurmurHash3, run over two words). */
function mix(seed: number, counter: number): number {
  let x = (seed ^ Math.imul(counter, 0x9e3779b1)) >>> 0
  for (const multiplier of [0x85ebca6b, 0xc2b2ae35]) {
    x = Math.imul(x ^ (x >>> 15), multiplier) ^ counter
    x ^= x >>> 13
  }
  return Math.imul(x, 0x27d4eb2f) >>> 0
}

/** FNV-1a of a name, so that a tensor's values depend on its name and not on its place. */
function hashName(name: string): number {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

/**
 * Fresh values as transformers initialises them: norms 1, biases 0, everything else normal with standard deviation
 * `initializerRange`. Counter-based: the same (seed, name, index) gives the same value everywhere.
 */
export function initialValues(spec: ParameterSpec, initializerRange: number, seed: number): Float32Array {
  const size = spec.shape.reduce((product, dimension) => product * dimension, 1)
  if (spec.name.endsWith('.bias')) return new Float32Array(size)
  if (spec.shape.length === 1) return new Float32Array(size).fill(1)
  const key = mix(seed >>> 0, hashName(spec.name))
  return Float32Array.from({ length: size }, (_, index) => {
    // Box–Muller; the first uniform is in (0, 1] so that its logarithm is finite.
    const u = (mix(key, 2 * index) + 1) / 2 ** 32
    const v = mix(key, 2 * index + 1) / 2 ** 32
    return initializerRange * Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v)
  })
}
