/**
 * `config.json` into an {@link Architecture}. Which families there are is a table; what each of them reads is in
 * `families.ts`.
 */
import type { Architecture, ModelConfig, ModelType } from './architecture.js'
import { qwen2, qwen25, qwen3 } from './families.js'
import { ConfigError, isJsonObject, JsonReader } from './json.js'

const families: Record<ModelType, (root: JsonReader) => Architecture> = {
  qwen2_vl: qwen2,
  qwen2_5_vl: qwen25,
  qwen3_vl: qwen3,
}

const isModelType = (value: unknown): value is ModelType => typeof value === 'string' && Object.hasOwn(families, value)

/**
 * Parses and checks the JSON of a `config.json`.
 * @throws {ConfigError} on an unknown model type, a missing field, or a setting this package does not implement.
 */
export function parseConfig(json: unknown): ModelConfig {
  if (!isJsonObject(json)) throw new ConfigError('config.json: the file must hold a JSON object.')
  const reader = new JsonReader(json, 'config.json')
  const modelType = reader.object['model_type']
  if (!isModelType(modelType)) return reader.fail('model_type', Object.keys(families).join(', '))
  if (reader.has('quantization_config')) {
    const method = reader.child('quantization_config').object['quant_method']
    throw new ConfigError(
      `config.json: 'quantization_config' says ${JSON.stringify(method ?? 'quantised')}; weights quantised elsewhere are not read. ` +
        'Take the original checkpoint; it can be quantised while it is loaded.',
    )
  }
  const architecture = families[modelType](reader)
  const { text, vision } = architecture
  if (vision.outputSize !== text.hiddenSize) {
    throw new ConfigError(
      `config.json: visual tokens are ${vision.outputSize} wide (vision_config), the text hidden_size is ${text.hiddenSize}; they must be equal.`,
    )
  }
  if (vision.deepStack.length > text.layers) {
    throw new ConfigError(
      `config.json: vision_config: 'deepstack_visual_indexes' has ${vision.deepStack.length} entries; the decoder has ${text.layers} layers.`,
    )
  }
  return { architecture, json }
}
