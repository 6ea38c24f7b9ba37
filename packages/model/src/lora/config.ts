/**
 * LoRA (arXiv 2106.09685) as settings: `adapter_config.json` of Hugging Face PEFT, read and written. A linear layer W of a
 * frozen base becomes W + s·B·A with A [rank, in], B [out, rank] and s = alpha / rank, or alpha / √rank with `rslora`
 * (arXiv 2312.03732). Fields PEFT has and this package has not are ignored when they are off and refused when they would
 * change the numbers. Source: peft 0.21 `tuners/lora/config.py`, `layer.py`.
 */
import { ConfigError, isJsonObject, JsonReader, type JsonObject } from '../config/json.js'

/** Layers to adapt: names, one regular expression over whole module paths, or every linear layer but the head. */
export type LoraTargets = 'all-linear' | readonly string[] | { readonly pattern: string }

export interface LoraConfig {
  readonly rank: number
  readonly alpha: number
  /** Share of inputs zeroed on the way into A while learning. */
  readonly dropout: number
  readonly rslora: boolean
  /**
   * `model.language_model.layers.0.self_attn.q_proj` or `q_proj`: a name matches a module path that equals it or ends with
   * `.name`.
   */
  readonly targets: LoraTargets
  /** Module paths (same matching, or `pattern`) left out of `targets`. */
  readonly exclude: readonly string[] | { readonly pattern: string }
  /** Ranks and alphas of single modules, by regular expression over the end of their path. */
  readonly rankPattern: { readonly [pattern: string]: number }
  readonly alphaPattern: { readonly [pattern: string]: number }
}

export type LoraOptions = Pick<LoraConfig, 'rank'> & Partial<LoraConfig>

/** The usual choice for vision-language models: all projections of the text decoder, the vision tower as it is. */
export const textProjections: LoraTargets = {
  pattern: String.raw`model\.language_model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)`,
}

/**
 * Fills in defaults: alpha 2 · rank, no dropout, targets {@link textProjections}.
 * @throws {ConfigError} a number out of range.
 */
export function loraConfig(options: LoraOptions): LoraConfig {
  const config: LoraConfig = {
    alpha: 2 * options.rank,
    dropout: 0,
    rslora: false,
    targets: textProjections,
    exclude: [],
    rankPattern: {},
    alphaPattern: {},
    ...options,
  }
  const check = (holds: boolean, name: string, value: unknown, allowed: string) => {
    if (!holds) throw new ConfigError(`LoRA: ${name} is ${JSON.stringify(value)}; allowed: ${allowed}.`)
  }
  const positiveInteger = (value: number) => Number.isInteger(value) && value > 0
  check(positiveInteger(config.rank), 'rank', config.rank, 'an integer ≥ 1')
  check(Number.isFinite(config.alpha) && config.alpha > 0, 'alpha', config.alpha, 'a number > 0')
  check(config.dropout >= 0 && config.dropout < 1, 'dropout', config.dropout, 'a number from 0 to below 1')
  for (const [pattern, rank] of Object.entries(config.rankPattern)) {
    check(positiveInteger(rank), `rankPattern ${pattern}`, rank, 'an integer ≥ 1')
  }
  for (const [pattern, alpha] of Object.entries(config.alphaPattern)) {
    check(Number.isFinite(alpha) && alpha > 0, `alphaPattern ${pattern}`, alpha, 'a number > 0')
  }
  return config
}

/** Values of fields that leave the numbers as they are; any other value of them is refused. */
const neutral: { readonly [field: string]: readonly unknown[] } = {
  bias: ['none'],
  fan_in_fan_out: [false],
  use_dora: [false],
  use_qalora: [false],
  use_bdlora: [false],
  lora_bias: [false],
  modules_to_save: [[]],
  layers_to_transform: [],
  layer_replication: [],
  target_parameters: [[]],
  trainable_token_indices: [],
  alora_invocation_tokens: [],
  arrow_config: [],
  velora_config: [],
  monteclora_config: [],
  kasa_config: [],
  ensure_weight_tying: [false],
}

