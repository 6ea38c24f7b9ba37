/**
 * What a model takes on the device, part by part, from its architecture alone: before anything is loaded, and without a
 * device for models that fit none. Weights, gradients, moments and adapters are exact.
 */
import type { Architecture } from '../config/architecture.js'
import { ConfigError } from '../config/json.js'
import type { LoraConfig } from '../lora/config.js'
import { loraModules } from '../lora/targets.js'
import { storedBytes, type FrozenDType } from '../network/frozen-weights.js'
import { parameterSpecs, type ParameterSpec } from '../network/parameters.js'

export interface PlanOptions {
  /** `all` (default): every weight, in f32. `none`: inference. An adapter: its factors, over frozen weights. */
  readonly learns?: 'all' | 'none' | LoraConfig
  /** Storage of frozen matrices. Default `f32`. */
  readonly dtype?: FrozenDType
  /** Bits of AdamW's moments. Default 32. */
  readonly momentBits?: 32 | 8
}

/** Bytes of both moments of one value; 8-bit ones have two f32 scales for every 256 values. */
const momentBytes = { 32: 8, 8: 2 + 8 / 256 }

/** One line of a plan. */
interface PlannedPart {
  readonly name: 'embedding and head' | 'text' | 'vision' | 'adapter' | 'gradients' | 'AdamW moments'
  readonly bytes: number
}

export interface MemoryPlan {
  readonly parts: readonly PlannedPart[]
  readonly bytes: number
  /** The largest single tensor. */
  readonly largest: { readonly name: string; readonly bytes: number }
}

const elements = ({ shape }: ParameterSpec) => shape.reduce((size, dimension) => size * dimension, 1)

const isTable = ({ name }: ParameterSpec) => name === 'model.embed_tokens.weight' || name === 'lm_head.weight'

/** Values an adapter learns. */
export function loraParameterCount(architecture: Architecture, config: LoraConfig): number {
  return loraModules(architecture, config).reduce(
    (sum, { rank, inputs, outputs }) => sum + rank * (inputs + outputs),
    0,
  )
}

/** Bytes of keys and values a token leaves in the cache: 2 · layers · key-value heads · head size · bytes of a value. */
export function keyValueBytesPerToken({ text }: Architecture, bytesPerValue = 4): number {
  return 2 * text.layers * text.keyValueHeads * text.headSize * bytesPerValue
}

/** Plans the weights of a model and what learning them takes. Activations and caches come on top. */
export function planMemory(
  architecture: Architecture,
  { learns = 'all', dtype = 'f32', momentBits = 32 }: PlanOptions = {},
): MemoryPlan {
  const bytesOf = (spec: ParameterSpec) => storedBytes(spec, learns === 'all' ? 'f32' : dtype)
  const specs = parameterSpecs(architecture)
  const sum = (chosen: (spec: ParameterSpec) => boolean) =>
    specs.filter(chosen).reduce((total, spec) => total + bytesOf(spec), 0)
  const learning =
    learns === 'all'
      ? specs.reduce((total, spec) => total + elements(spec), 0)
      : learns === 'none'
        ? 0
        : loraParameterCount(architecture, learns)
  const parts: PlannedPart[] = [
    { name: 'embedding and head', bytes: sum(isTable) },
    { name: 'text', bytes: sum((spec) => spec.group === 'text' && !isTable(spec)) },
    { name: 'vision', bytes: sum(({ group }) => group === 'vision') },
    { name: 'adapter', bytes: learns === 'all' ? 0 : 4 * learning },
    { name: 'gradients', bytes: 4 * learning },
    { name: 'AdamW moments', bytes: momentBytes[momentBits] * learning },
  ]
  const [largest] = specs
    .map((spec) => ({ name: spec.name, bytes: bytesOf(spec) }))
    .sort((a, b) => b.bytes - a.bytes) as [MemoryPlan['largest']]
  return {
    parts: parts.filter(({ bytes }) => bytes > 0),
    bytes: parts.reduce((total, part) => total + part.bytes, 0),
    largest,
  }
}

/** What a device can hold. */
export interface MemoryBounds {
  readonly maxBufferSize: number
  /** Bytes of all buffers together; absent where the platform does not tell. */
  readonly availableBytes?: number
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`

/** A plan as lines for people, largest part first. */
export function describePlan({ parts, bytes }: MemoryPlan): string {
  const lines = [...parts].sort((a, b) => b.bytes - a.bytes).map((part) => `${part.name} ${gigabytes(part.bytes)}`)
  return `${gigabytes(bytes)}: ${lines.join(', ')}`
}

/**
 * Refuses a plan that cannot fit, with what would help.
 * @throws {ConfigError} a tensor exceeds what one buffer may hold, or all together exceed what there is.
 */
export function checkFits(plan: MemoryPlan, bounds: MemoryBounds, options: PlanOptions = {}): void {
  const { learns = 'all', dtype = 'f32' } = options
  const advice = [
    ...(learns === 'all' ? ['train an adapter instead of all weights'] : []),
    ...(learns !== 'all' && dtype === 'f32' ? ['hold the frozen weights in bf16'] : []),
    ...(learns !== 'all' && dtype !== 'int4' ? ['quantise them to int4'] : []),
    'take a smaller model',
  ].join(', or ')
  if (plan.largest.bytes > bounds.maxBufferSize) {
    throw new ConfigError(
      `${plan.largest.name} takes ${plan.largest.bytes} bytes; one buffer of this adapter holds ${bounds.maxBufferSize}. To go on, ${advice}.`,
    )
  }
  if (bounds.availableBytes !== undefined && plan.bytes > bounds.availableBytes) {
    throw new ConfigError(
      `The model takes ${describePlan(plan)}; ${gigabytes(bounds.availableBytes)} are available. To go on, ${advice}.`,
    )
  }
}
