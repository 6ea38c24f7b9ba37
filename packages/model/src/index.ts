/**
 * `@revisual/model`: Qwen2-VL, Qwen2.5-VL and Qwen3-VL on WebGPU, config-driven, with its processing, generation and checkpoints, and a policy for
 * `@revisual/rl`.
 */
export type { Architecture, ModelConfig, TextArchitecture, VisionArchitecture } from './config/architecture.js'
export { ConfigError } from './config/json.js'
export { nanoConfig, type NanoOptions } from './config/nano.js'
export { parseConfig } from './config/parse.js'
export { loadModel, saveAdapter, type LoadOptions } from './checkpoint/folder.js'
export { resolveModel, type DownloadProgress, type ResolveModelOptions } from './checkpoint/hub.js'
export { openConfig, openModel, type OpenModelOptions } from './checkpoint/open.js'
export {
  checkFits,
  describePlan,
  keyValueBytesPerToken,
  loraParameterCount,
  planMemory,
  type MemoryBounds,
  type MemoryPlan,
  type PlanOptions,
} from './checkpoint/plan.js'
export { saveModel, type SaveOptions } from './checkpoint/save.js'
export { LoraAdapter } from './lora/adapter.js'
export { loraConfig, textProjections, type LoraConfig, type LoraOptions, type LoraTargets } from './lora/config.js'
export { isAdapterFolder, readAdapterConfig } from './lora/folder.js'
export type { FrozenDType } from './network/frozen-weights.js'
export {
  EngineClosedError,
  GenerationEngine,
  type EngineOptions,
  type EngineStatus,
  type Generation,
  type SubmitOptions,
} from './generation/engine.js'
export { generate, type GenerationOptions, type RequestedSequence } from './generation/generate.js'
export type {
  EngineRequest,
  FinishReason,
  GenerationLimits,
  GenerationRequest,
  SamplingOptions,
} from './generation/request.js'
export { samplingMask } from './generation/sampling-mask.js'
export type { GeneratedSequence, GeneratedToken, GenerationEvent } from './generation/sequence.js'
export type { AlphaMode, EncodedImage } from './images/decode.js'
export { prepareImage, type GridThw, type PreparedImage, type ProcessorConfig } from './images/processor.js'
export { sampleFrames, type FrameSampling, type VideoBudget, type VideoFrames } from './images/video.js'
export { createModel, VisionLanguageModel, type CreateOptions, type ModelParts } from './model.js'
export { parameterCount, parameterSpecs, type ParameterSpec } from './network/parameters.js'
export { createPolicy, type ModelPolicy, type PolicyOptions } from './policy/policy.js'
export { promptFromIds, questionPrompt, type ModelPrompt, type PromptInput } from './prompt.js'
export {
  ChatTemplate,
  nanoChatTemplate,
  qwenChatTemplate,
  type ChatMessage,
  type ContentPart,
} from './text/chat-template.js'
export { createNanoTokenizer } from './text/nano-tokenizer.js'
export { Tokenizer, type AddedTokenMode, type TextRun } from './text/tokenizer.js'
