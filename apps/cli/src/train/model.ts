/** The model a command works on: a folder, a name on the hub, an adapter, or fresh weights of a preset. */
import { digitsVocabulary } from '@revisual/data'
import {
  ConfigError,
  createModel,
  createNanoTokenizer,
  loraConfig,
  nanoConfig,
  openConfig,
  openModel as open,
  type Architecture,
  type DownloadProgress,
  type LoraOptions,
  type OpenModelOptions,
  type PlanOptions,
  type VisionLanguageModel,
} from '@revisual/model'
import type { Device } from '@revisual/tensor'
import type { RunConfig } from '../config/schema.js'
import { UserError } from '../errors.js'
import { startProgress } from '../terminal/progress.js'
import { deriveSeed } from './seed.js'

/** Shows the download of one file after another. */
function downloadProgress(): { show: (progress: DownloadProgress) => void; stop: () => void } {
  let shown: { readonly file: string; readonly bar: ReturnType<typeof startProgress> } | null = null
  return {
    show({ file, bytes, total }) {
      if (shown?.file !== file) {
        shown?.bar.stop()
        shown = { file, bar: startProgress(file, total) }
      }
      shown.bar.update(bytes, '')
    },
    stop: () => shown?.bar.stop(),
  }
}

/** What is wrong with a model is the user's to mend. */
async function reported<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work
  } catch (error) {
    throw error instanceof ConfigError ? new UserError(error.message) : error
  }
}

/**
 * Opens a model, downloading it where it is on the hub and not in the cache.
 * @throws {UserError} it is not there, malformed, not supported, or does not fit.
 */
export async function openModel(
  path: string,
  device: Device,
  options: OpenModelOptions = { frozen: true },
): Promise<VisionLanguageModel> {
  const progress = downloadProgress()
  try {
    return await reported(open(path, device, { ...options, hub: { onProgress: progress.show } }))
  } finally {
    progress.stop()
  }
}

type ModelConfig = RunConfig['model']

/** The adapter a run trains, if it trains one. */
function adapterOptions(model: ModelConfig): LoraOptions | null {
  if (!('path' in model) || model.lora === null) return null
  const { alpha, targets, exclude, ...rest } = model.lora
  return {
    ...rest,
    ...(alpha === undefined ? {} : { alpha }),
    ...(targets === undefined ? {} : { targets }),
    ...(exclude === undefined ? {} : { exclude }),
  }
}

/** How a run's model is opened: every weight learns, or an adapter of it. */
function openOptions({ model, seed }: RunConfig): OpenModelOptions {
  const adapter = adapterOptions(model)
  if (!adapter || !('path' in model)) return {}
  return { dtype: model.dtype, adapter: { ...adapter, seed: deriveSeed(seed, 'adapter') } }
}

/** What of a run's model learns, for a plan of its memory. */
export function planOptions({ model, device: { momentBits } }: RunConfig): PlanOptions {
  const adapter = adapterOptions(model)
  return { momentBits, ...(adapter && 'path' in model ? { learns: loraConfig(adapter), dtype: model.dtype } : {}) }
}

export async function startModel(config: RunConfig, device: Device): Promise<VisionLanguageModel> {
  const { model, seed } = config
  if ('path' in model) return openModel(model.path, device, openOptions(config))
  const nano = nanoConfig()
  const tokenizer = createNanoTokenizer(digitsVocabulary(), nano.architecture.text.vocabularySize)
  return createModel(device, { config: nano, tokenizer, seed: deriveSeed(seed, 'weights') })
}

/** The architecture of a run's model, without its weights. */
export async function startArchitecture({ model }: RunConfig): Promise<Architecture> {
  if (!('path' in model)) return nanoConfig().architecture
  return (await reported(openConfig(model.path))).architecture
}