function patternsOf(reader: JsonReader, key: string): { readonly [pattern: string]: number } {
  if (!reader.has(key)) return {}
  const { object, where } = reader.child(key)
  const entries = Object.entries(object).map(([pattern, value]) => {
    if (typeof value !== 'number') {
      throw new ConfigError(`${where}: ${JSON.stringify(pattern)} is ${JSON.stringify(value)}; allowed: a number.`)
    }
    return [pattern, value] as const
  })
  return Object.fromEntries(entries)
}

const isNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((name) => typeof name === 'string')

function targetsOf(reader: JsonReader): LoraTargets {
  const value = reader.object['target_modules']
  if (value === 'all-linear') return value
  if (typeof value === 'string') return { pattern: value }
  if (isNames(value)) return value
  return reader.fail('target_modules', "a list of names, a regular expression, or 'all-linear'")
}

function excludeOf(reader: JsonReader): LoraConfig['exclude'] {
  const value = reader.object['exclude_modules']
  if (value === undefined || value === null) return []
  if (typeof value === 'string') return { pattern: value }
  if (isNames(value)) return value
  return reader.fail('exclude_modules', 'a list of names or a regular expression')
}

/** What a PEFT folder says of an adapter. */
export interface AdapterDescription {
  readonly config: LoraConfig
  /** Folder or hub id of the model the adapter belongs to; null where the file leaves it out. */
  readonly base: string | null
  /** The file as it was, so that fields this package does not use survive a round trip. */
  readonly json: JsonObject
}

/**
 * Reads the JSON of an `adapter_config.json`.
 *
 * @throws {ConfigError} not LoRA, malformed, or a setting that this package would compute wrongly.
 */
export function parseAdapterConfig(json: unknown, where = 'adapter_config.json'): AdapterDescription {
  if (!isJsonObject(json)) throw new ConfigError(`${where}: the file must hold a JSON object.`)
  const reader = new JsonReader(json, where)
  if (String(json['peft_type']).toUpperCase() !== 'LORA') reader.fail('peft_type', "'LORA'")
  for (const [field, allowed] of Object.entries(neutral)) {
    const value = json[field] ?? null
    const off = value === null || allowed.some((one) => JSON.stringify(one) === JSON.stringify(value))
    if (!off) {
      reader.fail(
        field,
        `null${allowed.map((one) => ` or ${JSON.stringify(one)}`).join('')} (the adapter would be computed wrongly otherwise)`,
      )
    }
  }
  const base = json['base_model_name_or_path']
  return {
    config: loraConfig({
      rank: reader.positiveInteger('r'),
      alpha: reader.positiveNumber('lora_alpha'),
      dropout: typeof json['lora_dropout'] === 'number' ? json['lora_dropout'] : 0,
      rslora: reader.oneOf('use_rslora', [true, false], false),
      targets: targetsOf(reader),
      exclude: excludeOf(reader),
      rankPattern: patternsOf(reader, 'rank_pattern'),
      alphaPattern: patternsOf(reader, 'alpha_pattern'),
    }),
    base: typeof base === 'string' && base !== '' ? base : null,
    json,
  }
}

/** The JSON PEFT writes for these settings, on top of what a file that was read had. */
export function adapterConfigJson(config: LoraConfig, base: string | null, json: JsonObject = {}): JsonObject {
  const modules = (value: LoraTargets) => (typeof value === 'object' && 'pattern' in value ? value.pattern : value)
  return {
    auto_mapping: null,
    bias: 'none',
    fan_in_fan_out: false,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    modules_to_save: null,
    peft_version: '0.21.0',
    revision: null,
    task_type: 'CAUSAL_LM',
    use_dora: false,
    ...json,
    peft_type: 'LORA',
    base_model_name_or_path: base,
    inference_mode: true,
    r: config.rank,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    use_rslora: config.rslora,
    target_modules: modules(config.targets),
    exclude_modules: Array.isArray(config.exclude) && config.exclude.length === 0 ? null : modules(config.exclude),
    rank_pattern: config.rankPattern,
    alpha_pattern: config.alphaPattern,
  }
}
