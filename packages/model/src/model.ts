/**
 * A vision-language model: architecture, weights on a device, and everything that turns messages into tokens and back.
 */
import { noGrad, ParameterSet, type Device, type Tensor } from '@revisual/tensor'
import type { ModelConfig } from './config/architecture.js'
import { ConfigError } from './config/json.js'
import { nanoProcessorConfig, parseProcessorConfig, type ProcessorConfig } from './images/processor.js'
import type { DropoutSeed, LoraAdapter } from './lora/adapter.js'
import type { AdapterDescription } from './lora/config.js'
import type { Network } from './network/forward.js'
import type { FrozenWeights } from './network/frozen-weights.js'
import type { Weights } from './network/layers.js'
import { initialValues, parameterSpecs } from './network/parameters.js'
import { TextRotary } from './positions/rotary.js'
import { preparePrompt, type ModelPrompt, type PromptInput } from './prompt.js'
import { ChatTemplate, nanoChatTemplate, qwenChatTemplate } from './text/chat-template.js'
import type { Tokenizer } from './text/tokenizer.js'

/** Ids that end a completion, and the id that fills unused places. */
interface GenerationTokens {
  readonly stopIds: readonly number[]
  readonly padId: number | null
}

/** What a model is made of besides its weights. */
export interface ModelParts {
  readonly config: ModelConfig
  readonly processor: ProcessorConfig
  readonly template: ChatTemplate
  readonly generation: GenerationTokens
  /** `null`: the checkpoint has none; prompts must then be given as ids. */
  readonly tokenizer: Tokenizer | null
  /** `generation_config.json` as it was read; written back unchanged. */
  readonly generationJson: { readonly [key: string]: unknown }
  /** Files of the checkpoint's folder besides config and weights, by name, byte for byte; written back unchanged. */
  readonly files?: ReadonlyMap<string, Uint8Array>
}

/** Weights that do not learn, and what may learn on top of them. */
export interface FrozenBase {
  readonly weights: FrozenWeights
  readonly adapter: LoraAdapter | null
  /** `adapter_config.json` the adapter was read from. */
  readonly adapterJson?: AdapterDescription['json']
}

export class VisionLanguageModel {
  /** The live weights as a network, the adapter in them. */
  network: Network
  #merged = false

  /**
   * @param parameters What learns: every weight, or the factors of the adapter.
   * @param frozen Where the weights themselves do not learn: they, and the adapter.
   */
  constructor(
    readonly device: Device,
    readonly parameters: ParameterSet,
    readonly parts: ModelParts,
    readonly frozen: FrozenBase | null = null,
  ) {
    const { architecture } = parts.config
    this.network = {
      device,
      architecture,
      weights: this.weightsWith((name) => parameters.get(name)),
      textRotary: new TextRotary(architecture.text, architecture.rotaryFrequencies),
    }
  }

  /** The adapter, where there is one. */
  get adapter(): LoraAdapter | null {
    return this.frozen?.adapter ?? null
  }

  /**
   * The network's weights with other values in place of what learns.
   *
   * @param value A learning parameter by name.
   * @param dropout Where an adapter with dropout learns.
   */
  weightsWith(value: (name: string) => Tensor, dropout?: DropoutSeed): Weights {
    if (!this.frozen) return value
    const { weights, adapter } = this.frozen
    return adapter && !this.#merged ? adapter.over(weights.source, value, dropout) : weights.source
  }

  /**
   * Puts the adapter into the frozen weights, so that every pass costs what the base costs. While it is in, it does not
   * learn, and there is no reference without it. Computed in f32 and rounded to the base's storage.
   *
   * @throws {ConfigError} there is no adapter, it is in already, or a layer is quantised.
   */
  async mergeAdapter(): Promise<void> {
    await this.#addDeltas(1, false)
  }

  /** Takes the adapter out again. In f32 up to rounding of the last place; what 16-bit storage rounded away stays away. */
  async unmergeAdapter(): Promise<void> {
    await this.#addDeltas(-1, true)
  }

  async #addDeltas(sign: 1 | -1, merged: boolean): Promise<void> {
    const { adapter, frozen } = this
    if (!adapter || !frozen) throw new ConfigError('There is no adapter to merge.')
    if (this.#merged !== merged)
      throw new ConfigError(`The adapter is ${this.#merged ? 'merged already' : 'not merged'}.`)
    for (const module of adapter.modules) {
      using _scope = this.device.scope()
      noGrad(() => frozen.weights.add(`${module.name}.weight`, adapter.delta(module).mul(sign)))
      await this.device.eval([])
    }
    this.#merged = !merged
    this.network = { ...this.network, weights: this.weightsWith((name) => this.parameters.get(name)) }
  }

