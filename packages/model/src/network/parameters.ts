/**
 * The parameters of an architecture and their fresh values. Names are those of Qwen2.5-VL on the hub (`visual.…`, `model.…`,
 * `lm_head.weight`) in every family; files of some families have other prefixes. Groups: `vision` (tower and mergers) and `text` (embeddings, decoder, head); a stage of training freezes by group.
 */
import type {
  Architecture,
  FeedForward,
  Merger,
  NormKind,
  TextArchitecture,
  VisionArchitecture,
} from '../config/architecture.js'
import { normParameters } from './layers.js'

export interface ParameterSpec {
  readonly name: string
  readonly shape: readonly number[]
  readonly group: 'vision' | 'text'
  /** Weight decay reaches every parameter, norms and biases too, as with torch.optim.AdamW on `model.parameters()`. */
  readonly decay: true
}

/** Every parameter, in the order of the forward pass. */
export function parameterSpecs({ text, vision }: Architecture): ParameterSpec[] {
  return [...visionSpecs(vision), ...textSpecs(text)]
}

/** Collects parameters of one group. */
class SpecList {
  readonly specs: ParameterSpec[] = []

  constructor(
    private readonly group: ParameterSpec['group'],
    private readonly prefix: string,
  ) {}

  add(name: string, ...shape: number[]): void {
    this.specs.push({ name: `${this.prefix}${name}`, shape, group: this.group, decay: true })
  }

  norm(kind: NormKind, name: string, width: number): void {
    for (const parameter of normParameters[kind]) this.add(`${name}.${parameter}`, width)
  }

  linear(name: string, rows: number, columns: number, bias: boolean): void {
    this.add(`${name}.weight`, rows, columns)
    if (bias) this.add(`${name}.bias`, rows)
  }

  feedForward({ gate, up, down }: FeedForward, name: string, width: number, inner: number, bias: boolean): void {
    if (gate !== undefined) this.linear(`${name}.${gate}`, inner, width, bias)
    this.linear(`${name}.${up}`, inner, width, bias)
    this.linear(`${name}.${down}`, width, inner, bias)
  }
}

function visionSpecs(vision: VisionArchitecture): ParameterSpec[] {
  const { hiddenSize: E, intermediateSize: F, patchSize, mergeSize } = vision
  const list = new SpecList('vision', 'visual.')
  const joined = E * mergeSize ** 2
  const merger = ({ name, norm, normAfterJoin, first, second }: Merger) => {
    list.norm(vision.norm, `${name}.${norm}`, normAfterJoin ? joined : E)
    list.linear(`${name}.${first}`, joined, joined, true)
    list.linear(`${name}.${second}`, vision.outputSize, joined, true)
  }
  list.add('patch_embed.proj.weight', E, vision.channels, vision.temporalPatchSize, patchSize, patchSize)
  if (vision.patchBias) list.add('patch_embed.proj.bias', E)
  if (vision.positionTableSide !== null) list.add('pos_embed.weight', vision.positionTableSide ** 2, E)
  for (let block = 0; block < vision.blocks; block++) {
    const at = `blocks.${block}`
    list.norm(vision.norm, `${at}.norm1`, E)
    list.linear(`${at}.attn.qkv`, 3 * E, E, true)
    list.linear(`${at}.attn.proj`, E, E, true)
    list.norm(vision.norm, `${at}.norm2`, E)
    list.feedForward(vision.mlp, `${at}.mlp`, E, F, true)
  }
  merger(vision.merger)
  for (const entry of vision.deepStack) merger(entry.merger)
  return list.specs
}

function textSpecs(text: TextArchitecture): ParameterSpec[] {
  const { hiddenSize: H, intermediateSize: I, vocabularySize: V, headSize } = text
  const list = new SpecList('text', '')
  const queries = text.heads * headSize
  const keys = text.keyValueHeads * headSize
  list.add('model.embed_tokens.weight', V, H)
  for (let layer = 0; layer < text.layers; layer++) {
    const at = `model.layers.${layer}`
    list.norm(text.norm, `${at}.input_layernorm`, H)
    list.linear(`${at}.self_attn.q_proj`, queries, H, text.attentionBias)
    list.linear(`${at}.self_attn.k_proj`, keys, H, text.attentionBias)
    list.linear(`${at}.self_attn.v_proj`, keys, H, text.attentionBias)
    if (text.queryKeyNorm) {
      list.norm('rms', `${at}.self_attn.q_norm`, headSize)
      list.norm('rms', `${at}.self_attn.k_norm`, headSize)
    }
    list.linear(`${at}.self_attn.o_proj`, H, queries, false)
    list.norm(text.norm, `${at}.post_attention_layernorm`, H)
    list.feedForward(text.mlp, `${at}.mlp`, H, I, false)
  }
  list.norm(text.norm, 'model.norm', H)
  if (!text.tiedHead) list.linear('lm_head', V, H, false)
  return list.specs
}

/** Name in a file of a parameter. */
export function fileName({ filePrefixes }: Pick<Architecture, 'filePrefixes'>, name: string): string {
  for (const [own, prefix] of [
    ['visual.', filePrefixes.vision],
    ['model.', filePrefixes.text],
  ] as const) {
    if (name.startsWith(own)) return `${prefix}${name.slice(own.length)}`
  }
  return name
}

/** Name of a parameter whose tensor has a name under any convention: hub, or in-memory of transformers ≥ 4.52. */
export function parameterName(name: string): string {
  return name.replace(/^model\.visual\./, 'visual.').replace(/^model\.language_model\./, 'model.')
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
export function hashName(name: string): number {
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

/** Values uniform in ±`bound`, counter-based as {@link initialValues}. */
export function uniformValues(size: number, bound: number, seed: number, name: string): Float32Array {
  const key = mix(seed >>> 0, hashName(name))
  return Float32Array.from({ length: size }, (_, index) => (2 * ((mix(key, index) + 0.5) / 2 ** 32) - 1) * bound)
}