  /** Whether the adapter is in the frozen weights now. */
  get adapterMerged(): boolean {
    return this.#merged
  }

  /** Values of one weight by its hub name, as f32, the adapter merged in: W + scale · B·A, computed in f32. */
  async readWeight(name: string): Promise<Float32Array> {
    const weight = this.frozen ? this.frozen.weights.get(name) : this.parameters.get(name)
    const module = this.adapter?.moduleOf(name)
    using _scope = this.device.scope()
    const value = noGrad(() =>
      module && this.adapter && !this.#merged ? weight.add(this.adapter.delta(module)) : weight,
    )
    const [values] = await this.device.read([value])
    return values as Float32Array
  }

  /** Gives the weights back. */
  dispose(): void {
    this.parameters.dispose()
    this.frozen?.weights.dispose()
  }

  get tokenizer(): Tokenizer {
    const { tokenizer } = this.parts
    if (!tokenizer) throw new ConfigError('This model folder has no tokenizer.json: text cannot be encoded or decoded.')
    return tokenizer
  }

  /** Messages and images into a prompt. Prepare once, use as often as wanted. */
  preparePrompt(input: PromptInput): Promise<ModelPrompt> {
    const { config, template, processor } = this.parts
    return preparePrompt({ config, template, processor, tokenizer: this.tokenizer }, input)
  }

  /** Ids of an answer to learn, with the token that ends it. */
  encodeCompletion(text: string): number[] {
    const [stop] = this.parts.generation.stopIds
    return [...this.tokenizer.encode(text, 'text'), ...(stop === undefined ? [] : [stop])]
  }
}

/** An empty parameter set of an architecture. */
export function parametersOf(device: Device, config: ModelConfig): ParameterSet {
  return new ParameterSet(device, parameterSpecs(config.architecture))
}

export interface CreateOptions {
  readonly config: ModelConfig
  readonly tokenizer: Tokenizer
  /** Seed of the fresh weights; the same seed gives the same weights on every machine. */
  readonly seed: number
  /** Default: the nano template for an architecture with the nano tokens, as made by `nanoConfig`. */
  readonly chatTemplate?: string
  readonly processor?: ProcessorConfig
}

/** A model with fresh weights, of the nano preset unless told otherwise. */
export function createModel(device: Device, options: CreateOptions): VisionLanguageModel {
  const { config, tokenizer, seed } = options
  const { text, vision, initializerRange } = config.architecture
  const highest = Math.max(...tokenizer.usedIds)
  if (highest >= text.vocabularySize) {
    throw new ConfigError(
      `The tokenizer uses ids up to ${highest}, the model has ${text.vocabularySize} rows. Raise vocabularySize.`,
    )
  }
  const parameters = parametersOf(device, config)
  for (const spec of parameterSpecs(config.architecture)) {
    parameters.write(spec.name, initialValues(spec, initializerRange, seed))
  }
  return new VisionLanguageModel(device, parameters, {
    config,
    tokenizer,
    template: new ChatTemplate(options.chatTemplate ?? nanoChatTemplate),
    processor: options.processor ?? nanoProcessorConfig(vision),
    ...generationParts(config, {}),
  })
}

const asIds = (value: unknown): number[] =>
  [value].flat().filter((id): id is number => typeof id === 'number' && Number.isInteger(id))

/** Stop and padding ids from `generation_config.json`, else from the config. */
export function generationParts(
  config: ModelConfig,
  generationJson: { readonly [key: string]: unknown },
): Pick<ModelParts, 'generation' | 'generationJson'> {
  const nested = config.json['text_config']
  const text: { readonly [key: string]: unknown } = { ...config.json, ...(nested as object | undefined) }
  const first = (key: string) => [generationJson[key], text[key]].map(asIds).find((ids) => ids.length > 0) ?? []
  return {
    generation: { stopIds: first('eos_token_id'), padId: first('pad_token_id')[0] ?? null },
    generationJson:
      Object.keys(generationJson).length > 0
        ? generationJson
        : {
            bos_token_id: text['bos_token_id'],
            eos_token_id: text['eos_token_id'],
            pad_token_id: text['pad_token_id'],
          },
  }
}

/** Template and processor of a checkpoint that may lack their files. */
export function fallbackParts(
  config: ModelConfig,
  chatTemplate: string | null,
  processorJson: unknown,
  videoProcessorJson?: unknown,
): Pick<ModelParts, 'template' | 'processor'> {
  return {
    template: new ChatTemplate(chatTemplate ?? qwenChatTemplate),
    processor: parseProcessorConfig(processorJson, config.architecture, videoProcessorJson),
  }
}
